"""The figure of a meta-loss on a plane, next to the smoothed landscape that evolution strategies descend."""

from typing import Any

import numpy as np

from metalearn.figures.landscape import axis_label, image_extent
from metalearn.figures.limits import choose_colours
from metalearn.figures.style import save_style
from metalearn.landscape import Plane, Smoothed


def draw_meta_loss(values: np.ndarray, plane: Plane, smoothed: Smoothed | None = None, title: str = "") -> Any:
    """Draw a meta-loss in grey, and its smoothed landscape next to it in the same colours; darker is better.

    Args:
      values: the meta-loss, `[height, width]`, row = y ascending; values that are not finite are pink.
      plane: the plane of the meta-loss.
      smoothed: the result of `ml.landscape.smooth`, or None for one panel.
      title: the figure's title.

    Returns:
      A matplotlib figure with at least one pixel for each value.

    Raises:
      ValueError: `values` is not a non-empty 2-D array.
    """
    from matplotlib.figure import Figure

    colours = choose_colours(values, missing="pink")
    panels = {"the meta-loss": colours.values}
    if smoothed is not None:
        sigmas = " and ".join(dict.fromkeys(f"{sigma:.3g}" for sigma in smoothed.sigma))
        shown = np.clip(smoothed.value, colours.norm.vmin, colours.norm.vmax)
        panels[f"smoothed, σ = {sigmas} in the units of the axes"] = shown
    with save_style():
        figure = Figure(figsize=(5.6 * len(panels) + 1.4, 5.6), dpi=max(120, max(colours.values.shape) / 4))
        row = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (name, picture) in zip(row, panels.items()):
            axes.set_facecolor("pink")
            axes.grid(False)
            axes.imshow(
                picture,
                origin="lower",
                extent=image_extent(plane, colours.values.shape),
                aspect="auto",
                cmap="gray",
                norm=colours.norm,
                interpolation="nearest",
            )
            axes.set(title=name, xlabel=axis_label(plane.x))
        row[0].set_ylabel(axis_label(plane.y))
        label = "\n".join(filter(None, ("meta-loss, darker is better", colours.note)))
        figure.colorbar(row[0].images[0], ax=list(row), label=label, extend=colours.extend)
        figure.suptitle(title)
        return figure
