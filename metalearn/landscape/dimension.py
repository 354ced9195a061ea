"""The dimension of a border between labels, with an error that says where it comes from, or a refusal."""

import math
from typing import NamedTuple

import numpy as np

from metalearn.inner.checks import check_count

BLOCKS = 8  # the picture is resampled in blocks of 1/8 of its side
UNRESOLVED = 0.8


class DimensionFit(NamedTuple):
    """A dimension fitted to counts at several scales.

    Attributes:
      dimension: D; NaN where it is refused.
      standard_error: of D; what it includes is said where it is made.
      sizes: box sides or distances in pixels, of all scales looked at.
      counts: boxes that hold a part of the border, or the share of uncertain pixels, at each size.
      local_slopes: the exponent between neighbouring sizes, one fewer.
      refused: why there is no dimension; empty where there is one.
    """

    dimension: float
    standard_error: float
    sizes: np.ndarray
    counts: np.ndarray
    local_slopes: np.ndarray
    refused: str = ""


class BorderDimension(NamedTuple):
    """The uncertainty dimension of a picture with its errors.

    Attributes:
      dimension: D = 2 − α; NaN where it is refused.
      statistical: block bootstrap over the picture.
      resolution: |D − D at half the resolution|.
      horizon: |D − D of the labels at T/2|; NaN where these are not given.
      null_ratio: the share of uncertain pixels at distance 1 over that of independent labels; above 0.8 the border is
        unresolved.
      control: D of a circle through the same pipeline at the same resolution; its distance from 1 is the method's own.
      fit: the fit.
    """

    dimension: float
    statistical: float
    resolution: float
    horizon: float
    null_ratio: float
    control: float
    fit: DimensionFit

    def __str__(self):
        if self.fit.refused:
            return f"no dimension: {self.fit.refused}"
        parts = [f"D = {self.dimension:.3f} ± {self.statistical:.3f} (stat) ± {self.resolution:.3f} (resolution)"]
        if not math.isnan(self.horizon):
            parts.append(f"± {self.horizon:.3f} (T/2)")
        return " ".join(parts) + f", null ratio {self.null_ratio:.2f}, control circle {self.control:.3f}"


def box_counting_dimension(mask, *, num_phases: int = 8, seed: int = 0) -> DimensionFit:
    """Dyadic box counting: D = −d ln N(ε) / d ln ε by least squares over nested boxes of 8, 16 … N/8 pixels.

    N(ε) is the number of boxes of side ε that hold a True, averaged over random phases of the grid, of whole boxes
    only, rescaled to the area of the picture. The three finest octaves alias and are shown, not fitted, where the
    picture is large enough for the others.

    Args:
      mask: booleans `[H, W]`, such as `edges(measure)`; best a power of two a side. At least 32 × 32.
      num_phases: shifts of the grid to average.
      seed: of the shifts.

    Returns:
      A `DimensionFit`; its error joins the spread over phases and that of the local slopes. Refused where fewer than
      two sizes have a box.

    Raises:
      ValueError: no picture of booleans of at least 32 × 32.

    References:
      chaos measures as in Grebogi et al. 1983; nesting and phases after the usual faults of box counts (bias −0.01 …
      −0.07 at 2049²).
    """
    mask = _picture(mask, 32)
    check_count("num_phases", num_phases)
    side = min(mask.shape)
    sizes = 2 ** np.arange(int(math.log2(side / 4)) + 1)
    generator = np.random.default_rng(seed)
    shares = generator.random((num_phases, 2))
    counts = np.array([[_boxes(mask, size, share) for size in sizes] for share in shares])
    mean = counts.mean(axis=0)
    fitted = (sizes >= min(8, side // 32)) & (sizes <= side / 8) & (mean > 0)
    slopes = _slopes(sizes, mean)
    if fitted.sum() < 2:
        return DimensionFit(
            math.nan, math.nan, sizes, mean, slopes, "fewer than two box sizes hold a part of the border"
        )
    dimension = -np.polyfit(np.log(sizes[fitted]), np.log(mean[fitted]), 1)[0]
    phases = [-np.polyfit(np.log(sizes[fitted]), np.log(np.maximum(row[fitted], 0.5)), 1)[0] for row in counts]
    inner = -slopes[fitted[:-1] & fitted[1:]]
    between = np.std(inner, ddof=1) / math.sqrt(len(inner)) if len(inner) > 1 else 0.0
    spread = np.std(phases, ddof=1) / math.sqrt(num_phases) if num_phases > 1 else 0.0
    return DimensionFit(float(dimension), float(math.hypot(spread, between)), sizes, mean, -slopes)


def published_dimension(mask) -> DimensionFit:
    """The estimator of the published numbers: the median local slope of box counts at ten logarithmic sizes.

    Sizes from 10 pixels to the picture's side, rounded down; a box counts that holds True and False, those cut by the
    rim too. Biased low where the resolution is low (1.5 instead of 1.66 at 64²); kept for comparison with the paper.

    Args:
      mask: booleans `[H, W]`, at least 16 × 16.

    Returns:
      A `DimensionFit`; its error is the spread of the local slopes over √their number, and too small.

    Raises:
      ValueError: no picture of booleans.

    References:
      Sohl-Dickstein 2024, arXiv 2402.06184, by way of the box count of PoreSpy (Gostick et al. 2019).
    """
    mask = _picture(mask, 16)
    sizes = np.unique(np.logspace(1, math.log10(min(mask.shape)), 10).astype(int))
    counts = np.array([np.sum(_pool(mask, size) & _pool(~mask, size)) for size in sizes])
    if np.any(counts == 0):
        return DimensionFit(
            math.nan, math.nan, sizes, counts, np.full(len(sizes), math.nan), "the picture has no border"
        )
    slopes = -np.gradient(np.log(counts), np.log(sizes))
    return DimensionFit(
        float(np.median(slopes)), float(np.std(slopes, ddof=1) / math.sqrt(len(slopes))), sizes, counts, slopes
    )


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
    labels = _picture(labels, 32)
    distances = 2 ** np.arange(int(math.log2(min(labels.shape) / 16)) + 1)
    uncertain, pixels = _uncertain(labels, distances)
    shares = uncertain.sum(axis=1) / pixels.sum(axis=1)
    refused = _refusal(labels, shares, uncertain.sum(axis=1))
    slopes = _slopes(distances, shares)
    if refused:
        return DimensionFit(math.nan, math.nan, distances, shares, 2 - slopes, refused)
    dimension = 2 - _exponent(distances, uncertain.sum(axis=1), pixels.sum(axis=1))
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, pixels.shape[1], (num_bootstraps, pixels.shape[1]))
    resampled = [
        2 - _exponent(distances, uncertain[:, draw].sum(axis=1), pixels[:, draw].sum(axis=1)) for draw in draws
    ]
    return DimensionFit(float(dimension), float(np.nanstd(resampled, ddof=1)), distances, shares, 2 - slopes)


def border_dimension(converged, *, before=None) -> BorderDimension:
    """The uncertainty dimension with every error that can be read off a picture, and a smooth control beside it.

    Args:
      converged: labels `[H, W]`, at least 64 × 64.
      before: the labels at T/2, for the error of the horizon.

    Raises:
      ValueError: no picture of booleans of at least 64 × 64, or pictures of different shapes.
    """
    converged = _picture(converged, 64)
    fit = uncertainty_dimension(converged)
    coarse = uncertainty_dimension(converged[::2, ::2]).dimension
    earlier = math.nan
    if before is not None:
        before = _picture(before, 64)
        if before.shape != converged.shape:
            raise ValueError(f"before must have the shape {converged.shape} of the labels; {before.shape} was given.")
        earlier = uncertainty_dimension(before).dimension
    share = float(converged.mean())
    null = 1 - share**3 - (1 - share) ** 3
    ratio = float(fit.counts[0] / null) if null > 0 else math.nan
    control = uncertainty_dimension(_disc(converged.shape)).dimension
    return BorderDimension(
        fit.dimension,
        fit.standard_error,
        abs(fit.dimension - coarse),
        abs(fit.dimension - earlier),
        ratio,
        control,
        fit,
    )


def _picture(mask, least):
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.ndim != 2 or min(mask.shape) < least:
        raise ValueError(
            f"A dimension needs a picture of booleans [H, W], at least {least} × {least}; {mask.dtype} {mask.shape} was given."
        )
    return mask


def _disc(shape):
    y, x = (np.linspace(-1, 1, count) for count in shape)
    return (x[None, :] - 0.013) ** 2 + (y[:, None] - 0.027) ** 2 < 0.6**2


def _pool(mask, size):
    """Whether each box of a side holds a True; the boxes at the far rims may be cut."""
    rows = np.logical_or.reduceat(mask, np.arange(0, mask.shape[0], size), axis=0)
    return np.logical_or.reduceat(rows, np.arange(0, mask.shape[1], size), axis=1)


def _boxes(mask, size, share):
    """Whole boxes that hold a True, from a random phase, rescaled to the area of the picture."""
    starts = (share * np.minimum(size, np.array(mask.shape) % size + 1)).astype(int)
    whole = (np.array(mask.shape) - starts) // size
    ends = starts + whole * size
    pooled = _pool(mask[starts[0] : ends[0], starts[1] : ends[1]], size)
    return pooled.sum() * mask.size / (whole.prod() * size**2)


def _slopes(sizes, counts):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.diff(np.log(counts)) / np.diff(np.log(sizes))


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
