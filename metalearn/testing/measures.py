"""Means and spreads of samples, their standard errors, and the checks made of them."""

from typing import NamedTuple

import numpy as np
from scipy.stats import norm, t

from metalearn.testing.verdict import Check

LIMIT = 5.0  # standard errors from which a check fails
SEEN = 2.0  # further standard errors, so that a bias is found in 98 % of the cases
ROUNDING = 3e-5  # relative to the size of the samples: the rounding error of a mean in float32


class Means(NamedTuple):
    """Means over samples with standard errors, `[episodes, 2]`."""

    mean: np.ndarray
    error: np.ndarray

    @classmethod
    def of(cls, samples: np.ndarray, more: np.ndarray | float = 0.0) -> "Means":
        """Return the means of samples `[N, episodes, 2]`, with a further error of the expected value.

        Errors of few samples are made larger, so that the limit has the same probability as for a normal distribution.
        """
        few = t.isf(norm.sf(LIMIT), len(samples) - 1) / LIMIT
        error = few * np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
        floor = ROUNDING * np.sqrt(np.mean(samples**2, axis=0))
        return cls(np.mean(samples, axis=0), np.sqrt(error**2 + floor**2 + np.square(more)))


def episode_means(gradients: np.ndarray, per_episode: int) -> np.ndarray:
    """Return the means over the estimates of each episode, `[cases, N, episodes, 2]`, in float64."""
    cases, count, estimates, size = gradients.shape
    grouped = gradients.astype(float).reshape(cases, count, estimates // per_episode, per_episode, size)
    return grouped.mean(axis=3)


def distance_to(found: Means, expected: np.ndarray) -> np.ndarray:
    """Return the distances in standard errors; infinite where the mean is not finite."""
    error = np.sqrt(found.error**2 + (ROUNDING * np.max(np.abs(expected))) ** 2)
    apart = np.abs(found.mean - expected)
    away = np.divide(apart, error, out=np.where(apart == 0, 0.0, np.inf), where=error > 0)
    return np.where(np.isfinite(away), away, np.inf)


def check_mean(name: str, found: Means, exact: np.ndarray, along: np.ndarray) -> Check:
    """Compare a mean with its closed form."""
    unit = along / np.linalg.norm(along)
    far = float(np.max(distance_to(found, exact)))
    error = float(np.sqrt(np.mean((found.error @ np.abs(unit)) ** 2)))
    seen = (LIMIT + SEEN) * float(np.min(found.error / np.abs(exact)))
    return Check(
        name, "mean", float(np.mean(found.mean @ unit)), float(np.mean(exact @ unit)), error, far, seen, far < LIMIT
    )


def spread(samples: np.ndarray) -> tuple[float, float]:
    """Return the trace of the variance of samples `[N, 2]`, and its standard error."""
    mean = np.mean(samples, axis=0)
    squares = np.sum((samples - mean) ** 2, axis=1)
    if np.mean(squares) <= (ROUNDING**0.5) ** 2 * np.sum(mean**2):
        return 0.0, 0.0
    return float(np.mean(squares)), float(np.std(squares) / np.sqrt(len(squares)))


def check_ratio(name: str, numerator: tuple, denominator: tuple, most: float) -> Check | None:
    """Check that a ratio of variances is not significantly above `most`; None where there is no variance."""
    (above, error_above), (below, error_below) = numerator, denominator
    if not (above > 0 and below > 0):
        return None
    ratio, error = above / below, np.hypot(error_above / above, error_below / below)
    far = max(float(np.log(ratio / most) / error), 0.0)
    return Check(name, "spread", ratio, most, float(ratio * error), far, np.nan, far < LIMIT)


def check_share(name: str, samples: np.ndarray, exact: np.ndarray, least: float) -> Check:
    """Note the component of samples `[N, 2]` along a gradient, as a share of it, which should be from `least` to 1."""
    if not np.all(np.isfinite(samples)):
        return Check(name, "divergence", np.nan, least, np.nan, np.inf, np.nan, None)
    share = samples @ exact / np.sum(exact**2)
    mean, error = np.mean(share), np.std(share) / np.sqrt(len(share))
    far = max(least - mean, mean - 1, 0) / max(error, 1e-6)
    return Check(name, "divergence", float(mean), least, float(error), float(far), np.nan, None)
