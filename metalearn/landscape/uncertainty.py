"""The dimension of a border from the uncertainty of the labels near it."""

import math

import numpy as np

from metalearn.inner.checks import check_seed
from metalearn.landscape.fit import DimensionFit, log_slopes, picture

BLOCKS = 8  # the picture is resampled in blocks of 1/8 of its side
UNRESOLVED = 0.8


def uncertainty_dimension(labels, *, num_bootstraps: int = 200, seed: int = 0) -> DimensionFit:
    """The dimension of a border from final-state uncertainty: D = 2 − α, f(ε) ~ ε^α.

    A pixel is ε-uncertain where one of the two pixels at distance ε on an axis has another label; f averages both axes.
    Distances are powers of two; those with more than 30 uncertain pixels and f < 0.3 are fitted, weighted with
    √(M f/(1−f)). Nothing is assumed of what lies between pixels, so nothing aliases.

    Args:
      labels: booleans `[H, W]`, at least 32 × 32.
      num_bootstraps: resamples of 8 × 8 blocks for the error.
      seed: of the resampling.

    Returns:
      A `DimensionFit` whose counts are f; its error is the block bootstrap's. Refused where all labels are alike, where
      f(1) is above 0.8 of what independent labels give (the border is unresolved), or fewer than two distances remain.

    Raises:
      ValueError: no picture of booleans of at least 32 × 32.

    References:
      Grebogi, McDonald, Ott & Yorke, Final state sensitivity, 1983; McDonald et al., Fractal basin boundaries, 1985.
    """
    labels = picture(labels, 32)
    check_seed("seed", seed)
    distances = 2 ** np.arange(int(math.log2(min(labels.shape) / 16)) + 1)
    uncertain, pixels = _uncertain(labels, distances)
    shares = uncertain.sum(axis=1) / pixels.sum(axis=1)
    refused = _refusal(labels, shares, uncertain.sum(axis=1))
    slopes = log_slopes(distances, shares)
    if refused:
        return DimensionFit(math.nan, math.nan, distances, shares, 2 - slopes, refused)
    dimension = 2 - _exponent(distances, uncertain.sum(axis=1), pixels.sum(axis=1))
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, pixels.shape[1], (num_bootstraps, pixels.shape[1]))
    resampled = [
        2 - _exponent(distances, uncertain[:, draw].sum(axis=1), pixels[:, draw].sum(axis=1)) for draw in draws
    ]
    return DimensionFit(float(dimension), float(np.nanstd(resampled, ddof=1)), distances, shares, 2 - slopes)


def _uncertain(labels, distances):
    """Uncertain and looked-at pixels, `[distances, blocks]`; the same pixels are looked at at all distances."""
    rim = distances[-1]
    height, width = (count - 2 * rim for count in labels.shape)
    block = (np.arange(height) * BLOCKS // height)[:, None] * BLOCKS + (np.arange(width) * BLOCKS // width)[None, :]

    def count(where):
        return np.bincount(block[where], minlength=BLOCKS * BLOCKS)

    def shifted(down, right):
        return labels[rim + down : rim + down + height, rim + right : rim + right + width]

    middle = shifted(0, 0)
    pairs = lambda d: (((d, 0), (-d, 0)), ((0, d), (0, -d)))
    other = [[(shifted(*a) != middle) | (shifted(*b) != middle) for a, b in pairs(d)] for d in distances]
    pixels = 2 * count(np.ones_like(middle))
    return np.array([count(x) + count(y) for x, y in other]), np.broadcast_to(pixels, (len(distances), len(pixels)))


def _refusal(labels, shares, uncertain):
    share = labels.mean()
    if share in (0, 1):
        return "all pixels have one label, there is no border"
    if shares[0] > UNRESOLVED * (1 - share**3 - (1 - share) ** 3):
        return "the border is unresolved: neighbouring pixels are nearly as different as independent ones; zoom in"
    if np.sum(_usable(uncertain, shares)) < 2:
        return "fewer than two distances have enough uncertain pixels and not too many"
    return ""


def _usable(uncertain, shares):
    return (uncertain > 30) & (shares < 0.3)


def _exponent(distances, uncertain, pixels):
    shares = uncertain / np.maximum(pixels, 1)
    used = _usable(uncertain, shares)
    if used.sum() < 2:
        return math.nan
    weights = np.sqrt(pixels[used] * shares[used] / (1 - shares[used]))
    return np.polyfit(np.log(distances[used]), np.log(shares[used]), 1, w=weights)[0]
