"""Make the tables of the pages on proxies and on goals that generalise wrongly."""

import math

from benchmarks.results import grid, percent

GUIDES = "right", "absent", "random", "wrong"


def pair(row, name, decimals=2, error=None):
    """Return `mean ± standard error` of a row; the mean alone if there is no error."""
    spread = row[error or f"{name}_error"]
    mean = f"{row[name]:.{decimals}f}"
    return mean if math.isnan(spread) else f"{mean} ± {spread:.{decimals}f}"


def mitigations(rows):
    return _goals(rows, "mitigation")


def example_weights(rows):
    return _goals(rows, "validation rows")


def _goals(rows, title):
    def cells(row, first):
        name = row["case"].replace("_", " ").removesuffix(" rows")
        values = (pair(row, "start"), pair(row, "best"), pair(row, "turning_step", 0), pair(row, "end"))
        share = "" if first else f"{percent(row['recovered'], 0)} ± {percent(row['recovered_error'], 0)}"
        worse = f"{round(row['worse_than_start'] * row['seeds'])} of {row['seeds']}"
        return name, f"{row['proxy_end']:.3g}", *values, worse, share

    head = (title, "proxy", "goal: start", "best", "at step", "end", "seeds that end worse", "recovered")
    return grid(head, [cells(row, index == 0) for index, row in enumerate(rows)])


def guided(rows):
    head = ("method", "trained with", *(f"guide {guide}" for guide in GUIDES))
    return grid(head, [(row["method"], row["training"], *(pair(row, guide) for guide in GUIDES)) for row in rows])


def learned_goals(rows):
    cells = lambda row: (*(pair(row, f"{part}_end", 3, f"{part}_error") for part in ("training", "validation")),)
    head = ("condition", "optimiser", "training loss", "validation loss", "best validation loss")
    return grid(
        head, [(row["condition"], row["optimizer"], *cells(row), f"{row['validation_best']:.3f}") for row in rows]
    )
