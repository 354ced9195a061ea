"""The outer step at which a watched goal is best, with its error over seeds. Beyond it the proxy is over-optimised."""

from typing import Any, NamedTuple

import numpy as np

from metalearn.brief import brief_help
from metalearn.intervals import error_of_mean
from metalearn.outer.comparison.report import Measurement


@brief_help
class TurningPoint(NamedTuple):
    """The turning point of a goal, mean and standard error over seeds.

    Attributes:
      step: the outer step of the smallest reading of each seed. The error is at least that of rounding to the steps of
        the readings.
      start, best, end: the first reading of the goal, the smallest, and the last. The smallest is too small on average,
        because it is a minimum.
      worse: the last reading minus the first, for each seed; positive if the goal is worse at the end.
      fraction_turned: the fraction of seeds whose smallest reading is neither the first nor the last.
    """

    step: Measurement
    start: Measurement
    best: Measurement
    end: Measurement
    worse: Measurement
    fraction_turned: float

    def __str__(self) -> str:
        return (
            f"best at outer step {self.step}: {self.start} at the start, {self.best} at this step, {self.end} at "
            f"the end, which "
            f"is {self.worse} worse than the start; turned in {self.fraction_turned:.0%} of the seeds"
        )


def turning_point(steps: Any, goal: Any) -> TurningPoint:
    """Return the outer step at which a goal is smallest.

    Args:
      steps: outer steps of the readings, `[num_readings]`, such as `history.evaluations["step"]`.
      goal: the readings of every seed, `[num_seeds, num_readings]`, such as those of `history.watched[name]`. Readings
        that are not finite are ignored.

    Raises:
      ValueError: the shapes do not fit, there are fewer than two readings, the steps do not increase, or a seed has no
        finite reading.
    """
    steps, goal = np.asarray(steps, float), np.asarray(goal, float)
    if steps.ndim != 1 or goal.ndim != 2 or goal.shape[1] != len(steps) or len(steps) < 2 or not len(goal):
        raise ValueError(
            "turning_point takes steps [num_readings] and the goal [num_seeds, num_readings], two readings or more; the "
            f"shapes {steps.shape} and {goal.shape} were given."
        )
    if not np.all(np.diff(steps) > 0):
        raise ValueError("The steps of the readings must increase.")
    finite = np.isfinite(goal)
    if not finite.any(axis=1).all():
        raise ValueError(f"Seed {int(np.argmin(finite.any(axis=1)))} has no finite reading of the goal; leave it out.")
    places = np.argmin(np.where(finite, goal, np.inf), axis=1)
    spacing = np.mean(np.gradient(steps)[places])
    step = Measurement(
        float(np.mean(steps[places])), float(np.maximum(error_of_mean(steps[places]), spacing / 12**0.5))
    )
    mean = lambda values: Measurement(float(np.mean(values)), error_of_mean(values))
    smallest = goal[np.arange(len(goal)), places]
    turned = float(np.mean((places > 0) & (places < len(steps) - 1)))
    return TurningPoint(
        step, mean(goal[:, 0]), mean(smallest), mean(goal[:, -1]), mean(goal[:, -1] - goal[:, 0]), turned
    )
