"""Figures of a proxy that is minimised and of the goal that is watched."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metalearn.figures.limits import FARTHEST, axis_limits, mark_beyond
from metalearn.figures.style import OKABE_ITO, legend, save_style

BLUE, ORANGE, GREEN, RED = OKABE_ITO[:4]
PER_ROW = 4  # panels
ROLES = "proxy", "goal"
SMALLEST, LOWEST = 1e-6, 1e-3  # an error that is zero in the figure, and the lower end of its axis


def draw_goals(
    found: Mapping[str, Mapping[str, np.ndarray]],
    *,
    proxy_name: str = "proxy",
    goal_name: str = "goal",
    title: str = "",
) -> Any:
    """Draw proxy and goal against the outer steps: seeds as thin lines, their mean as a thick one.

    The level of the goal at the start is a dashed line. The turning point of the mean is marked, and a bar shows one
    standard deviation of the turning points of the seeds.

    Args:
      found: case -> "step" `[readings]`, "proxy" and "goal" `[seeds, readings]`; a panel each.
      proxy_name, goal_name: the names of the observables.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(7.2, 4.4) if len(found) == 1 else (3.4 * len(found) + 0.6, 3.8))
        panels = np.ravel(figure.subplots(1, len(found), sharey=True))
        limits = axis_limits(np.concatenate([np.ravel(one[role]) for one in found.values() for role in ROLES]))
        for axes, (name, one) in zip(panels, found.items()):
            axes.set_ylim(min(limits[0], 0), limits[1])
            _curves(axes, one["step"], one["proxy"], BLUE, f"proxy: {proxy_name} (minimised)")
            _curves(axes, one["step"], one["goal"], RED, f"goal: {goal_name} (watched)")
            axes.axhline(
                np.clip(_mean(one["goal"])[0], *limits),
                color="0.3",
                linestyle="--",
                linewidth=1.2,
                label="goal at the start",
            )
            turned = _turning_point(axes, one)
            axes.set(
                xlabel="outer steps", title=f"{name}: {turned}" if len(found) > 1 else f"{title} {turned} steps".strip()
            )
        panels[0].set(ylabel="loss")
        if len(found) == 1:
            legend(panels[0])
        else:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        return figure


def draw_mitigations(
    found: Mapping[str, Mapping[str, np.ndarray]],
    rows: Sequence[Mapping[str, Any]],
    *,
    proxy_name: str = "proxy",
    goal_name: str = "goal",
) -> Any:
    """Draw the goal with each mitigation, over the goal without one in grey, and the fraction that it recovers.

    Args:
      found: case -> "step", "proxy", "goal" and "end/goal"; the first case has no mitigation.
      rows: the rows of `goal_rows`; their "recovered" is written into the panels.
      proxy_name, goal_name: the names of the observables.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    plain, *others = found.items()
    with save_style():
        count = max(len(others), 1)
        lines = -(-count // PER_ROW)
        figure = Figure(figsize=(max(3.1 * min(count, PER_ROW) + 0.6, 6.4), 2.7 * lines + 1.3))
        panels = figure.subplots(lines, min(count, PER_ROW), sharex=True, sharey=True, squeeze=False)
        low, high = axis_limits(np.concatenate([np.ravel(one[role]) for one in found.values() for role in ROLES]))
        for axes, (name, one), row in zip(panels.flat, others or [plain], rows[1:] or rows):
            axes.set_ylim(min(low, 0), high)
            axes.plot(
                plain[1]["step"], np.clip(_mean(plain[1]["goal"]), low, high), color="0.6", label="goal, no mitigation"
            )
            _curves(axes, one["step"], one["proxy"], BLUE, "proxy")
            _curves(axes, one["step"], one["goal"], RED, "goal")
            start = np.clip(_mean(plain[1]["goal"])[0], low, high)
            axes.axhline(start, color="0.3", linestyle="--", linewidth=1, label="goal at the start")
            axes.axhline(
                np.clip(row["end"], low, high),
                color=GREEN,
                linestyle=":",
                linewidth=1.6,
                label="goal of the θ returned",
            )
            axes.set(title=name.replace("_", " "))
            share = f"recovers {row['recovered']:.0%}" if np.isfinite(row["recovered"]) else ""
            axes.text(0.97, 0.96, share, transform=axes.transAxes, ha="right", va="top")
        for axes in panels.flat[max(count - PER_ROW, 0) : count]:  # the lowest panel of every column
            axes.tick_params(labelbottom=True)
        for axes in panels.flat[count:]:
            axes.set_axis_off()
        figure.supxlabel("outer steps", fontsize=11)
        figure.supylabel(f"{proxy_name}, {goal_name}", fontsize=11)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        return figure


def draw_features(found: Mapping[str, np.ndarray], *, num_points: int = 10) -> Any:
    """Draw the errors of least squares with random features against their number: median and quartiles over seeds.

    Args:
      found: "counts" `[counts]`, "training" and "test" `[seeds, counts]`.
      num_points: the number of points, where the test error is largest.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(7.2, 4.2))
        axes = figure.subplots()
        for role, colour, name in (("training", BLUE, "proxy: training error"), ("test", RED, "goal: test error")):
            errors = np.where(np.isfinite(found[role]), np.clip(found[role], SMALLEST, FARTHEST), FARTHEST)
            low, middle, high = np.quantile(errors, (0.25, 0.5, 0.75), axis=0, method="nearest")
            shown = middle > SMALLEST
            axes.fill_between(found["counts"], low, high, color=colour, alpha=0.2)
            axes.plot(np.asarray(found["counts"])[shown], middle[shown], "o-", color=colour, markersize=4, label=name)
        axes.axvline(num_points, color="0.3", linestyle="--", linewidth=1.2, label=f"{num_points} points")
        limits = axis_limits(np.quantile(found["test"], (0.25, 0.75), axis=0, method="nearest"), logarithmic=True)
        axes.set(xscale="log", yscale="log", xlabel="random features", ylabel="mean squared error")
        axes.set(ylim=(min(limits[0], LOWEST), max(limits[1], 2 * LOWEST)))
        axes.text(
            0.98, 0.03, "the training error is zero\nfrom the dashed line on", transform=axes.transAxes, ha="right"
        )
        legend(axes, title="median and quartiles over seeds")
        return figure


def _curves(axes, steps, values, colour, label):
    """Draw the curves of seeds and their mean within the limits, and mark what is beyond them."""
    limits, known = axes.get_ylim(), ~np.isnan(values)  # NaN: after an early stop
    axes.plot(steps, np.clip(values.T, *limits), color=colour, linewidth=0.7, alpha=0.35)
    axes.plot(steps, np.clip(_mean(values), *limits), color=colour, linewidth=2.2, label=label)
    places = np.broadcast_to(steps, values.shape)
    mark_beyond(axes, [(places[known], values[known], colour)], f"{label} ")


def _bounded(values):
    """Return values whose sums and differences are finite, NaN where they are not finite."""
    return np.clip(np.where(np.isfinite(values), values, np.nan), -FARTHEST, FARTHEST)


def _mean(values):
    """Return the mean over the seeds that have not stopped."""
    values = _bounded(values)
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    return np.where(known.any(axis=0), np.sum(np.where(known, values, 0) / count, axis=0), np.nan)


def _turning_point(axes, one):
    """Mark where the mean goal is smallest, with the standard deviation over seeds of the turning points."""
    goal, steps = _bounded(one["goal"]), np.asarray(one["step"], float)
    goal = goal[np.isfinite(goal).any(axis=1)]
    if not len(goal):
        return "no turning point"
    turns = steps[np.nanargmin(goal, axis=1)]
    spread = float(turns.std(ddof=1)) if len(turns) > 1 else 0.0
    turned = f"turns at {turns.mean():.0f} ± {spread:.0f}"
    height = np.clip(np.nanmin(_mean(goal)), *axes.get_ylim())
    axes.errorbar(
        turns.mean(),
        height,
        xerr=spread,
        fmt="o",
        color="black",
        capsize=4,
        zorder=5,
        label="turning point ± standard deviation",
    )
    return turned
