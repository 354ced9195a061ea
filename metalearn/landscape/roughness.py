"""How rough a cut through a landscape is, scale by scale."""

import math
from typing import NamedTuple

import numpy as np

from metalearn.inner.checks import check_number, check_seed
from metalearn.landscape.fit import log_slopes

BLOCKS = 16
ROUGH = 0.5  # of what independent values would give: beyond it the differences are saturated


class Roughness(NamedTuple):
    """The structure function of a cut, S(δ) = mean |L(θ + δ) − L(θ)| ~ δ^H.

    Attributes:
      lags: δ in the units of the pitch, doubling.
      differences: S(δ).
      local_exponents: H between neighbouring lags, one fewer: 1 where the cut is smooth, 0 where it is noise.
      exponent: H fitted where S is below half of what independent values would give; the dimension of the graph is 2 − H.
      standard_error: of H, from a bootstrap over 16 stretches of the cut.
      crossover: δ*, above which the cut is rough or folds over (local H falls below ½); infinite where it does neither, NaN
        where it is already rough between neighbouring points, so that the crossover lies below the pitch.
      refused: why there is no H; empty where there is one.
    """

    lags: np.ndarray
    differences: np.ndarray
    local_exponents: np.ndarray
    exponent: float
    standard_error: float
    crossover: float
    refused: str = ""


def roughness(values, pitch: float, *, num_bootstraps: int = 200, seed: int = 0) -> Roughness:
    """The roughness of a cut, by its structure function, not by oscillation or boxes, which read high on graphs.

    A finite number of steps T is smooth below δ* ~ e^{−λT} and rough above it: the crossover says more than one
    exponent. For a loss discounted by γ in chaos, H = ln(1/γ)/λ.

    Args:
      values: L at evenly spaced points of a line, `[count]`, at least 64, finite.
      pitch: their distance.
      num_bootstraps: resamples for the error.
      seed: of the resampling.

    Raises:
      TypeError, ValueError: a sentence that names the argument.

    References:
      Wang, Herbert & Gao, Fractal landscapes in policy optimization, 2023, arXiv 2310.15418 (H of a discounted loss).
    """
    check_number("pitch", pitch, 0, open_low=True)
    check_seed("seed", seed)
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 64 or not np.all(np.isfinite(values)):
        raise ValueError(
            f"A cut must be at least 64 finite numbers; shape {values.shape} with {np.sum(~np.isfinite(values))} others was given."
        )
    lags = 2 ** np.arange(int(math.log2(len(values) / 16)) + 1)
    blocks = _differences(values, lags)
    differences = blocks.mean(axis=1)
    independent = np.abs(values - np.random.default_rng(seed).permutation(values)).mean()
    used = np.cumprod((differences > 0) & (differences < ROUGH * independent)).astype(
        bool
    )  # up to the first that is not
    local = log_slopes(lags, differences)
    crossover = _crossover(lags * pitch, local)
    refused = ""
    if independent == 0:
        refused = "the cut is constant"
    elif used.sum() < 2:
        refused = "neighbouring values differ nearly as much as independent ones; take a shorter cut or more points"
    if refused:
        return Roughness(lags * pitch, differences, local, math.nan, math.nan, crossover, refused)
    fit = lambda means: np.polyfit(np.log(lags[used]), np.log(np.maximum(means[used], 1e-300)), 1)[0]
    draws = np.random.default_rng(seed).integers(0, BLOCKS, (num_bootstraps, BLOCKS))
    spread = np.std([fit(blocks[:, draw].mean(axis=1)) for draw in draws], ddof=1)
    return Roughness(lags * pitch, differences, local, float(fit(differences)), float(spread), crossover)


def _differences(values, lags):
    """Mean |L(θ + δ) − L(θ)| in each stretch, `[lags, blocks]`; the same points start all lags."""
    count = len(values) - lags[-1]
    count -= count % BLOCKS
    steps = [np.abs(values[lag : lag + count] - values[:count]) for lag in lags]
    return np.array(steps).reshape(len(lags), BLOCKS, -1).mean(axis=2)


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
