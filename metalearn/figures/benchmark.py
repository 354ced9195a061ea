"""The figure of all estimators on several problems: the bias, and the signal-to-noise ratio per cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metalearn.figures.limits import LARGE, axis_limits, bars, label_log_axis
from metalearn.figures.style import OKABE_ITO, save_style

WIDEST = 8  # decades of an axis of signal to noise
SMALLEST = 1e-3  # a bias that rounding explains


def draw_benchmark(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Draw a column for each problem: above the bias of each estimator, below its signal-to-noise ratios.

    A value beyond an axis, such as a bias of zero, is drawn with an open marker at its edge. An estimator without a
    marker was left out, or the number does not apply to it; "?" is a bias that is not known, or with an error above 1.

    Args:
      rows: dictionaries with `problem`, `estimator`, `bias`, `bias_error`, `snr_per_step`, `snr_per_second`, `reason`,
        and `scaled` where a bias does not apply.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(row["problem"] for row in rows))
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    with save_style():
        figure = Figure(figsize=(2.6 * max(len(problems), 1) + 2.6, 0.56 * len(names) + 2.8))
        panels = figure.subplots(2, max(len(problems), 1), squeeze=False, sharey=True)
        for column, problem in zip(panels.T, problems):
            chosen = [row for row in rows if row["problem"] == problem]
            places = np.array([names.index(row["estimator"]) for row in chosen])
            _biases(column[0], chosen, places)
            _ratios(column[1], chosen, places)
            column[0].set_title(problem)
        for axes in panels[:, 0]:
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.4, -0.6)
        marks, labels = panels[1, 0].get_legend_handles_labels()
        figure.legend(marks, labels, loc="outside lower center", ncols=2)
        return figure


def _biases(axes, rows, places) -> None:
    values, errors = (np.array([row[key] for row in rows], float) for key in ("bias", "bias_error"))
    values = np.where(errors > 1, np.nan, values)
    low, high = SMALLEST, min(max(2.0, axis_limits(values, logarithmic=True)[1]), LARGE)
    _dots(axes, places, values, OKABE_ITO[0], "o", "bias", errors, (low, high))
    for place, row, value in zip(places, rows, values):
        if not row["reason"] and not row["scaled"] and np.isnan(value):
            axes.text(low, place, " ?", va="center", color="0.4")
    axes.axvline(1, color="0.4", linestyle="--", linewidth=1)
    axes.set_xlabel("bias / |target|")


def _ratios(axes, rows, places) -> None:
    step, second = (np.array([row[key] for row in rows], float) for key in ("snr_per_step", "snr_per_second"))
    limits = _limits(np.concatenate([step, second]))
    axes.set_xlim(limits)
    _dots(axes, places - 0.15, step, OKABE_ITO[1], "s", "per 10⁶ inner steps", limits=limits)
    _dots(axes, places + 0.15, second, OKABE_ITO[2], "^", "per second", limits=limits)
    axes.set_xlabel("signal to noise")


def _limits(values) -> tuple[float, float]:
    low, high = (float(np.clip(end, 1 / LARGE, LARGE)) for end in axis_limits(values, logarithmic=True))
    return min(max(low, high / 10**WIDEST), high / 10), high


def _dots(axes, places, values, colour, marker, label, errors=None, limits=(1, 10)) -> None:
    low, high = limits
    axes.set(xscale="log", xlim=(low, high))
    label_log_axis(axes.xaxis, low, high)
    known = ~np.isnan(values)
    inside = known & (values >= low) & (values <= high)
    span = None if errors is None else bars(values[inside], errors[inside], low, high)
    how = {"color": colour, "linestyle": "none", "marker": marker, "markersize": 5}
    axes.errorbar(values[inside], places[inside], xerr=span, label=label, **how)
    beyond = known & ~inside
    if errors is not None:  # from the edge to the end of the error of a bias of zero
        ends = np.clip(values + np.nan_to_num(errors), low, high)
        small = known & (values < low) & (ends > low)
        axes.hlines(places[small], low, ends[small], color=colour)
    if beyond.any():  # an empty line that is not clipped would count in the layout
        axes.plot(np.clip(values[beyond], low, high), places[beyond], markerfacecolor="white", clip_on=False, **how)
