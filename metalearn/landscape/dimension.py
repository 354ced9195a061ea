"""The dimension of a border with every error that can be read off its picture, or a refusal."""

import math
from typing import Any, NamedTuple

import numpy as np

from metalearn.landscape.box_counting import box_counting_dimension, published_dimension
from metalearn.landscape.fit import DimensionFit, picture
from metalearn.landscape.measure import edges
from metalearn.landscape.uncertainty import uncertainty_dimension


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


def border_dimension(converged, *, before=None) -> BorderDimension:
    """The uncertainty dimension with every error that can be read off a picture, and a smooth control beside it.

    Args:
      converged: labels `[H, W]`, at least 64 × 64.
      before: the labels at T/2, for the error of the horizon.

    Raises:
      ValueError: no picture of booleans of at least 64 × 64, or pictures of different shapes.
    """
    converged = picture(converged, 64)
    fit = uncertainty_dimension(converged)
    coarse = uncertainty_dimension(converged[::2, ::2]).dimension
    earlier = math.nan
    if before is not None:
        before = picture(before, 64)
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


def dimension_table(measure, undecided) -> list[dict[str, Any]]:
    """The dimension of a picture's border by every estimator that its size allows, a row each.

    Args:
      measure, undecided: `[H, W]`, of a `Landscape`.

    Returns:
      Rows with `estimator`, `dimension`, `standard_error`, `resolution_error`, `horizon_error`, `null_ratio`, `control`
      (NaN where an estimator has none) and `said`, the result or its refusal in words.
    """
    border, converged = edges(measure), np.asarray(measure) < 0
    side = min(converged.shape)
    rows = []
    for name, estimate, smallest in (
        ("published rule", published_dimension, 33),
        ("nested boxes", box_counting_dimension, 33),
    ):
        if side >= smallest:
            fit = estimate(border)
            said = fit.refused or f"{fit.dimension:.3f} ± {fit.standard_error:.3f}"
            rows.append(_row(name, fit.dimension, fit.standard_error, said))
    if side >= 64:
        found = border_dimension(converged, before=converged ^ np.asarray(undecided))
        errors = (found.resolution, found.horizon, found.null_ratio, found.control)
        rows.append(_row("3-point rule", found.dimension, found.statistical, str(found), *errors))
    return rows


def _row(name, dimension, error, said, resolution=math.nan, horizon=math.nan, null=math.nan, control=math.nan):
    numbers = {"resolution_error": resolution, "horizon_error": horizon, "null_ratio": null, "control": control}
    return {"estimator": name, "dimension": dimension, "standard_error": error, **numbers, "said": said}


def _disc(shape):
    y, x = (np.linspace(-1, 1, count) for count in shape)
    return (x[None, :] - 0.013) ** 2 + (y[:, None] - 0.027) ** 2 < 0.6**2
