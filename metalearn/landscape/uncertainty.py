"""The dimension of a border from the uncertainty of the labels near it."""

import math

import numpy as np

from metalearn.intervals import student
from metalearn.landscape.fit import DimensionFit, log_slopes, picture

UNRESOLVED = 0.8
LARGEST = 0.4  # share of uncertain pixels; beyond it f saturates
LEAST = 30  # uncertain pixels
SELF_AFFINE = 0.1  # a smaller difference of the exponents along the two axes is none


def uncertainty_dimension(labels) -> DimensionFit:
    """The dimension of a border from final-state uncertainty: D = 2 − α, f(ε) ~ ε^α.

    A pixel is ε-uncertain along an axis where one of the two pixels at distance ε on it has another label. Distances
    are 1, 2, 3, 4, 6, 8 … pixels, up to a sixteenth of the side; those with more than 30 uncertain pixels and f < 0.4
    are fitted along each axis, weighted with 1/ε. Nothing is assumed of what lies between pixels, so nothing aliases.

    Where both axes agree, α is their mean. Where they do not, the border is self-affine, like the graph of a rough
    function, and α is the smaller of the two, which is that of the shortest distances in any oblique direction.

    Args:
      labels: booleans `[H, W]`, at least 32 × 32.

    Returns:
      A `DimensionFit` whose counts are f, the mean of both axes. Its error is that of the mean of the exponents of the
      finer and the coarser half of the distances along each axis, by Student's t. It says how well the dimension of
      this border is known; another border of the same kind, such as another realisation of a random one, can differ by
      more. Refused where all labels are alike, where f(1) is above 0.8 of what independent labels give (the border is
      unresolved), or fewer than three distances remain.

    Raises:
      ValueError: `labels` is no picture of booleans of at least 32 × 32.

    References:
      Grebogi, McDonald, Ott & Yorke, Final state sensitivity, 1983; McDonald et al., Fractal basin boundaries, 1985.
    """
    labels = picture(labels, 32)
    distances = _distances(max(3, min(labels.shape) // 16))
    uncertain, pixels = _uncertain(labels, distances)
    shares = uncertain.mean(axis=0) / pixels
    slopes = log_slopes(distances, shares)
    exponents = [found for one in uncertain if (found := _exponents(distances, one, pixels))]
    refused = _refusal(labels, shares) or (
        "" if exponents else "fewer than three distances have enough uncertain pixels and not too many"
    )
    if refused:
        return DimensionFit(math.nan, math.nan, distances, shares, 2 - slopes, refused)
    exponent, error = _joined(exponents)
    return DimensionFit(2 - exponent, error, distances, shares, 2 - slopes)


def _distances(largest):
    """1, 2, 3, 4, 6, 8, 12 …"""
    octaves = 2 ** np.arange(int(math.log2(largest)) + 1)
    distances = np.union1d(octaves, 3 * octaves)
    return distances[distances <= largest]


def _uncertain(labels, distances):
    """Uncertain pixels along each axis, `[2, distances]`, of so many; the same ones are looked at at all distances."""
    rim = distances[-1]
    height, width = (count - 2 * rim for count in labels.shape)

    def shifted(down, right):
        return labels[rim + down : rim + down + height, rim + right : rim + right + width]

    def count(down, right):
        return np.sum((shifted(down, right) != middle) | (shifted(-down, -right) != middle))

    middle = shifted(0, 0)
    return np.array([[count(d, 0) for d in distances], [count(0, d) for d in distances]]), middle.size


def _refusal(labels, shares):
    share = labels.mean()
    if share in (0, 1):
        return "all pixels have one label, there is no border"
    if shares[0] > UNRESOLVED * (1 - share**3 - (1 - share) ** 3):
        return "the border is unresolved: neighbouring pixels are nearly as different as independent ones; zoom in"
    return ""


def _exponents(distances, uncertain, pixels):
    """α along an axis: of all usable distances, of the finer and of the coarser half; None for fewer than three."""
    used = np.cumprod((uncertain > LEAST) & (uncertain < LARGEST * pixels)).astype(bool)
    if used.sum() < 3:
        return None
    x, y = np.log(distances[used]), np.log(uncertain[used] / pixels)
    weights = 1 / np.sqrt(distances[used])
    middle = used.sum() // 2
    slope = lambda part: np.polyfit(x[part], y[part], 1, w=weights[part])[0]
    return slope(slice(None)), [slope(slice(middle + 1)), slope(slice(middle, None))]


def _joined(exponents):
    """The exponent of both axes and its error; of the smaller one alone where they differ by more than three errors."""
    if len(exponents) == 2:
        (one, halves), (other, others) = exponents
        if abs(one - other) > max(SELF_AFFINE, 3 * math.hypot(np.ptp(halves), np.ptp(others)) / 2):
            exponents = [min(exponents)]
    exponent = np.mean([whole for whole, _ in exponents])
    away = np.array([half for _, both in exponents for half in both]) - exponent
    freedom = len(away) - 1
    return float(exponent), float(np.sqrt(np.sum(away**2) / freedom / len(away))) * student(freedom)
