"""The figure of several methods on a loss of two numbers: their end points, and the loss during optimisation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metalearn.figures.style import OKABE_ITO, save_style
from metalearn.figures.training import plain_numbers

MARKS = "osD^vP"


def draw_contests(
    contests: Mapping[str, Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], evaluations: int
) -> Any:
    """Draw a column for each loss: its surface, the loss during optimisation, and the fraction of solved runs.

    Args:
      contests: name -> `surface` (x, y, loss), `runs` (method -> theta, loss, evaluations) and `names` of the axes.
      rows: the table of the shares, with `contest`, `equal`, `method`, `solved` and `standard_error`.
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
            for index, (method, run) in enumerate(contest["runs"].items()):
                shown = run["evaluations"] <= evaluations
                low, median, high = np.quantile(run["loss"][:, shown], (0.25, 0.5, 0.75), axis=0)
                colour = OKABE_ITO[index]
                middle.plot(run["evaluations"][shown], median, color=colour, label=method)
                middle.fill_between(run["evaluations"][shown], low, high, color=colour, alpha=0.15, linewidth=0)
            middle.set(xlabel="evaluations of the loss", ylabel="loss: median and quartiles", yscale="log")
            middle.set_ylim(bottom=max(1e-3, middle.get_ylim()[0]))
            plain_numbers(middle)
            _shares(below, [row for row in rows if row["contest"] == name])
        panels[1, 0].legend()
        return figure


def _surface(figure, axes, contest, evaluations) -> None:
    surface, jitter = contest["surface"], np.random.default_rng(0)
    image = axes.pcolormesh(
        surface["x"], surface["y"], surface["loss"], cmap="Greys", shading="nearest", rasterized=True
    )
    figure.colorbar(image, ax=axes, label="loss")
    reach = np.array([np.ptp(surface["x"]), np.ptp(surface["y"])])
    for index, (method, run) in enumerate(contest["runs"].items()):
        place = int(np.searchsorted(run["evaluations"], evaluations, "right")) - 1
        ends = run["theta"][:, place] + 0.006 * reach * jitter.standard_normal((len(run["theta"]), 2))
        how = {"marker": MARKS[index], "s": 26, "edgecolor": "white", "linewidth": 0.5, "zorder": 3}
        axes.scatter(*ends.T, color=OKABE_ITO[index], label=method, **how)
    axes.set(xlabel=contest["names"][0], ylabel=contest["names"][1])
    axes.set(xlim=(surface["x"][0], surface["x"][-1]), ylim=(surface["y"][0], surface["y"][-1]))
    axes.grid(False)


def _shares(axes, rows) -> None:
    methods = list(dict.fromkeys(row["method"] for row in rows))
    for offset, (kind, alpha) in enumerate((("evaluations", 1.0), ("time", 0.45))):
        mine = [row for row in rows if row["equal"] == kind]
        places = np.arange(len(methods)) + 0.4 * (offset - 0.5)
        shares, errors = ([row[key] for row in mine] for key in ("solved", "standard_error"))
        axes.bar(places, shares, 0.38, yerr=errors, color=OKABE_ITO[: len(methods)], alpha=alpha)
    axes.set_xticks(range(len(methods)), [method.replace(" ", "\n") for method in methods])
    axes.set(ylim=(0, 1.05), ylabel="share solved ± s.e.", title="equal evaluations (full), equal time (pale)")
    axes.grid(False, axis="x")
