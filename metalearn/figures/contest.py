"""The figure of several methods on a loss of two numbers: their end points, and the loss during optimisation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metalearn.figures.curves import Curve, draw_curves
from metalearn.figures.limits import axis_limits, choose_colours, mark_beyond
from metalearn.figures.style import OKABE_ITO, legend, save_style
from metalearn.figures.training import plain_numbers

MARKS = "osD^vP"
SMALLEST = 1e-3  # the smallest loss along the way that is distinguished


def draw_contests(
    contests: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], evaluations: int
) -> Any:
    """Draw a column for each loss: its surface, the loss during optimisation, and the fraction of solved runs.

    Args:
      contests: name -> `surface` (x, y, loss), `runs` (method -> theta, loss, evaluations) and `names` of the axes.
      rows: the table of the shares, with `contest`, `equal`, `method`, `solved`, `solved_low` and `solved_high`.
      evaluations: the number of evaluations at which the end points are marked.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(5 * len(contests), 12))
        panels = figure.subplots(3, len(contests), squeeze=False, height_ratios=(1.25, 1, 0.8))
        for column, (name, contest) in zip(panels.T, contests.items()):
            above, middle, below = column
            _surface(figure, above, contest, evaluations)
            above.set_title(name)
            _along_the_way(middle, contest["runs"], evaluations)
            _shares(below, [row for row in rows if row["contest"] == name])
        legend(panels[1, 0])
        return figure


def _along_the_way(axes, runs, evaluations) -> None:
    found = []
    for index, (method, run) in enumerate(runs.items()):
        shown = run["evaluations"] <= evaluations
        low, median, high = np.maximum(np.quantile(run["loss"][:, shown], (0.25, 0.5, 0.75), axis=0), SMALLEST)
        style = {"color": OKABE_ITO[index], "label": method}
        found.append(Curve(run["evaluations"][shown], median, style, low, high))
    low, high = axis_limits(np.concatenate([part for one in found for part in (one.low, one.high)]), logarithmic=True)
    draw_curves(axes, found, limits=(max(low, SMALLEST), high), logarithmic=True)
    axes.set(xlabel="evaluations of the loss", ylabel=f"loss, {SMALLEST:g} or more: median and quartiles")
    plain_numbers(axes)


def _surface(figure, axes, contest, evaluations) -> None:
    surface, jitter = contest["surface"], np.random.default_rng(0)
    colours = choose_colours(surface["loss"], missing="pink")
    axes.set_facecolor("pink")
    how = {"cmap": "Greys", "norm": colours.norm, "shading": "nearest", "rasterized": True}
    image = axes.pcolormesh(surface["x"], surface["y"], colours.values, **how)
    figure.colorbar(image, ax=axes, label="\n".join(filter(None, ("loss", colours.note))), extend=colours.extend)
    corners = np.array([[surface[name][0], surface[name][-1]] for name in "xy"]).T
    for index, (method, run) in enumerate(contest["runs"].items()):
        place = int(np.searchsorted(run["evaluations"], evaluations, "right")) - 1
        ends = np.asarray(run["theta"][:, place], float)
        outside = int(np.sum(~np.all((ends >= corners[0]) & (ends <= corners[1]), axis=1)))
        ends = np.clip(ends + 0.006 * np.ptp(corners, axis=0) * jitter.standard_normal(ends.shape), *corners)
        how = {"marker": MARKS[index], "s": 26, "edgecolor": "white", "linewidth": 0.5, "zorder": 3}
        label = f"{method}: {outside} outside, at the edge" if outside else "_inside"
        axes.scatter(*ends.T, color=OKABE_ITO[index], label=label, clip_on=False, **how)
    axes.set(xlabel=contest["names"][0], ylabel=contest["names"][1], xlim=corners[:, 0], ylim=corners[:, 1])
    legend(axes, fontsize=8, frameon=True)
    axes.grid(False)


def _shares(axes, rows) -> None:
    methods, beyond = list(dict.fromkeys(row["method"] for row in rows)), []
    for offset, (kind, alpha) in enumerate((("evaluations", 1.0), ("time", 0.45))):
        mine = [row for row in rows if row["equal"] == kind]
        places = np.arange(len(mine)) + 0.4 * (offset - 0.5)
        shares, low, high = (np.array([row[f"solved{part}"] for row in mine], float) for part in ("", "_low", "_high"))
        errors = np.clip(np.nan_to_num([shares - low, high - shares]), 0, 1)
        how = {"color": OKABE_ITO[: len(methods)], "alpha": alpha, "yerr": errors}
        axes.bar(places, np.clip(shares, 0, 1), 0.38, **how)
        beyond.append((places, shares, "black"))
    axes.set_xticks(range(len(methods)), [method.replace(" ", "\n") for method in methods])
    axes.set(xlim=(-0.6, max(len(methods), 1) - 0.4), ylim=(-0.02, 1.05), ylabel="share solved, 95 % interval")
    axes.set_title("equal evaluations (full), equal time (pale)")
    mark_beyond(axes, beyond)
    legend(axes)
    axes.grid(False, axis="x")
