"""Figures of trainability landscapes."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from metalearn.figures.style import NOT_FINITE, OKABE_ITO, save_style
from metalearn.inner.checks import check_choice
from metalearn.landscape import Axis, Landscape, Plane
from metalearn.words import percent

PALEST = 0.25
UNDECIDED = (0.25, 0.25, 0.25, 1.0)


def rank_stretch(measure) -> np.ndarray:
    """Replace the measure by its rank: converged pixels cover [¼, 1], diverged ones [−1, −¼]; the fastest are palest.

    This is the published colouring. Every window uses all colours, and looks rough even if it is smooth.
    """
    measure = _finite(measure)
    stretched = np.zeros(measure.shape)
    for side, sign in ((measure < 0, 1), (measure > 0, -1)):
        values, places = np.unique(np.abs(measure[side]), return_inverse=True)
        stretched[side] = sign * (PALEST + (1 - PALEST) * places.ravel() / max(len(values) - 1, 1))
    return stretched


def linear_stretch(measure) -> np.ndarray:
    """Scale each side by its largest absolute value: −measure / max |measure|, positive for converged pixels."""
    measure = _finite(measure)
    scaled = np.zeros(measure.shape)
    for side in (measure < 0, measure > 0):
        if side.any():
            scaled[side] = -measure[side] / np.abs(measure[side]).max()
    return scaled


def _finite(measure):
    """Return the measure, with zero in place of values that are not finite."""
    measure = np.asarray(measure)
    return np.where(np.isfinite(measure), measure, 0)


def landscape_colours(
    landscape: Landscape, norm: Literal["rank", "linear"] = "rank", mark_undecided: bool = True
) -> np.ndarray:
    """Return the colours of the pixels in "Spectral", `[height, width, 4]` in [0, 1].

    Undecided pixels are dark grey if `mark_undecided`, and pixels without a finite measure are light grey.

    Raises:
      TypeError: `landscape` is not a `Landscape`.
      ValueError: `norm` is neither "rank" nor "linear".
    """
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    check_norm(norm)
    if not isinstance(landscape, Landscape):
        raise TypeError(
            f"landscape must be the Landscape that ml.landscape.trainability returns; {type(landscape).__name__} was given."
        )
    stretched = (rank_stretch if norm == "rank" else linear_stretch)(landscape.measure)
    colours = colormaps["Spectral"]((stretched + 1) / 2)
    if mark_undecided:
        colours[landscape.undecided] = UNDECIDED
    colours[~np.isfinite(landscape.measure)] = to_rgba(NOT_FINITE)
    return colours


def check_norm(norm: str) -> None:
    """Check that a norm is "rank" or "linear".

    Raises:
      ValueError: `norm` is neither "rank" nor "linear".
    """
    check_choice("norm", norm, ("rank", "linear"))


def draw_landscape(
    landscape: Landscape,
    *,
    title: str = "",
    norm: Literal["rank", "linear"] = "rank",
    trajectories: Mapping[str, np.ndarray] | None = None,
) -> Any:
    """Draw a landscape: converged pixels blue to green, diverged ones red to yellow, undecided ones grey.

    Args:
      landscape: the result of `ml.landscape.trainability`.
      title: the figure's title.
      norm: "rank" as published, or "linear", which shows how the measure is distributed.
      trajectories: name -> outer trajectories `[num_starts, num_points, 2]` in the coordinates of the axes.

    Returns:
      A matplotlib figure with at least one pixel for each pixel of the landscape.

    Raises:
      TypeError: `landscape` is not a `Landscape`.
      ValueError: `norm` is neither "rank" nor "linear".
    """
    from matplotlib.figure import Figure

    colours = landscape_colours(landscape, norm)
    corners = np.reshape(image_extent(landscape.plane, landscape.measure.shape), (2, 2)).T
    with save_style():
        figure = Figure(figsize=(9, 7.2), dpi=max(150, max(landscape.measure.shape) / 5.5))
        axes = figure.subplots()
        _show(axes, landscape, colours, title)
        for colour, (name, paths) in zip(OKABE_ITO, (trajectories or {}).items()):
            for index, path in enumerate(np.clip(np.asarray(paths, float), *corners)):
                axes.plot(*path.T, color="white", linewidth=3)
                axes.plot(*path.T, color=colour, linewidth=1.5, label=name if index == 0 else None)
        _explain(figure, axes, norm)
        _name_greys(axes, landscape.undecided.any(), [landscape])
        return figure


def draw_landscapes(
    landscapes: Mapping[str, Landscape],
    *,
    title: str = "",
    norm: Literal["rank", "linear"] = "rank",
    columns: int = 3,
    mark_undecided: bool = True,
) -> Any:
    """Draw several landscapes side by side, each with its name and its own axes.

    Args:
      landscapes: name -> landscape.
      title, norm: as in `draw_landscape`.
      columns: the largest number of landscapes in a row.
      mark_undecided: False to draw undecided pixels as in the published figures, which have only two outcomes.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: there is no landscape, or `norm` is neither "rank" nor "linear".
    """
    from matplotlib.figure import Figure

    if not landscapes:
        raise ValueError("draw_landscapes needs at least one landscape.")
    columns = min(columns, len(landscapes))
    rows = -(-len(landscapes) // columns)
    largest = max(max(landscape.measure.shape) for landscape in landscapes.values())
    with save_style():
        figure = Figure(figsize=(4.6 * columns + 1, 4.5 * rows), dpi=max(110, largest / 2.6))
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, (name, landscape) in zip(grid.flat, landscapes.items()):
            _show(axes, landscape, landscape_colours(landscape, norm, mark_undecided), name)
            axes.xaxis.label.set_fontsize(8)
            axes.yaxis.label.set_fontsize(8)
        for axes in list(grid.flat)[len(landscapes) :]:
            axes.remove()
        _explain(figure, list(grid.flat)[: len(landscapes)], norm)
        shown = landscapes.values()
        _name_greys(grid[0, 0], mark_undecided and any(one.undecided.any() for one in shown), shown)
        figure.suptitle(title)
        return figure


def _show(axes, landscape, colours, title):
    x, y = landscape.plane.x, landscape.plane.y
    extent = image_extent(landscape.plane, landscape.measure.shape)
    axes.imshow(colours, origin="lower", extent=extent, aspect="auto", interpolation="nearest")
    axes.xaxis.set_major_formatter(_ticks(x))
    axes.yaxis.set_major_formatter(_ticks(y))
    axes.grid(False)
    axes.set(xlabel=axis_label(x), ylabel=axis_label(y), title=title, xlim=extent[:2], ylim=extent[2:])


def image_extent(plane: Plane, shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of an image whose outermost pixels are centred on the ends of the axes."""
    half_y, half_x = (
        (axis.high - axis.low) / (2 * max(count - 1, 1)) for axis, count in zip((plane.y, plane.x), shape)
    )
    return plane.x.low - half_x, plane.x.high + half_x, plane.y.low - half_y, plane.y.high + half_y


def _explain(figure, axes, norm):
    """Draw the colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(ScalarMappable(Normalize(-1, 1), "Spectral"), ax=axes)
    near = PALEST if norm == "rank" else 0.05
    bar.set_ticks([-1, -near, near, 1], labels=["slow", "fast", "fast", "slow"])
    bar.set_label(f"diverged  ←  {'rank' if norm == 'rank' else 'size'} of the measure  →  converged", fontsize=9)


def _name_greys(axes, any_undecided, landscapes):
    from matplotlib.patches import Patch

    handles, labels = axes.get_legend_handles_labels()
    if any_undecided:
        handles, labels = [*handles, Patch(color=UNDECIDED)], [*labels, "undecided: other label at T/2"]
    share = 1 - np.mean([np.isfinite(one.measure).mean() for one in landscapes])
    if share:
        handles, labels = [*handles, Patch(color=NOT_FINITE)], [*labels, f"not finite, {percent(share)}"]
    if handles:
        axes.legend(handles, labels, loc="upper left", fontsize=9, frameon=True, framealpha=0.9)


def _exponent(axis: Axis) -> int:
    """Return the power of ten by which the ticks of a deep zoom are multiplied, so that they have one leading digit."""
    largest = max(abs(axis.low), abs(axis.high))
    return -math.floor(math.log10(largest)) if largest < 0.01 else 0


def _ticks(axis: Axis) -> Any:
    power = 10.0 ** _exponent(axis)
    return lambda value, _: f"{value * power:.4g}"


def axis_label(axis: Axis) -> str:
    """Return the label of an axis."""
    power = f"$10^{{{_exponent(axis)}}}$ · " if _exponent(axis) else ""
    if axis.centre is None:
        return f"{power}log₁₀ {axis.name}" if axis.scale == "log10" else f"{power}{axis.name}"
    size = _digits(abs(axis.centre), axis)
    if axis.scale == "log10":
        return f"{axis.name}\n{power}log₁₀ (value / {size})"
    return f"{power}({axis.name} {'+' if axis.centre < 0 else '−'} {size})"


def _digits(centre: float, axis: Axis) -> str:
    """Return as many digits of a centre as the width of the window resolves."""
    width = (axis.high - axis.low) * (centre if axis.scale == "log10" else 1)
    return min(repr(centre), f"{centre:.{max(0, 4 - math.floor(math.log10(width)))}f}", key=len)
