"""Tables of recommendations, of what errors cover, of the compiler's efforts, and those that were copied by hand."""

from collections import Counter

from scipy.stats import binomtest

from benchmarks.results import grid, percent
from metalearn.compilation import EFFORTS


def recommendations(rows):
    names = [name for name in rows[0]["hits of one for all"] if name != "none of them"]
    rows = [*rows, total(rows)]

    def cells(row):
        low, high = binomtest(row["hits"], row["points"]).proportion_ci(method="wilson")
        ours = f"{row['hits']} of {row['points']} ({100 * low:.0f} to {percent(high, 0)})"
        others = (percent(row["hits of one for all"][name] / row["points"], 0) for name in names)
        return row["problem"], ours, *others, row["recommended"].get("none of them", 0)

    head = ("problem", "recommended", *(f"always {name}" for name in names), "nothing recommended")
    return grid(head, [cells(row) for row in rows])


def total(rows):
    """The sums of the counts of all problems."""
    counts = Counter(), Counter()
    for row in rows:
        counts[0].update(row["recommended"])
        counts[1].update(row["hits of one for all"])
    sums = {
        name: sum(row[name] for row in rows) for name in ("points", "hits", "points that matter", "hits that matter")
    }
    return {"problem": "all", **sums, "recommended": dict(counts[0]), "hits of one for all": dict(counts[1])}


def recorded(name):
    """A table of recorded.json, and below it where it is from."""

    def made(rows):
        found = next(row for row in rows if row["table"] == name)
        source = f"Measured on {found['date']}, {found['machine']}: {found['source']}. Copied by hand."
        return f"{grid(found['head'], found['rows'])}\n\n{source}"

    return made


def efforts(_):
    """The estimates that the compiler's efforts are chosen by, from the code."""
    lines = []
    for name, (options, seconds, slowdown) in EFFORTS.items():
        level, emitters = options["xla_backend_optimization_level"], options["xla_cpu_use_fusion_emitters"]
        flags = f"level {level}" + ", fusion emitters off" * (not emitters)
        lines.append((name, flags, f"{seconds:.4f}".removeprefix("0"), f"{slowdown:g}"))
    return grid(("effort", "XLA options", "seconds to compile an equation", "run time relative to full"), lines)


def coverage(rows):
    """What the errors of landscapes cover."""
    return _covered([row for row in rows if row["number"] != "Lyapunov exponent"])


def exponents(rows):
    """What the errors of Lyapunov exponents cover."""
    return _covered([row for row in rows if row["number"] == "Lyapunov exponent"])


def _covered(rows):
    signed = lambda number: f"{number:+.4f}".replace("+0.0000", "0").replace("-0.0000", "0")
    lines = [
        (
            row["number"],
            row["problem"],
            percent(row["within 1"], 0),
            percent(row["within 2"], 0),
            signed(row["mean minus answer"]),
            f"{row['median error']:.4f}",
        )
        for row in rows
    ]
    return grid(("number", "problem", "within 1 error", "within 2", "mean − answer", "median error"), lines)
