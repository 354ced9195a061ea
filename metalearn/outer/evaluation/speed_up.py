"""The speed-up of an optimiser: how many times fewer steps than Adam it needs to reach Adam's final loss."""

from typing import NamedTuple

import numpy as np

from metalearn.intervals import student

RESAMPLES = 400
OUTSIDE = 0.16  # the share of resamples beyond each end of a 68 % interval


class SpeedUp(NamedTuple):
    """A ratio of steps with its 68 % interval over seeds.

    Attributes:
      value: the ratio; NaN if the loss is not reached within the run, or if there is no Adam to compare with.
      low, high: the ends of the interval, NaN for one seed; `low` is 0 if more than 16 % of the resamples do not reach
        the loss.
      reason: why there is no value; empty if there is one.
    """

    value: float
    low: float
    high: float
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return self.reason
        if np.isnan(self.low):
            return f"{self.value:.3g}"
        low = f"{self.low:.3g}" if self.low > 0 else "not reached"
        return f"{self.value:.3g} ({low} … {self.high:.3g})" if self.low < self.high else f"{self.value:.3g}"


NO_ADAM = SpeedUp(np.nan, np.nan, np.nan, "–")


def speed_up(curves, adam) -> SpeedUp:
    """Compute the number of steps to Adam's final mean validation loss: that of Adam divided by that of `curves`.

    Both numbers are first crossings of mean curves, which are smoothed and interpolated between evaluations. The
    interval is value · e^(±s), where s is the standard deviation of the logarithm over resamples of the seeds (the same
    for both curves), widened for few seeds. It does not include the uncertainty of the choice of the swept Adam.

    Args:
      curves, adam: `Curves` of the same seeds.
    """
    steps, count = curves.steps, len(curves.validation)
    ratio = lambda weights: _ratios(steps, weights @ curves.validation, weights @ adam.validation)
    value = float(ratio(np.full((1, count), 1 / count))[0])
    if np.isnan(value):
        return SpeedUp(value, np.nan, np.nan, "not reached")
    if count < 2:
        return SpeedUp(value, np.nan, np.nan)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), RESAMPLES)
    found = ratio(draws / count)
    reached = found[np.isfinite(found)]
    spread = np.std(np.log(reached)) * np.sqrt(count / (count - 1)) * student(count - 1) if len(reached) else np.inf
    seldom = len(reached) < (1 - OUTSIDE) * RESAMPLES
    return SpeedUp(value, 0.0 if seldom else value * float(np.exp(-spread)), value * float(np.exp(spread)))


def _ratios(steps, own, adam):
    """Return the ratio of steps for each pair of mean curves `[number, points]`; NaN if the loss is not reached."""
    own, adam = _smooth(own), _smooth(adam)
    return _crossing(steps, adam, adam[:, -1:]) / _crossing(steps, own, adam[:, -1:])


def _smooth(curves):
    """Average over a window of a fiftieth of the run, of at least three points; the window shrinks at both ends."""
    points = curves.shape[1]
    places, half = np.arange(points), max(1, points // 100)
    reach = np.minimum(half, np.minimum(places, places[::-1]))
    sums = np.cumsum(np.pad(curves, ((0, 0), (1, 0))), axis=1)
    return (sums[:, places + reach + 1] - sums[:, places - reach]) / (2 * reach + 1)


def _crossing(steps, curves, level):
    """Return the step at which each curve first reaches a level, linear between evaluations; NaN if it never does."""
    below = curves <= level
    index = np.argmax(below, axis=1)
    before = np.maximum(index - 1, 0)
    rows = np.arange(len(curves))
    high, low = curves[rows, before], curves[rows, index]
    drop = np.where(index > 0, high - low, 1.0)
    share = np.where(index > 0, (high - level[:, 0]) / np.where(drop > 0, drop, 1.0), 1.0)
    crossed = steps[before] + np.clip(share, 0, 1) * (steps[index] - steps[before])
    return np.where(below.any(axis=1), crossed, np.nan)
