"""Draw the dimension of a border with its errors."""

import textwrap
from typing import Any

import numpy as np

from metalearn.figures.limits import axis_limits, bars
from metalearn.figures.style import OKABE_ITO, save_style
from metalearn.landscape import BorderDimension

LINE, PLANE = 1.0, 2.0  # dimensions of a smooth curve and of the plane


def draw_dimension(found: BorderDimension, *, title: str = "") -> Any:
    """Draw D with a bar for each of its errors, and the dimension that the same rule gives to a circle.

    Args:
      found: the result of `ml.landscape.border_dimension`.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    errors = {
        "error of the fit": found.statistical,
        "change at half the resolution": found.resolution,
        "change at half the steps": found.horizon,
    }
    known = {name: error for name, error in errors.items() if np.isfinite(found.dimension) and np.isfinite(error)}
    with save_style():
        figure = Figure(figsize=(7, 2.8))
        axes = figure.subplots()
        with np.errstate(over="ignore"):
            ends = [found.dimension + sign * error for error in known.values() for sign in (-1, 1)]
        low, high = axis_limits([LINE, PLANE, *ends])
        for row, error in enumerate(known.values()):
            middle, span = np.clip(found.dimension, low, high), bars(found.dimension, error, low, high)
            axes.errorbar([middle], [row], xerr=span, fmt="o", capsize=4, color=OKABE_ITO[row])
        labels = [f"{name}, ± {error:.3f}" for name, error in known.items()]
        if np.isfinite(found.control):
            axes.plot([np.clip(found.control, low, high)], [len(known)], "s", color="black")
            labels.append("a circle by the same rule")
        for level in (LINE, PLANE):
            axes.axvline(level, color="0.5", linewidth=1, linestyle=":")
        axes.set_yticks(range(len(labels)), labels)
        axes.set(xlim=(low, high), ylim=(len(labels) - 0.4, -0.6))
        axes.set(xlabel="dimension (1: a smooth border, 2: the plane)")
        reason = textwrap.wrap(f"refused: {found.refused}", 60) if found.refused else []
        figure.suptitle("\n".join([title] * bool(title) + reason), fontsize=12)
        return figure
