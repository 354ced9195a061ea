"""Zooms: windows that shrink around a point, and a search for a point on the border."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem
from metalearn.landscape.pixels import measure_pixels
from metalearn.landscape.plane import Axis, Plane
from metalearn.landscape.trainability import trainability
from metalearn.types import Key

POINTS = 16  # parts of a segment in one round of the search, and pixels per side in `check_zoom`


def zoom(plane: Plane, x: float, y: float, num_frames: int, *, factor: float = 2.0) -> list[Plane]:
    """Return windows around a point: the first as wide as the plane, and each `factor` times smaller than the last.

    The coordinates of the axes are offsets from the point, so deep frames keep their precision. All frames share the
    `place` of the plane, and therefore the program that renders them.

    Args:
      plane: the size of the first window, and the names and scales of the axes.
      x, y: the point, as values (not as logarithms).
      num_frames: the number of windows.
      factor: the ratio of two successive widths, above 1.

    Raises:
      TypeError: `num_frames` is not a whole number, or `x`, `y` or `factor` is not a real number.
      ValueError: `num_frames` is below 1, `factor` is not above 1 or its powers overflow, or `x` or `y` is not finite,
        is not positive on a log10 axis, or is so far from the plane that the first window would not contain any part of
        it.
    """
    check_count("num_frames", num_frames)
    check_number("factor", factor, 1, open_low=True)
    check_number("x", x)
    check_number("y", y)
    for name, axis, value in (("x", plane.x, x), ("y", plane.y, y)):
        _check_near(name, axis, float(value))
    try:
        math.pow(factor, num_frames)
    except OverflowError:
        raise ValueError(f"factor ** num_frames must be finite; {factor} ** {num_frames} was given.") from None
    halves = [(axis.high - axis.low) / 2 for axis in plane[:2]]
    return [
        Plane(
            Axis.around(plane.x.name, float(x), halves[0] / factor**frame, plane.x.scale),
            Axis.around(plane.y.name, float(y), halves[1] / factor**frame, plane.y.scale),
            plane.place,
        )
        for frame in range(num_frames)
    ]


def _check_near(name, axis, value) -> None:
    if axis.scale == "log10" and value <= 0:
        raise ValueError(f"{name} must be positive, because axis {axis.name!r} is logarithmic; {value:g} was given.")
    middle = axis.centre if axis.centre is not None else (1.0 if axis.scale == "log10" else 0.0)
    place = np.log10(value) - np.log10(middle) if axis.scale == "log10" else value - middle
    half = (axis.high - axis.low) / 2
    if not axis.low - half <= place <= axis.high + half:
        low, high = axis.values(2)
        raise ValueError(
            f"{name} = {value:g} is far from the plane, whose axis {axis.name!r} extends from {low:g} to {high:g}: "
            f"the first window would not contain any part of it. Give a point in the plane."
        )


def check_zoom(problem: InnerProblem, frames: list[Plane], *, num_steps: int, key: Key | None = None) -> None:
    """Check that the deepest window of a zoom contains the border, by training 16 × 16 pixels.

    Args:
      problem, num_steps, key: as in `trainability`.
      frames: the windows from `zoom`.

    Raises:
      ValueError: all pixels of the deepest window converge, or all diverge.
    """
    look = lambda frame: trainability(problem, frame, num_steps=num_steps, resolution=POINTS, key=key).converged
    labels = look(frames[-1])
    if 0 < labels.sum() < labels.size:
        return
    seen = next((index for index in range(len(frames) - 1, 0, -1) if 0 < look(frames[index - 1]).mean() < 1), 0)
    point, width = (frames[0].x.centre, frames[0].y.centre), frames[-1].x.high - frames[-1].x.low
    advice = "Give a point on the border, or no point to search for one."
    if seen:
        near = border_point(problem, frames[seen - 1], num_steps=num_steps, key=key, resolution=POINTS)
        advice = f"Window {seen} still shows it; a nearby point on the border is ({near[0]!r}, {near[1]!r})."
        if near == point:
            advice = f"The point is as close to the border as float64 allows; zoom to window {seen} only."
    raise ValueError(
        f"The zoom's centre {point} is not on the border: in the deepest of {len(frames)} windows, {width:.3g} wide, "
        f"every one of {POINTS} × {POINTS} pixels {'converges' if labels.all() else 'diverges'}. {advice}"
    )


def border_point(
    problem: InnerProblem,
    plane: Plane,
    *,
    num_steps: int,
    key: Key | None = None,
    resolution: int = 24,
    tolerance: float = 0.0,
) -> tuple[float, float]:
    """Find a point on the border near the middle of a plane.

    The search starts with the segment between two neighbouring pixels of different labels, the pair that is closest to
    the middle of a coarse picture. It divides the segment into 16 parts, continues with the first part whose ends have
    different labels, and stops at neighbouring floating-point numbers.

    Args:
      problem, plane, num_steps, key: as in `trainability`.
      resolution: the resolution of the coarse picture.
      tolerance: the length of the segment at which to stop, in the coordinates of the axes; 0 for float64 precision.

    Returns:
      (x, y) as values.

    Raises:
      TypeError: `tolerance` is not a real number.
      ValueError: all pixels of the coarse picture have the same outcome, or `tolerance` is negative.
    """
    found = trainability(problem, plane, num_steps=num_steps, resolution=resolution, key=key)
    ends = _nearest_pair(found.converged)
    if ends is None:
        outcome = "converges" if found.converged.all() else "diverges"
        raise ValueError(
            f"There is no border to zoom into: every one of {resolution} × {resolution} pixels {outcome}. "
            "Choose a window with both outcomes, or a higher resolution."
        )
    x, y = plane.x.points(resolution), plane.y.points(resolution)
    low, high = (np.array([x[column], y[row]]) for row, column in ends)
    check_number("tolerance", tolerance, 0)
    while True:
        shares = np.linspace(0, 1, POINTS + 1)[:, None]
        segment = low + shares * (high - low)
        values = _values(plane, segment)
        labels = measure_pixels(problem, plane.place, values, num_steps=num_steps, key=key).converged
        change = int(np.argmax(labels[1:] != labels[:-1])) if np.any(labels[1:] != labels[:-1]) else None
        if change is None or (np.array_equal(segment[change], low) and np.array_equal(segment[change + 1], high)):
            return float(values[0, 0]), float(values[0, 1])
        low, high = segment[change], segment[change + 1]
        if np.linalg.norm(high - low) < tolerance:
            x, y = _values(plane, low[None])[0]
            return float(x), float(y)


def _values(plane, coordinates):
    with jax.enable_x64(True):
        x, y = (axis.value(jnp.asarray(column)) for axis, column in zip(plane[:2], coordinates.T))
        return np.stack([np.asarray(x), np.asarray(y)], axis=1)


def _nearest_pair(labels):
    """Return the neighbouring pixels of different labels nearest to the middle, as two (row, column), or None."""
    pairs = [
        ((row, column), (row + down, column + 1 - down))
        for down in (0, 1)
        for row, column in np.argwhere(labels[:-1] != labels[1:] if down else labels[:, :-1] != labels[:, 1:])
    ]
    middle = (np.array(labels.shape) - 1) / 2
    return min(pairs, key=lambda pair: np.abs(np.mean(pair, axis=0) - middle).max(), default=None)
