"""What every estimator of a dimension returns, and what it needs to be given."""

from typing import NamedTuple

import numpy as np

LOWER_BOUND = "lower bound on the error"
SCATTER = np.logspace(-5, -0.5, 24)  # standard deviations of ln counts about a line, all looked at alike


class DimensionFit(NamedTuple):
    """A dimension fitted to counts at several scales.

    Attributes:
      dimension: D; NaN where it is refused.
      standard_error: of D; what it includes is said where it is made.
      sizes: box sides or distances in pixels, of all scales looked at.
      counts: boxes that hold a part of the border, or the share of uncertain pixels, at each size.
      local_slopes: the exponent between neighbouring sizes, one fewer.
      refused: why there is no dimension; empty where there is one.
      lower_bound: whether the error is only a lower bound: the rule has a bias at finite resolution that the picture
        does not show.
    """

    dimension: float
    standard_error: float
    sizes: np.ndarray
    counts: np.ndarray
    local_slopes: np.ndarray
    refused: str = ""
    lower_bound: bool = False

    def __str__(self):
        if self.refused:
            return f"no dimension: {self.refused}"
        return f"D = {self.dimension:.3f} ± {self.standard_error:.3f}" + f" ({LOWER_BOUND})" * self.lower_bound


def picture(mask, least):
    try:
        mask = np.asarray(mask)
    except ValueError:  # a Landscape, or another tuple of arrays
        mask = np.empty(0, object)
    if mask.dtype != bool or mask.ndim != 2 or min(mask.shape) < least:
        raise ValueError(
            f"A dimension needs a picture of booleans [H, W], at least {least} × {least}, such as landscape.converged; "
            f"{mask.dtype} {mask.shape} was given."
        )
    return mask


def log_slopes(sizes, counts):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.diff(np.log(counts)) / np.diff(np.log(sizes))


def line(sizes, counts, covariance) -> tuple[float, float]:
    """The slope of ln counts against ln sizes and its standard error.

        y_j = a + H x_j + e_j,   Cov e = C + τ² 1,

    C the sampling noise of y, τ the scatter about the line that C does not explain, such as log-periodic oscillations.
    Weights are the inverse variances. Slope and error are averages over τ, weighted by the restricted likelihood.
    """
    x, y, one = np.log(sizes), np.log(counts), np.eye(len(sizes))
    design = np.stack([np.ones_like(x), x - x.mean()], axis=1)
    noise = covariance + SCATTER[:, None, None] ** 2 * one
    weights = one / np.diagonal(noise, axis1=1, axis2=2)[:, :, None]
    project = np.linalg.solve(design.T @ weights @ design, design.T @ weights)
    slopes = (project @ y)[:, 1]
    variances = (project @ noise @ np.swapaxes(project, 1, 2))[:, 1, 1]
    share = _likelihood(design, y, noise)
    slope = share @ slopes
    return float(slope), float(np.sqrt(share @ (variances + (slopes - slope) ** 2)))


def _likelihood(design, y, noise):
    """The restricted likelihood of each covariance `[number, n, n]`, as shares that add to one."""
    inverse = np.linalg.inv(noise)
    information = design.T @ inverse @ design
    best = np.linalg.solve(information, (design.T @ inverse @ y)[..., None])[..., 0]
    rest = y - best @ design.T
    logs = -0.5 * (
        np.linalg.slogdet(noise)[1]
        + np.linalg.slogdet(information)[1]
        + np.sum((rest[:, None] @ inverse)[:, 0] * rest, 1)
    )
    shares = np.exp(logs - logs.max())
    return shares / shares.sum()
