"""What a zoom measured, window by window."""

from typing import Any

import numpy as np

from metalearn.recording.figures import OKABE_ITO, save_style


def draw_zoom(dimensions: list[dict], windows: list[dict], *, title: str = "", published: float | None = None) -> Any:
    """The dimension of the border, and how far each picture can be trusted, against the width of the window.

    Args:
      dimensions: rows of `ml.landscape.dimension_table` with the `width` of the window, in decades or θ's units.
      windows: rows with `width` and the shares `undecided`, `computed` and `rounding` (other labels by an equal update).
      title: the figure's title.
      published: a dimension to compare with, drawn as a line.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(8.5, 7.5))
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
        for colour, marker, name in zip(OKABE_ITO, "os^", dict.fromkeys(row["rule"] for row in dimensions)):
            rows = [row for row in dimensions if row["rule"] == name and np.isfinite(row["dimension"])]
            for refused, fill, line in ((False, colour, "-"), (True, "white", "")):
                some = [row for row in rows if bool(row["refused"]) == refused]
                if not some:
                    continue
                widths, values, errors = ([row[key] for row in some] for key in ("width", "dimension", "statistical"))
                label = f"{name}, refused: unresolved" if refused else name
                style = {
                    "fmt": marker + line,
                    "color": colour,
                    "markerfacecolor": fill,
                    "markersize": 4,
                    "linewidth": 1,
                }
                above.errorbar(widths, values, errors, label=label, **style)
        controls = [(row["width"], row["control"]) for row in dimensions if row["rule"] == "3-point rule"]
        if controls:
            above.plot(*zip(*controls), ":", color="black", label="control: a circle, 3-point rule")
        if published is not None:
            above.axhline(published, color="grey", linestyle="--", label=f"published, {published:.2f}")
        above.set(ylabel="dimension of the border", ylim=(min(0.7, _lowest(dimensions)), 2.4), title=title)
        above.legend(loc="upper right", fontsize=9, ncols=2, frameon=True)
        labels = {"computed": "trained, the rest filled", "undecided": "undecided: other label at T/2"}
        labels["rounding"] = "other label by an equal update"
        for colour, marker, (name, label) in zip(OKABE_ITO[3:], "osv", labels.items()):
            widths = [row["width"] for row in windows]
            below.plot(widths, [row[name] for row in windows], marker + "-", color=colour, label=label, markersize=4)
        below.set(xscale="log", xlabel="width of the window (decades)", ylabel="share of the pixels")
        below.set_ylim(-0.03, 1.03)
        below.invert_xaxis()
        below.legend(loc="upper left", fontsize=9)
        return figure


def _lowest(dimensions):
    """A little below the lowest error bar."""
    ends = [row["dimension"] - row["statistical"] for row in dimensions]
    return min((end - 0.05 for end in ends if np.isfinite(end)), default=0.7)
