"""How rough a cut through a landscape is, scale by scale."""

import math
from typing import NamedTuple

import numpy as np

from metalearn.inner.checks import check_number
from metalearn.intervals import student
from metalearn.landscape.fit import line, log_slopes

BLOCKS = 16
ROUGH = 0.7  # of what independent values would give: beyond it the differences are saturated


class Roughness(NamedTuple):
    """The structure function of a cut, S(δ) = mean |L(θ + δ) − L(θ)| ~ δ^H.

    Attributes:
      lags: δ in the units of the pitch, doubling.
      differences: S(δ).
      local_exponents: H between neighbouring lags, one fewer: 1 where the cut is smooth, 0 where it is noise.
      exponent: H of second differences, mean |L(θ + 2δ) − 2 L(θ + δ) + L(θ)| ~ δ^H, at most 1, fitted from a lag of two
        pitches up to where they are 0.7 of what independent values would give; the dimension of the graph is 2 − H.
      standard_error: of H, from 16 stretches of the cut and the scatter of the scales about a line. ± 1 covers 62 to 66
        % on fractional Brownian motion, and between 49 and 74 % on sums of waves; more on cuts of fewer than 512
        points.
      crossover: δ*, above which the cut is rough or folds over (local H falls below ½); infinite where it does neither,
        NaN where it is already rough between neighbouring points, so that the crossover lies below the pitch.
      refused: why there is no H; empty where there is one.
    """

    lags: np.ndarray
    differences: np.ndarray
    local_exponents: np.ndarray
    exponent: float
    standard_error: float
    crossover: float
    refused: str = ""


def roughness(values, pitch: float) -> Roughness:
    """The roughness of a cut, by its structure function, not by oscillation or boxes, which read high on graphs.

    A finite number of steps T is smooth below δ* ~ e^{−λT} and rough above it: the crossover says more than one
    exponent. For a loss discounted by γ in chaos, H = ln(1/γ)/λ.

    The exponent is that of second differences, which are nearly independent of each other at any H < 1; first
    differences are not above H = ¾, and the spread over stretches of the cut then says little of their error.

    Args:
      values: L at evenly spaced points of a line, `[count]`, at least 64, finite.
      pitch: their distance.

    Raises:
      TypeError: `pitch` is no number.
      ValueError: `pitch` is not positive, or `values` are fewer than 64 or not all finite.

    References:
      Wang, Herbert & Gao, Fractal landscapes in policy optimization, 2023, arXiv 2310.15418 (H of a discounted loss).
      Istas & Lang, Quadratic variations and estimation of the local Hölder index of a Gaussian process, 1997.
    """
    check_number("pitch", pitch, 0, open_low=True)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 64 or not np.all(np.isfinite(values)):
        raise ValueError(
            f"A cut must be at least 64 finite numbers; shape {values.shape} with {np.sum(~np.isfinite(values))} others was given."
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
    used = np.cumprod((mean > 0) & (mean < ROUGH * independent)).astype(bool)  # up to the first that is not
    used[0] = False  # between neighbouring points the shortest waves alias
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
    """Mean |L(θ + 2δ) − 2 L(θ + δ) + L(θ)| in each stretch, `[lags, blocks]`; the same points start all lags."""
    count = len(values) - 2 * lags[-1]
    count -= count % BLOCKS
    ends = [values[2 * lag : 2 * lag + count] + values[:count] - 2 * values[lag : lag + count] for lag in lags]
    return np.abs(ends).reshape(len(lags), BLOCKS, -1).mean(axis=2)


def _covariance(stretches):
    """Of the logarithms of the means over stretches, neighbours being correlated at the largest lags (Newey & West 1987)."""
    away = stretches / stretches.mean(axis=1, keepdims=True) - 1
    beside = away[:, 1:] @ away[:, :-1].T
    return (away @ away.T + (beside + beside.T) / 2) / (BLOCKS * (BLOCKS - 1))


def _crossover(lags, local):
    """The lag at which the local exponent falls below ½, from the left."""
    middle = np.sqrt(lags[1:] * lags[:-1])
    rough = np.flatnonzero(local < 0.5)
    if not len(rough):
        return math.inf
    if rough[0] == 0:
        return math.nan
    before, after = rough[0] - 1, rough[0]
    share = (local[before] - 0.5) / (local[before] - local[after])
    return float(np.exp(np.log(middle[before]) + share * np.log(middle[after] / middle[before])))
