"""The dimension of a border with the errors that its picture shows, or the reason why there is none."""

import math
from typing import Any, NamedTuple

import numpy as np

from metalearn import tabular
from metalearn.brief import brief_help
from metalearn.inner.checks import check_choice
from metalearn.landscape.box_counting import box_counting_dimension, published_dimension
from metalearn.landscape.fit import LOWER_BOUND, picture
from metalearn.landscape.measure import edges
from metalearn.landscape.uncertainty import UNRESOLVED, uncertainty_dimension

RULES = {
    "published rule": lambda labels: published_dimension(edges(labels)),
    "nested boxes": lambda labels: box_counting_dimension(edges(labels)),
    "3-point rule": uncertainty_dimension,
}

SHOWN = {
    "dimension": ("dimension", "of the border, with the error of the fit"),
    "resolution": ("resolution", "change of the dimension at half the resolution"),
    "horizon": ("T/2", "change of the dimension at half the steps"),
    "control": ("control", "dimension of a circle by the same rule, which is 1"),
    "null_ratio": ("null ratio", "fraction of pixels next to another label, relative to that of independent labels"),
    "refused": ("refused", "reason why the dimension is not meaningful"),
}


@brief_help
class BorderDimension(NamedTuple):
    """The dimension of a border with its errors.

    Attributes:
      dimension: D by the rule, also if it is refused because the border is unresolved; NaN if the rule gives no D.
      statistical: the statistical error of the fit: from two axes and two ranges of distances (3-point rule), from a
        block bootstrap and the spread over phases and local slopes (nested boxes), or from the spread of the local
        slopes (published rule).
      resolution: |D − D at half the resolution|.
      horizon: |D − D of the labels at T/2|; NaN if these labels are not given or have no border.
      null_ratio: the fraction of pixels with a neighbour of another label, divided by the fraction for independent
        labels; NaN if there is no border.
      control: D of a circle by the same rule at the same resolution; its difference from 1 is the error of the rule.
      refused: the reason why D does not describe the border; empty if it does.
      lower_bound: whether `statistical` is only a lower bound on the error, as for both rules that count boxes.
    """

    dimension: float
    statistical: float
    resolution: float
    horizon: float
    null_ratio: float
    control: float
    refused: str
    lower_bound: bool = False

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary; `dimension_error` is `statistical`."""
        return [self._asdict() | {"dimension_error": self.statistical}]

    def _table(self) -> tabular.Table:
        return tabular.Table(str(self), self.rows(), SHOWN)

    def __str__(self):
        if math.isnan(self.dimension):
            return f"no dimension: {self.refused}"
        parts = [f"D = {self.dimension:.3f} ± {self.statistical:.3f} ({LOWER_BOUND if self.lower_bound else 'stat'})"]
        errors = {"resolution": self.resolution, "T/2": self.horizon}
        parts += [f"± {error:.3f} ({name})" for name, error in errors.items() if not math.isnan(error)]
        said = " ".join(parts) + f", null ratio {self.null_ratio:.2f}, control circle {self.control:.3f}"
        return f"refused, {self.refused} ({said})" if self.refused else said


def border_dimension(converged, *, before=None, rule: str = "3-point rule") -> BorderDimension:
    """Estimate the dimension of a border by one rule, with the errors that the picture shows and a circle as control.

    Args:
      converged: boolean labels `[H, W]`, at least 64 × 64.
      before: the labels at T/2, for the error of the horizon.
      rule: "3-point rule" (`uncertainty_dimension`, the most accurate), "nested boxes" (`box_counting_dimension` of the
        edges) or "published rule" (`published_dimension` of the edges).

    Raises:
      ValueError: `converged` or `before` is not a boolean array of at least 64 × 64, their shapes differ, or `rule` is
        unknown.
    """
    check_choice("rule", rule, RULES)
    converged, estimate = picture(converged, 64), RULES[rule]
    if before is not None:
        before = picture(before, 64)
        if before.shape != converged.shape:
            raise ValueError(f"before must have the shape {converged.shape} of the labels; {before.shape} was given.")
    fit = estimate(converged)
    earlier = math.nan if before is None else estimate(before).dimension
    ratio = _null_ratio(converged)
    refused = fit.refused
    if not refused and ratio > UNRESOLVED:
        refused = "the border is unresolved: neighbouring pixels are nearly as different as independent ones; zoom in"
    return BorderDimension(
        fit.dimension,
        fit.standard_error,
        abs(fit.dimension - estimate(converged[::2, ::2]).dimension),
        abs(fit.dimension - earlier),
        ratio,
        estimate(_disc(converged.shape)).dimension,
        refused,
        fit.lower_bound,
    )


def dimension_table(measure, undecided) -> list[dict[str, Any]]:
    """Estimate the dimension of the border of a picture by every rule.

    Args:
      measure, undecided: arrays `[H, W]` of a `Landscape`.

    Returns:
      One row for each rule, with `rule`, the fields of `BorderDimension`, and `summary`, the result in words. The
      dimension of a picture smaller than 64 × 64 is refused.
    """
    converged = np.asarray(measure) < 0
    if min(converged.shape) < 64:
        refusal = f"the picture has {converged.shape[1]} × {converged.shape[0]} pixels, at least 64 × 64 are needed"
        nothing = BorderDimension(math.nan, math.nan, math.nan, math.nan, math.nan, math.nan, refusal)
        return [{"rule": rule, **nothing._asdict(), "summary": str(nothing)} for rule in RULES]
    before = converged ^ np.asarray(undecided)
    found = {rule: border_dimension(converged, before=before, rule=rule) for rule in RULES}
    return [{"rule": rule, **result._asdict(), "summary": str(result)} for rule, result in found.items()]


def _null_ratio(labels):
    """Return the fraction of pixels with a different neighbour on an axis, over the fraction for independent labels."""
    share = float(labels.mean())
    null = 1 - share**3 - (1 - share) ** 3
    if null == 0:
        return math.nan
    middle = labels[1:-1, 1:-1]
    beside = ((labels[:-2, 1:-1], labels[2:, 1:-1]), (labels[1:-1, :-2], labels[1:-1, 2:]))
    return float(np.mean([(one != middle) | (other != middle) for one, other in beside]) / null)


def _disc(shape):
    y, x = (np.linspace(-1, 1, count) for count in shape)
    return (x[None, :] - 0.013) ** 2 + (y[:, None] - 0.027) ** 2 < 0.6**2
