"""The roughness of a cut through a landscape at each scale."""

import math
from typing import NamedTuple

import numpy as np

from metalearn.brief import brief_help
from metalearn.inner.checks import check_number
from metalearn.intervals import student
from metalearn.landscape.fit import line, log_slopes

BLOCKS = 16
ROUGH = 0.7  # fraction of the differences of independent values, above which differences are saturated


@brief_help
class Roughness(NamedTuple):
    """The structure function of a cut, S(δ) = mean |L(θ + δ) − L(θ)| ~ δ^H.

    Attributes:
      lags: δ, in the units of `pitch`; each lag is twice the one before.
      differences: S(δ).
      local_exponents: H between neighbouring lags, one entry fewer than `lags`: 1 if the cut is smooth, 0 if it is
        noise.
      exponent: H of second differences, mean |L(θ + 2δ) − 2 L(θ + δ) + L(θ)| ~ δ^H, at most 1. The fit uses lags from
        two pitches up to the lag at which the differences reach 0.7 of those of independent values. The dimension of
        the graph is 2 − H.
      standard_error: the standard error of H, from 16 blocks of the cut and the scatter of the scales about a line. The
        interval of ± 1 standard error covers H in 62 to 66 % of cases for fractional Brownian motion, in 49 to 74 % for
        sums of waves, and more often for cuts of fewer than 512 points.
      crossover: δ*, the scale above which the cut is rough or folds (local H below ½). It is infinite if there is no
        such scale, and NaN if the cut is rough at the smallest lag, so that the crossover is below the pitch.
      refused: the reason why there is no H; empty if there is one.
    """

    lags: np.ndarray
    differences: np.ndarray
    local_exponents: np.ndarray
    exponent: float
    standard_error: float
    crossover: float
    refused: str = ""


def roughness(values, pitch: float) -> Roughness:
    """Measure the roughness of a cut by its structure function.

    Oscillation and box counts would overestimate the dimension of a graph. A meta-loss over a finite number of steps T
    is smooth below δ* ~ e^{−λT} and rough above it, so the crossover is as important as the exponent. In chaos, a loss
    with discount γ has H = ln(1/γ)/λ.

    The exponent is that of second differences, which are nearly independent of each other for all H < 1. First
    differences are strongly correlated for H > ¾, where the spread over blocks of the cut underestimates the error.

    Args:
      values: L at evenly spaced points of a line, `[count]`, at least 64 finite numbers.
      pitch: the distance of neighbouring points.

    Raises:
      TypeError: `pitch` is not a real number.
      ValueError: `pitch` is not positive, or `values` is not an array of at least 64 finite numbers.

    References:
      Wang, Herbert & Gao, Fractal landscapes in policy optimization, 2023, arXiv 2310.15418 (H of a discounted loss).
      Istas & Lang, Quadratic variations and estimation of the local Hölder index of a Gaussian process, 1997.
    """
    check_number("pitch", pitch, 0, open_low=True)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 64 or not np.all(np.isfinite(values)):
        raise ValueError(
            f"values must be at least 64 finite numbers; shape {values.shape} with {np.sum(~np.isfinite(values))} others was given."
        )
    lags = 2 ** np.arange(max(4, int(math.log2(len(values) / 32)) + 1))
    differences = np.array([np.abs(values[lag:] - values[:-lag]).mean() for lag in lags])
    local = log_slopes(lags, differences)
    found = (lags * pitch, differences, local)
    crossover = _crossover(lags * pitch, local)
    stretches = _second_differences(values, lags)
    mean = stretches.mean(axis=1)
    shuffled = np.random.default_rng(0).permutation(values)
    independent = np.abs(np.diff(shuffled, 2)).mean()
    used = np.cumprod((mean > 0) & (mean < ROUGH * independent)).astype(bool)  # up to the first saturated lag
    used[0] = False  # the smallest lag has aliasing errors
    if used.sum() < 3:
        refused = (
            "the cut is constant"
            if differences.max() == 0
            else "neighbouring values differ nearly as much as independent ones; take a shorter cut or more points"
        )
        return Roughness(*found, math.nan, math.nan, crossover, refused)
    exponent, error = line(lags[used], mean[used], _covariance(stretches[used]))
    return Roughness(*found, min(exponent, 1.0), error * student(BLOCKS - 1), crossover)


def _second_differences(values, lags):
    """Return the mean |L(θ + 2δ) − 2 L(θ + δ) + L(θ)| of each block, `[lags, blocks]`, with the same θ for all lags."""
    count = len(values) - 2 * lags[-1]
    count -= count % BLOCKS
    ends = [values[2 * lag : 2 * lag + count] + values[:count] - 2 * values[lag : lag + count] for lag in lags]
    return np.abs(ends).reshape(len(lags), BLOCKS, -1).mean(axis=2)


def _covariance(stretches):
    """Return the covariance of the log means. Neighbouring blocks are correlated at large lags (Newey & West 1987)."""
    away = stretches / stretches.mean(axis=1, keepdims=True) - 1
    beside = away[:, 1:] @ away[:, :-1].T
    return (away @ away.T + (beside + beside.T) / 2) / (BLOCKS * (BLOCKS - 1))


def _crossover(lags, local):
    """Return the smallest lag at which the local exponent falls below ½."""
    middle = np.sqrt(lags[1:] * lags[:-1])
    rough = np.flatnonzero(local < 0.5)
    if not len(rough):
        return math.inf
    if rough[0] == 0:
        return math.nan
    before, after = rough[0] - 1, rough[0]
    share = (local[before] - 0.5) / (local[before] - local[after])
    return float(np.exp(np.log(middle[before]) + share * np.log(middle[after] / middle[before])))
