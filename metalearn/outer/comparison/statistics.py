"""Statistics of episodes: variance, bias, cosine and signal-to-noise ratio, corrected for noise, with their errors."""

import dataclasses
import math
from typing import Any

import numpy as np

from metalearn.outer.comparison.report import Measurement

GROUPS = 32
EXACT = 1e-24  # relative to the squared mean: a smaller variance is rounding, and the estimator is deterministic
KNOWN = 4.0  # standard errors: if a length is below this, directions and ratios are unknown
UNKNOWN = Measurement(math.nan, math.nan)
NEAR_ZERO, WIDER = (
    0.25,
    0.2,
)  # relative to the error of a squared length: below NEAR_ZERO the error of the length is constant, widened by WIDER


@dataclasses.dataclass(frozen=True)
class Mean:
    """The mean of independent vectors, and the covariance of that mean, C = FᵀF.

    Attributes:
      value: the mean, `[d]`.
      factor: F, `[n, d]`, the deviations divided by √(n (n − 1)); no rows if the mean is exact.
    """

    value: np.ndarray
    factor: np.ndarray

    @property
    def noise(self) -> float:
        """E ‖mean − E mean‖² = tr C."""
        return float(np.sum(self.factor**2))

    def along(self, vector: np.ndarray) -> float:
        """vᵀ C v."""
        return float(np.sum((self.factor @ vector) ** 2))


def estimate_mean(samples: np.ndarray) -> Mean:
    """Return the mean of independent samples `[n, d]`; it is exact if they are equal up to rounding."""
    value, count = samples.mean(axis=0), len(samples)
    factor = (samples - value) / math.sqrt(count * max(count - 1, 1))
    largest = np.max(np.abs(value))
    exact = np.max(np.abs(factor)) <= math.sqrt(EXACT) * largest if largest else not factor.any()
    return exactly(value) if exact else Mean(value, factor)


def exactly(value: np.ndarray) -> Mean:
    """Return a mean without error."""
    return Mean(value, np.zeros((0, len(value))))


def length(mean: Mean, *parts: Mean) -> Measurement:
    """Estimate ‖E mean‖ from ‖mean‖² − tr C; it is zero if noise explains all of ‖mean‖².

    The error is s / (2 · length), where s is the error of the square. Near zero, where this would be infinite, it is
    1.2 √s, which is conservative. For a difference of two means give both as `parts`; their covariances are estimated
    from separate samples.
    """
    unit = _unit(mean)
    mean, samples = _over(mean, unit), [_over(one, unit) for one in parts or (mean,)]
    square, trace = float(np.sum(mean.value**2)) - mean.noise, _trace_of_square(*samples)
    error = math.sqrt(max(2 * trace + 4 * max(mean.along(mean.value) - trace, 0.0), 0.0))
    value = math.sqrt(max(square, 0.0))
    if not error:
        return Measurement(value * unit, 0.0)
    wider = 1 + WIDER * (error / max(square, error)) ** 2
    return Measurement(value * unit, unit * wider * error / (2 * max(value, math.sqrt(NEAR_ZERO * error))))


def relative_bias(mean: Mean, target: Mean) -> Measurement:
    """Estimate ‖E mean − E target‖ / ‖E target‖, corrected for noise; NaN if the target is within its noise."""
    if not _is_finite(mean, target):
        return UNKNOWN
    unit = _unit(mean, target)
    mean, target = _over(mean, unit), _over(target, unit)
    gap = Mean(mean.value - target.value, np.concatenate([mean.factor, target.factor]))
    whole, apart = length(target), length(gap, mean, target)
    if not _is_known(whole):
        return UNKNOWN
    ratio = apart.value / whole.value
    both = (target.factor @ gap.value) @ (target.factor @ target.value)  # both lengths contain the error of the target
    lengths = float(np.linalg.norm(gap.value) * np.linalg.norm(target.value))
    square = apart.error**2 + (ratio * whole.error) ** 2 + 2 * ratio * both / max(lengths, 1e-300)
    return Measurement(ratio, math.sqrt(max(square, 0.0)) / whole.value)


def cosine(mean: Mean, target: Mean) -> Measurement:
    """Estimate the cosine between E mean and E target, with lengths corrected for noise; NaN if either is unknown."""
    if not _is_finite(mean, target):
        return UNKNOWN
    mean, target = (_over(one, _unit(one)) for one in (mean, target))
    lengths = length(mean), length(target)
    if not all(map(_is_known, lengths)):
        return UNKNOWN
    value = float(mean.value @ target.value) / (lengths[0].value * lengths[1].value)
    error = math.hypot(*(_turning(a, b, size.value) for a, b, size in zip((mean, target), (target, mean), lengths)))
    return Measurement(float(np.clip(value, -1, 1)), error)


def _is_known(found: Measurement) -> bool:
    """Return whether a length is larger than its noise."""
    return found.value > KNOWN * found.error


def _is_finite(*means: Mean) -> bool:
    return all(np.all(np.isfinite(mean.value)) and np.all(np.isfinite(mean.factor)) for mean in means)


def _unit(*means: Mean) -> float:
    """Return the largest entry. Vectors are divided by it, because the square of an exploding gradient may overflow."""
    largest = max(float(np.max(np.abs(part), initial=0)) for mean in means for part in (mean.value, mean.factor))
    return largest if 0 < largest < math.inf else 1.0


def _over(mean: Mean, unit: float) -> Mean:
    return Mean(mean.value / unit, mean.factor / unit)


def _turning(mean, other, size) -> float:
    """Return the error of a cosine that is due to the noise of one of its vectors.

    Noise perpendicular to the vector rotates it. Near ±1 the cosine is of second order in this rotation, and the error
    is that of the noise correction of the length.
    """
    direction = other.value / max(float(np.linalg.norm(other.value)), 1e-300)
    along = mean.value / size
    across = direction - (along @ direction) / max(float(along @ along), 1e-300) * along
    second = math.sqrt(max(_trace_of_square(mean) / 2, 0.0)) / size**2
    return math.hypot(math.sqrt(mean.along(across)) / size, second)


def _trace_of_square(mean: Mean, other: Mean | None = None) -> float:
    """Estimate tr C² without the part (tr C)² / (n − 1) that is due to the noise of C itself.

    With `other`, C is the sum of two covariances that are estimated from separate samples.
    """
    if other is not None:
        both = float(np.sum((mean.factor @ other.factor.T) ** 2))
        return _trace_of_square(mean) + _trace_of_square(other) + 2 * both
    rows, freedom = mean.factor, len(mean.factor) - 1
    if freedom < 0:
        return 0.0
    small = rows @ rows.T if rows.shape[0] <= rows.shape[1] else rows.T @ rows
    square, trace = float(np.sum(small**2)), float(np.sum(rows**2))
    if freedom < 2:
        return square
    corrected = (square - trace**2 / freedom) * freedom**2 / ((freedom + 2) * (freedom - 1))
    return max(corrected, square / len(rows))


def statistics(means: np.ndarray, squares: np.ndarray) -> dict[str, float]:
    """Return the variance of an episode and of a window, and the signal-to-noise ratio of an episode.

    The ratio is negative if the mean is shorter than expected from noise alone, and NaN if there is no noise.
    """
    mean, count = means.mean(axis=0), len(means)
    with np.errstate(over="ignore", invalid="ignore"):  # an exploding gradient has an infinite variance
        variance, whole = float(means.var(axis=0, ddof=1).sum()), float((mean**2).sum())
        variance = 0.0 if variance <= EXACT * whole else variance
        signal = whole - variance / count
        between = float(squares.mean()) - signal
    return {
        "variance": variance,
        "variance_per_window": 0.0 if between <= EXACT * abs(signal) else between,
        "signal_to_noise": signal / variance if 0 < variance < math.inf else math.nan,
    }


def jackknife(statistic: Any, *arrays: np.ndarray) -> tuple[dict[str, float], dict[str, float]]:
    """Return the statistic of all episodes, and its standard error from leaving out one group at a time."""
    values = statistic(*arrays)
    groups = np.array_split(np.arange(len(arrays[0])), min(GROUPS, len(arrays[0])))
    if len(arrays[0]) < 4:
        return values, dict.fromkeys(values, math.nan)
    left_out = [statistic(*(np.delete(array, group, axis=0) for array in arrays)) for group in groups]
    count = len(groups)
    with np.errstate(invalid="ignore", over="ignore"):
        spread = {f: math.sqrt((count - 1) * np.var([part[f] for part in left_out])) for f in values}
    return values, {name: 0.0 if values[name] == 0 else spread[name] for name in spread}
