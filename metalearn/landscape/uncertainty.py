"""The dimension of a border from final-state uncertainty."""

import math

import numpy as np

from metalearn.intervals import student
from metalearn.landscape.fit import DimensionFit, log_slopes, picture

UNRESOLVED = 0.8
LARGEST = 0.4  # fraction of uncertain pixels above which f saturates
LEAST = 30  # uncertain pixels
SELF_AFFINE = 0.1  # smaller differences between the exponents of the two axes are ignored


def uncertainty_dimension(labels) -> DimensionFit:
    """Estimate the dimension of a border from final-state uncertainty: D = 2 − α, f(ε) ~ ε^α.

    f(ε) is the fraction of ε-uncertain pixels. A pixel is ε-uncertain along an axis if one of the two pixels at
    distance ε along the axis has a different label. The distances are 1, 2, 3, 4, 6, 8 … pixels, up to a sixteenth of
    the side. For each axis, α is fitted to the distances with more than 30 uncertain pixels and f < 0.4, with weights
    1/ε. The method makes no assumption about the border between pixels, so it has no aliasing errors.

    If the exponents of both axes agree, α is their mean. Otherwise the border is self-affine, like the graph of a rough
    function, and α is the smaller exponent, which dominates at short distances in every oblique direction.

    Args:
      labels: booleans `[H, W]`, at least 32 × 32.

    Returns:
      A `DimensionFit` whose counts are f, averaged over both axes. Its error is the standard error of the mean of the
      exponents of the finer and the coarser half of the distances along each axis, by Student's t. It describes this
      border only; the dimensions of other realisations of a random border can differ by more. The dimension is refused
      if all labels are equal, if f(1) is above 0.8 of the value for independent labels (the border is unresolved), or
      if fewer than three distances remain.

    Raises:
      ValueError: `labels` is not a boolean array of at least 32 × 32.

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
        "" if exponents else "fewer than three distances have neither too few nor too many uncertain pixels"
    )
    if refused:
        return DimensionFit(math.nan, math.nan, distances, shares, 2 - slopes, refused)
    exponent, error = _joined(exponents)
    return DimensionFit(2 - exponent, error, distances, shares, 2 - slopes)


def _distances(largest):
    """Return the distances 1, 2, 3, 4, 6, 8, 12 … up to `largest`."""
    octaves = 2 ** np.arange(int(math.log2(largest)) + 1)
    distances = np.union1d(octaves, 3 * octaves)
    return distances[distances <= largest]


def _uncertain(labels, distances):
    """Return the number of uncertain pixels along each axis, `[2, distances]`, and the number of pixels examined.

    The same pixels are examined at all distances.
    """
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
    """Return α of the usable distances along an axis, and of their finer and coarser halves; None for fewer than 3."""
    used = np.cumprod((uncertain > LEAST) & (uncertain < LARGEST * pixels)).astype(bool)
    if used.sum() < 3:
        return None
    x, y = np.log(distances[used]), np.log(uncertain[used] / pixels)
    weights = 1 / np.sqrt(distances[used])
    middle = used.sum() // 2
    slope = lambda part: np.polyfit(x[part], y[part], 1, w=weights[part])[0]
    return slope(slice(None)), [slope(slice(middle + 1)), slope(slice(middle, None))]


def _joined(exponents):
    """Return the exponent of both axes and its error, or the smaller one if they differ by more than three errors."""
    if len(exponents) == 2:
        (one, halves), (other, others) = exponents
        if abs(one - other) > max(SELF_AFFINE, 3 * math.hypot(np.ptp(halves), np.ptp(others)) / 2):
            exponents = [min(exponents)]
    exponent = np.mean([whole for whole, _ in exponents])
    away = np.array([half for _, both in exponents for half in both]) - exponent
    freedom = len(away) - 1
    return float(exponent), float(np.sqrt(np.sum(away**2) / freedom / len(away))) * student(freedom)
