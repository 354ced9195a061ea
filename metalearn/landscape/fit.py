"""The result of all estimators of a dimension, the check of their input, and a line fit with errors."""

from typing import NamedTuple

import numpy as np

from metalearn.brief import brief_help

LOWER_BOUND = "lower bound on the error"
SCATTER = np.logspace(-5, -0.5, 24)  # standard deviations of ln counts about a line, with equal prior weights


@brief_help
class DimensionFit(NamedTuple):
    """A dimension fitted to counts at several scales.

    Attributes:
      dimension: D; NaN if it is refused.
      standard_error: the standard error of D; the function that returns it says what it includes.
      sizes: all box sides or distances, in pixels.
      counts: the number of boxes that contain a part of the border, or the fraction of uncertain pixels, at each size.
      local_slopes: the local dimension between neighbouring sizes; one entry fewer than `sizes`, unless stated
        otherwise.
      refused: the reason why there is no dimension; empty if there is one.
      lower_bound: whether the error is only a lower bound, because the rule has a bias at finite resolution that the
        picture does not show.
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
    """Check that a mask is a boolean array of at least `least` × `least`, and return it."""
    try:
        mask = np.asarray(mask)
    except ValueError:  # a Landscape, or another tuple of arrays
        mask = np.empty(0, object)
    if mask.dtype != bool or mask.ndim != 2 or min(mask.shape) < least:
        raise ValueError(
            f"A dimension needs a picture of booleans [H, W], at least {least} × {least}, such as landscape.converged; "
            f"{mask.dtype} {mask.shape} was given.{what_to_do(mask, least)}"
        )
    return mask


def what_to_do(mask, least):
    """Return the advice for a mask that is not a picture."""
    if mask.dtype == bool and mask.ndim == 2:
        return f" Render the plane again with resolution={least} or more."
    if mask.ndim == 2:
        return " Compare it with a threshold, such as measure < 0."
    return ""


def log_slopes(sizes, counts):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.diff(np.log(counts)) / np.diff(np.log(sizes))


def line(sizes, counts, covariance) -> tuple[float, float]:
    """Return the slope of ln counts with respect to ln sizes, and its standard error.

        y_j = a + H x_j + e_j,   Cov e = C + τ² 1.

    C is the sampling covariance of y. τ is the scatter about the line that C does not explain, such as log-periodic
    oscillations. The fit weights points with their inverse variances. The slope and its error are averaged over τ,
    weighted with the restricted likelihood.
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
    """Return the restricted likelihood of each covariance `[number, n, n]`, normalised to a sum of one."""
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
