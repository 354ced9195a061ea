"""Make the tables of recommendations, coverage of errors, compiler efforts, and the tables that were copied by hand."""

import math
import re
from collections import Counter

import numpy as np
from scipy.stats import binomtest

from benchmarks.results import grid, percent
from metalearn.compilation import EFFORTS
from metalearn.intervals import error_of_mean

LEFT_OUT = {f"{name}, {schedule}" for name in ("SGD", "momentum") for schedule in ("constant", "linear")}  # baselines


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
    """Return the sums of the counts of all problems."""
    counts = Counter(), Counter()
    for row in rows:
        counts[0].update(row["recommended"])
        counts[1].update(row["hits of one for all"])
    sums = {
        name: sum(row[name] for row in rows) for name in ("points", "hits", "points that matter", "hits that matter")
    }
    return {"problem": "all", **sums, "recommended": dict(counts[0]), "hits of one for all": dict(counts[1])}


def recorded(name):
    """Return a function that makes a table of recorded.json, with its source below."""

    def made(rows):
        found = next(row for row in rows if row["table"] == name)
        source = f"Measured on {found['date']}, {found['machine']}: {found['source']}. Copied by hand."
        return f"{grid(found['head'], found['rows'])}\n\n{source}"

    return made


def efforts(_):
    """Make the table of the constants by which the compiler's effort is chosen, from the code."""
    lines = []
    for name, (options, seconds, slowdown) in EFFORTS.items():
        level, emitters = options["xla_backend_optimization_level"], options["xla_cpu_use_fusion_emitters"]
        flags = f"level {level}" + ", fusion emitters off" * (not emitters)
        lines.append((name, flags, f"{seconds:.4f}".removeprefix("0"), f"{slowdown:g}"))
    return grid(("effort", "XLA options", "seconds to compile an equation", "run time relative to full"), lines)


def coverage(rows):
    """Make the table of the coverage of the errors of landscapes."""
    return _covered([row for row in rows if row["number"] != "Lyapunov exponent"])


def exponents(rows):
    """Make the table of the coverage of the errors of Lyapunov exponents."""
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


def spread(values, errors):
    """Return half the 68 % interval of the mean over meta-seeds, which share evaluation seeds and their error."""
    between = error_of_mean(values) if len(values) > 1 else 0.0
    return math.hypot(between, float(np.mean(errors)))


def quicker(rows):
    """Return the geometric mean of the speed-ups of all meta-seeds with its 68 % interval, or "not reached"."""
    values = np.array([row["speed_up"] for row in rows])
    if missed := int(np.isnan(values).sum()):
        return "not reached" + f" by {missed} of {len(rows)}" * (len(rows) > 1)
    widths = [math.log(row["speed_up_high"] / row["speed_up"]) for row in rows]
    middle, half = float(np.mean(np.log(values))), spread(np.log(values), widths)
    if half == 0:
        return f"{math.exp(middle):.2f}"
    known = all(row["speed_up_low"] > 0 for row in rows)
    low, high = (math.exp(middle + sign * half) for sign in (-1, 1))
    return f"{math.exp(middle):.2f} ({f'{low:.2f}' if known else 'not reached'} … {high:.2f})"


def learned(rows):
    """Make one line for each benchmark and method: its mean loss and its speed-up over all meta-seeds."""
    groups = {}
    for row in rows:
        if row["tuning"] == "learned_optimizer" and row["optimizer"] not in LEFT_OUT:
            groups.setdefault((row["benchmark"], re.sub(r" \d+$", "", row["optimizer"])), []).append(row)
    lines = []
    for (benchmark, name), group in groups.items():
        losses, errors = ([row[field] for row in group] for field in ("mean_loss", "mean_loss_error"))
        loss = f"{np.mean(losses):.4f} ± {spread(losses, errors):.4f}"
        seeds = "–" if math.isfinite(group[0]["learning_rate"]) else len(group)
        lines.append((benchmark, name, seeds, loss, quicker(group)))
    return grid(("benchmark", "", "meta-seeds", "mean loss", "speed-up"), lines)


def three_ways(rows):
    """Make one line for each loss and method, at equal evaluations and at equal time."""
    found = {(row["contest"], row["method"], row["equal"]): row for row in rows}
    percentage = lambda row: (
        f"{percent(row['solved'], 0)} ({100 * row['solved_low']:.0f} … {100 * row['solved_high']:.0f})"
    )
    lines = []
    for contest, method in dict.fromkeys((row["contest"], row["method"]) for row in rows):
        counted, timed = (found[contest, method, kind] for kind in ("evaluations", "time"))
        quartiles = " … ".join(f"{counted[name]:.4f}" for name in ("lower_quartile", "upper_quartile"))
        times = f"{counted['milliseconds']:.2g}", f"{timed['evaluations']}", percentage(timed)
        lines.append((contest, method, f"{counted['median']:.4f}", quartiles, percentage(counted), *times))
    head = ("loss", "method", "median", "quartiles", "solved", "ms a run", "evaluations at equal time", "solved")
    return grid(head, lines)


def benchmark(rows):
    """Make one line for each estimator: bias, variance, and both signal-to-noise ratios on every problem."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    found = {(row["estimator"], row["problem"]): row for row in rows}
    head = ("estimator", "target", *problems)
    targets = {row["estimator"]: row["target"] for row in rows}
    lines = [
        (name, target, *(_estimate(found.get((name, problem))) for problem in problems))
        for name, target in targets.items()
    ]
    return grid(head, lines)


def _estimate(row):
    if row is None:
        return "not run"
    if row["reason"] or math.isnan(row["variance"]):
        return ""
    number = lambda value: "–" if math.isnan(value) else f"{value:.2g}"
    exact = row["bias"] < 1e-3 and not row["bias_error"] > 1e-3
    error = f" ± {row['bias_error']:.1g}" if row["bias_error"] > 1e-3 * row["bias"] else ""
    bias = (
        "" if row["scaled"] else "–" if row["bias_error"] > 1 else "< 0.001" if exact else number(row["bias"]) + error
    )
    ratios = (row["snr_per_step"], row["snr_per_second"]) if row["variance"] > 0 else ()
    residual = row.get("residual", math.nan)
    solved = [] if math.isnan(residual) else [f"residual {residual:.1g}"]
    return "<br>".join([bias, number(row["variance"]), *map(number, ratios), *solved])
