"""The figure of a zoom: its measurements for each window."""

from typing import Any

import numpy as np

from metalearn.figures.limits import axis_limits, bars, mark_beyond
from metalearn.figures.style import OKABE_ITO, legend, save_style


def draw_zoom(dimensions: list[dict], windows: list[dict], *, title: str = "", published: float | None = None) -> Any:
    """Draw the dimension of the border, and the reliability of each landscape, against the width of the window.

    Args:
      dimensions: rows of `ml.landscape.dimension_table` with the `width` of the window, in decades or the units of θ.
      windows: rows with `width` and the shares of the pixels that are `undecided`, `computed`, or labelled otherwise by
        an equivalent update (`rounding`).
      title: the figure's title.
      published: a dimension to compare with, drawn as a line.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(8.5, 7.5))
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
        limits = _limits(_column(dimensions, "dimension"), _column(dimensions, "statistical"))
        above.set(ylabel="dimension of the border", ylim=limits, title=title)
        for colour, marker, name in zip(OKABE_ITO, "os^", dict.fromkeys(row["rule"] for row in dimensions)):
            rows = [row for row in dimensions if row["rule"] == name and not np.isnan(row["dimension"])]
            for refused, fill, line in ((False, colour, "-"), (True, "white", "")):
                some = [row for row in rows if bool(row["refused"]) == refused]
                if not some:
                    continue
                widths, values, errors = (_column(some, key) for key in ("width", "dimension", "statistical"))
                label = f"{name}, refused: unresolved" if refused else name
                style = {
                    "fmt": marker + line,
                    "color": colour,
                    "markerfacecolor": fill,
                    "markersize": 4,
                    "linewidth": 1,
                }
                above.errorbar(widths, np.clip(values, *limits), bars(values, errors, *limits), label=label, **style)
                mark_beyond(above, [(widths, values, colour)], f"{label}: ")
        controls = [row for row in dimensions if row["rule"] == "3-point rule"]
        if controls:
            values = np.clip(_column(controls, "control"), *limits)
            above.plot(_column(controls, "width"), values, ":", color="black", label="control: a circle, 3-point rule")
        if published is not None:
            above.axhline(published, color="grey", linestyle="--", label=f"published, {published:.2f}")
        legend(above, loc="upper right", fontsize=9, ncols=2, frameon=True)
        _shares(below, windows, _column(dimensions, "width"))
        return figure


def _limits(dimensions, errors):
    """Return limits from 0.7, or slightly below the lowest error bar but at least −1, to 2.4."""
    ends = (dimensions - errors)[np.isfinite(dimensions - errors)]
    return max(-1.0, min(0.7, np.min(ends, initial=np.inf) - 0.05)), 2.4


def _column(rows, field):
    return np.array([row[field] for row in rows], float)


def _shares(axes, windows, widths):
    """Draw the shares of the pixels for each window, over an axis that includes the given widths."""
    labels = {"computed": "trained, the rest filled", "undecided": "undecided: other label at T/2"}
    labels["rounding"] = "other label by an equal update"
    axes.set_ylim(-0.03, 1.03)
    for colour, marker, (name, label) in zip(OKABE_ITO[3:], "osv", labels.items()):
        places, shares = _column(windows, "width"), _column(windows, name)
        axes.plot(places, np.clip(shares, 0, 1), marker + "-", color=colour, label=label, markersize=4)
        mark_beyond(axes, [(places, shares, colour)], f"{label}: ")
    every = [*_column(windows, "width"), *widths]
    axes.set(
        xscale="log",
        xlim=axis_limits(every, logarithmic=True)[::-1],
        xlabel="width of the window (decades)",
        ylabel="share of the pixels",
    )
    axes.legend(loc="upper left", fontsize=9)
