"""Gaussian smoothing of landscapes. Evolution strategies descend the smoothed function."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metalearn.brief import brief_help
from metalearn.inner.checks import check_number
from metalearn.landscape.plane import Axis, Plane
from metalearn.words import percent


@brief_help
class Smoothed(NamedTuple):
    """A smoothed landscape L_σ on the grid of L; arrays `[height, width]`, with y ascending along the rows.

    Attributes:
      value: L_σ.
      gradient: ∂L_σ/∂(x, y) with respect to the coordinates of the axes (per decade on a log10 axis), `[height, width,
        2]`.
      inside: the fraction of the kernel that lies on the grid. Below about 0.98, L_σ is noticeably the average over the
        part of the kernel on the grid only.
      sigma: the standard deviation along x and along y, in the coordinates of the axes.
    """

    value: np.ndarray
    gradient: np.ndarray
    inside: np.ndarray
    sigma: tuple[float, float]


def smooth(values, plane: Plane, sigma: float | tuple[float, float]) -> Smoothed:
    """Return the Gaussian average of a landscape and its exact gradient.

        L_σ(p) = Σ_q w(p − q) L(q) / Σ_q w(p − q),   w(d) = exp(−d_x²/2σ_x² − d_y²/2σ_y²).

    The sums run over the points q of the grid, in the coordinates of the axes. If the kernel fits on the grid, the
    result is E L(p + σ ε) to the accuracy of the grid. The gradient is the derivative of the formula.

    Args:
      values: L, `[height, width]`, finite; use `ml.saturate` to cap diverged losses.
      plane: the plane of L.
      sigma: the standard deviation of both axes, or (of x, of y); at least half the distance of neighbouring points.

    Raises:
      TypeError: `sigma` is not a real number or a pair of real numbers.
      ValueError: `values` is not a finite array `[height, width]` of at least 2 × 2, or `sigma` has another length than
        two, is not positive, or is below half the distance of neighbouring points.
    """
    values = check_values(values)
    sigmas = tuple(sigma) if isinstance(sigma, (tuple, list)) else (sigma, sigma)
    if len(sigmas) != 2:
        raise ValueError(f"sigma must be one number or a pair (of x, of y); {sigma} was given.")
    height, width = values.shape
    x, y = _kernel(plane.x, width, sigmas[0]), _kernel(plane.y, height, sigmas[1])
    average = lambda rows, columns: rows @ values @ columns.T
    value = average(y.weights, x.weights)
    slopes = [average(y.weights, x.slopes), average(y.slopes, x.weights)]
    return Smoothed(value, np.stack(slopes, axis=-1), np.outer(y.inside, x.inside), sigmas)


def smoothing_pyramid(values, plane: Plane, sigmas: Sequence[float]) -> dict[float, Smoothed]:
    """Smooth a landscape with several standard deviations, each for both axes, and return `{sigma: Smoothed}`.

    Args:
      values, plane: as in `smooth`.
      sigmas: the standard deviations.

    Raises:
      TypeError: `sigmas` is one number, or as for `smooth`.
      ValueError: as for `smooth`.
    """
    if isinstance(sigmas, (int, float)):
        raise TypeError(f"sigmas must be a sequence of standard deviations, such as (0.1, 0.3); {sigmas} was given.")
    return {float(sigma): smooth(values, plane, sigma) for sigma in sigmas}


def local_minima(values) -> np.ndarray:
    """Return whether each point is below all its eight neighbours, booleans `[height, width]`.

    Points on the rim, on plateaux, and with a NaN neighbour are not minima. The number of minima depends on the grid,
    so report it together with the resolution.

    Args:
      values: a landscape, `[height, width]`.

    Raises:
      ValueError: `values` is not an array `[height, width]` of at least 3 × 3.
    """
    values = np.asarray(values, float)
    if values.ndim != 2 or min(values.shape) < 3:
        raise ValueError(f"Local minima need a landscape [height, width] of at least 3 × 3; {values.shape} was given.")
    height, width = values.shape
    shifts = [(i, j) for i in (0, 1, 2) for j in (0, 1, 2) if (i, j) != (1, 1)]
    inner = values[1:-1, 1:-1]
    below = np.all([inner < values[i : height - 2 + i, j : width - 2 + j] for i, j in shifts], axis=0)
    return np.pad(below, 1)


def check_values(values) -> np.ndarray:
    """Check that a landscape is a finite array `[height, width]`, and return it in float64.

    Raises:
      ValueError: the array is smaller than 2 × 2, has another number of dimensions, or is not finite.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"A landscape has the shape [height, width], at least 2 × 2; {values.shape} was given.")
    if not np.all(np.isfinite(values)):
        bad = int(np.sum(~np.isfinite(values)))
        raise ValueError(
            f"{percent(bad / values.size)} of the landscape are not finite ({bad} of {values.size} values) and cannot be averaged; cap "
            "diverged losses with ml.saturate, or replace these values by a finite one."
        )
    return values


class _Kernel(NamedTuple):
    weights: np.ndarray
    slopes: np.ndarray
    inside: np.ndarray


def narrowest(axis: Axis, count: int) -> float:
    """Return the smallest sigma that `count` points along an axis allow: half the distance of neighbouring points."""
    return 0.5 * (axis.high - axis.low) / (count - 1)


def _kernel(axis: Axis, count: int, sigma) -> _Kernel:
    """Return the weights of all points in the average at each point p (row p), and their derivatives in p."""
    check_number("sigma", sigma, 0, open_low=True)
    points = axis.points(count)
    pitch = 2 * narrowest(axis, count)
    if sigma < narrowest(axis, count):
        raise ValueError(
            f"sigma must be at least half the distance of neighbouring points, {pitch:.3g} along {axis.name!r}; {sigma} was "
            "given. Render the landscape with more points."
        )
    away = (points[None, :] - points[:, None]) / sigma
    raw = np.exp(-0.5 * away**2)
    total = raw.sum(axis=1, keepdims=True)
    weights = raw / total
    slopes = weights * (away - (weights * away).sum(axis=1, keepdims=True)) / sigma
    reach = int(np.ceil(10 * sigma / pitch))
    whole = np.exp(-0.5 * (np.arange(-reach, reach + 1) * pitch / sigma) ** 2).sum()
    return _Kernel(weights, slopes, total[:, 0] / whole)
