"""Curves of any numbers in one panel: limits that contain them, bands or error bars, and marks for other values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metalearn.figures.limits import axis_limits, bars, mark_beyond


class Curve(NamedTuple):
    """One curve of a panel.

    Attributes:
      x, y: the points, `[count]`.
      style: the arguments of matplotlib's `plot`; "color" is needed.
      low, high: the ends of a band around y, `[count]`.
      error: half the length of error bars, `[count]`; the points are then drawn as dots without a line.
    """

    x: Any
    y: Any
    style: dict[str, Any]
    low: Any = None
    high: Any = None
    error: Any = None


def draw_curves(axes: Any, curves: Sequence[Curve], *, limits: Any = None, logarithmic: bool = False) -> None:
    """Draw curves within finite limits; values beyond them are drawn at the edge, marked, and counted in the legend.

    Args:
      axes: the axes.
      curves: the curves.
      limits: low < high of the vertical axis; by default `axis_limits` of all values and bands.
      logarithmic: use a logarithmic vertical axis.
    """
    held = [np.ravel(part) for one in curves for part in (one.y, one.low, one.high) if part is not None]
    low, high = limits or axis_limits(np.concatenate([*held, []]), logarithmic=logarithmic)
    across = axis_limits(np.concatenate([*(np.ravel(one.x) for one in curves), []]))
    axes.set(xlim=across, ylim=(low, high), yscale="log" if logarithmic else "linear")
    for one in curves:
        x, y = np.clip(np.asarray(one.x, float), *across), np.asarray(one.y, float)
        if one.error is not None:
            how = {"fmt": "o", "markersize": 3.5, "linewidth": 1, **one.style}
            axes.errorbar(x, np.clip(y, low, high), bars(y, one.error, low, high), **how)
            continue
        axes.plot(x, np.clip(y, low, high), **one.style)
        if one.low is not None:
            ends = (np.clip(np.asarray(end, float), low, high) for end in (one.low, one.high))
            axes.fill_between(x, *ends, color=one.style["color"], alpha=0.2, linewidth=0)
    mark_beyond(axes, [(np.clip(np.asarray(one.x, float), *across), one.y, one.style["color"]) for one in curves])


def draw_level(axes: Any, value: float, label: str, **style: Any) -> None:
    """Draw a horizontal line; if it lies beyond the limits, the legend states its value instead."""
    low, high = axes.get_ylim()
    if low <= value <= high:
        axes.axhline(value, label=label, **style)
    else:
        axes.plot([], [], label=f"{label}: {value:.3g}, not shown", **style)
