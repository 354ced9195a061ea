"""The figure of a proxy and a goal along the outer steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.figures.curves import Curve, draw_curves, draw_level
from metalearn.figures.style import OKABE_ITO, legend, save_style
from metalearn.inner.checks import check_choice
from metalearn.intervals import error_of_mean
from metalearn.outer.turning_point import turning_point


def draw_turning_point(steps: Any, readings: Mapping[str, Any], goal: str, *, title: str = "") -> Any:
    """Draw a proxy and a goal against the outer steps: the mean over seeds, and two standard errors.

    Every reading has its own panel, because proxies and goals may have different units. A dashed line is the level at
    the start, and a vertical line the turning point of the goal with its standard error. Seeds without a finite reading
    of the goal have no turning point; the legend states how many these are.

    Args:
      steps: outer steps of the readings, `[num_readings]`.
      readings: name -> `[num_seeds, num_readings]`, such as the evaluation and the goals of `history.watched`.
      goal: the name of the goal.
      title: the figure's title.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: `goal` is not one of the names, or as in `turning_point`.
    """
    from matplotlib.figure import Figure

    check_choice("goal", goal, readings)
    with save_style():
        steps, goals = np.asarray(steps), np.asarray(readings[goal], float)
        known = np.isfinite(goals).any(axis=-1) if goals.ndim == 2 else np.True_  # the shape is refused below
        turn = turning_point(steps, goals[known]).step if known.any() else None
        unknown = f", {int(np.sum(~known))} seeds unknown" if not known.all() else ""
        label = f"{goal} is best at {turn or 'no step'}{unknown}"
        figure = Figure(figsize=(7, 1 + 2.4 * len(readings)))
        panels = figure.subplots(len(readings), 1, sharex=True, squeeze=False)[:, 0]
        for index, (axes, (name, values)) in enumerate(zip(panels, readings.items())):
            values, colour = np.asarray(values, float), OKABE_ITO[index % len(OKABE_ITO)]
            mean = values.mean(axis=0)
            error = np.array([error_of_mean(column) for column in values.T])
            style = {"color": colour, "label": "mean over seeds; band: two errors"}
            draw_curves(axes, [Curve(steps, mean, style, mean - 2 * error, mean + 2 * error)])
            axes.set_ylabel(name)
            draw_level(axes, mean[0], "at the start", color="0.4", linestyle="--", linewidth=1)
            if turn is None:
                axes.plot([], [], color="black", linestyle=":", label=label)
                continue
            axes.axvline(turn.value, color="black", linestyle=":", label=label)
            axes.axvspan(turn.value - turn.error, turn.value + turn.error, color="black", alpha=0.1, linewidth=0)
        panels[0].set_title(title)
        panels[-1].set_xlabel("outer step")
        legend(panels[0])
        return figure
