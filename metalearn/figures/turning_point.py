"""The figure of a proxy and a goal along the outer steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.figures.limits import axis_limits, mark_beyond
from metalearn.figures.style import OKABE_ITO, legend, save_style
from metalearn.inner.checks import check_choice
from metalearn.intervals import error_of_mean
from metalearn.outer.turning_point import turning_point


def draw_turning_point(steps: Any, readings: Mapping[str, Any], goal: str, *, title: str = "") -> Any:
    """Draw a proxy and a goal against the outer steps: the mean over seeds, and two standard errors.

    Every reading has its own panel, because proxies and goals may have different units. A dashed line is the level at
    the start, and a vertical line the turning point of the goal with its standard error.

    Args:
      steps: outer steps of the readings, `[num_readings]`.
      readings: name -> `[num_seeds, num_readings]`, such as the evaluation and the goals of `history.watched`.
      goal: the name of the goal.
      title: the figure's title.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: `goal` is none of the names, or as in `turning_point`.
    """
    from matplotlib.figure import Figure

    check_choice("goal", goal, readings)
    steps, turn = np.asarray(steps), turning_point(steps, readings[goal]).step
    with save_style():
        figure = Figure(figsize=(7, 1 + 2.4 * len(readings)))
        panels = figure.subplots(len(readings), 1, sharex=True, squeeze=False)[:, 0]
        for index, (axes, (name, values)) in enumerate(zip(panels, readings.items())):
            values, colour = np.asarray(values, float), OKABE_ITO[index % len(OKABE_ITO)]
            mean = values.mean(axis=0)
            error = np.array([error_of_mean(column) for column in values.T])
            limits = axis_limits(mean)
            axes.set(ylim=limits, ylabel=name, xlim=axis_limits(steps))
            axes.plot(steps, np.clip(mean, *limits), color=colour, label="mean over seeds; band: two errors")
            ends = (np.clip(mean + sign * 2 * np.nan_to_num(error), *limits) for sign in (-1, 1))
            axes.fill_between(steps, *ends, color=colour, alpha=0.2, linewidth=0)
            mark_beyond(axes, [(steps, mean, colour)])
            axes.axhline(mean[0], color="0.4", linestyle="--", linewidth=1, label="at the start")
            label = f"{goal} is best at {turn}"
            axes.axvline(turn.value, color="black", linestyle=":", label=label)
            axes.axvspan(turn.value - turn.error, turn.value + turn.error, color="black", alpha=0.1, linewidth=0)
        panels[0].set_title(title)
        panels[-1].set_xlabel("outer step")
        legend(panels[0])
        return figure
