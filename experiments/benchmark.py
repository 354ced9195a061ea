"""Measure every estimator on six problems: bias against its own target, variance, and signal to noise per cost."""

import jax
import numpy as np

from metalearn.application import application, open_parts, parse_seed, read_list
from metalearn.figures import draw_benchmark, later
from metalearn.inner.checks import check_choice, check_count
from metalearn.studies.benchmark import CASES, WAYS, measure, read_rows
from metalearn.words import table


def main(config):
    key, names, chosen = check(config)
    with open_parts(config, "benchmark") as parts:
        rows = []
        for index, (name, make) in enumerate(CASES.items()):
            if name not in names:
                continue
            settings = {name: config[name] for name in ("pairs", "episodes", "reference_pairs")}
            own = jax.random.fold_in(key, index)
            run = lambda make=make, own=own, settings=settings: measure(
                make(), own, chosen, progress=parts.progress, **settings
            )
            found = read_rows(name, parts.compute(name.replace(",", "").replace(" ", "-"), run))
            print(f"\n{name}\n{said(found)}", flush=True)
            rows += found
        parts.run.table("benchmark", rows)
        parts.run.figure("benchmark", later(draw_benchmark, rows))
        print(f"\n{FOOT}\n\nfigure: {parts.run.folder}/figures/benchmark.png")


SMALLEST = 0.001  # a smaller bias is rounding
FOOT = (
    "bias: |mean − target| / |target|, each estimator against its own target; variance: of one episode, over |target|². SNR: |mean|²\n"
    "over the variance, per million inner steps and per second. Blank: does not apply. –: within its noise."
)


def check(config):
    """Check the configuration, and return the key and the problems of the experiment.

    Raises:
      TypeError, ValueError: a setting is out of range.
    """
    for name, low in (("pairs", 1), ("episodes", 2), ("reference_pairs", 2)):
        check_count(name, config[name], low)
    names = read_list(config, "problems")
    for name in names:
        check_choice("Every one of problems", name, CASES)
    if not names:
        raise ValueError(f"problems must name at least one of {'; '.join(CASES)}.")
    chosen = read_list(config, "estimators") or list(WAYS)
    for name in chosen:
        check_choice("Every one of estimators", name, WAYS)
    return parse_seed(config.seed), names, chosen


def said(rows):
    """Return the table of one problem, within 100 columns, and the reasons why estimators were left out."""
    cells = [
        [row["estimator"], row["target"], number(row, "bias"), plain(row["cosine"], "{:.3f}"), plain(row["variance"]),
         number(row, "snr_per_step"), plain(row["snr_per_second"]), plain(row["milliseconds"])]
        for row in rows if not row["reason"]
    ]  # fmt: skip
    head = ["estimator", "target", "bias", "cosine", "variance", "SNR/10⁶ steps", "SNR/s", "ms"]
    notes = [f"{row['estimator']}: {row['reason']}." for row in rows if row["reason"]]
    notes += [
        f"{row['estimator']}: the linear system is solved to a relative residual of {row['residual']:.1g}."
        for row in rows if not np.isnan(row["residual"])
    ]  # fmt: skip
    return table(head, cells, notes)


def plain(value, form="{:.2g}"):
    return "" if np.isnan(value) else form.format(value)


def number(row, key):
    """Format a number with its error; blank if it does not apply, and a dash if it is unknown."""
    value, error = row[key], row[f"{key}_error"]
    if np.isnan(value) or (key == "bias" and error > 1):
        return "" if row["scaled"] or row["variance"] == 0 else "–"
    if key == "bias" and value < SMALLEST and not error > SMALLEST:
        return f"< {SMALLEST}"
    if not (np.isfinite(error) and error > 1e-3 * abs(value)):
        return f"{value:.2g}"
    return f"{value:.2g} ± " + (f"{error / value:.0%}" if key == "snr_per_step" and value else f"{error:.1g}")


if __name__ == "__main__":
    application(main, "benchmark")
