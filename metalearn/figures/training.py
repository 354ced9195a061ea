"""Figures of meta-training: the held-out loss along the outer steps, learning curves, and the matrix of ratios."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.figures.limits import axis_limits, mark_beyond
from metalearn.figures.style import NOT_FINITE, OKABE_ITO, legend, save_style
from metalearn.inner.checks import check_choice
from metalearn.outer.evaluation.results import Evaluation

STYLES = ("-", "--", ":", "-.")
GREYS = ("0.25", "0.45", "0.6")


def draw_descents(
    evaluations: Mapping[str, Mapping[str, Any]],
    *,
    title: str = "",
    loss_name: str = "mean validation loss of fresh trainings",
) -> Any:
    """Draw the evaluations of meta-trainings against the inner steps; a ring marks the smallest evaluation.

    Args:
      evaluations: name -> `history.evaluations`.
      title: the figure's title.
      loss_name: the name of the reading; its axis is logarithmic if all losses are positive.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(7, 4.4))
        axes = figure.subplots()
        read = lambda name: [np.asarray(seen[name], float) for seen in evaluations.values()]
        losses, places = read("loss"), [steps / 1e3 for steps in read("inner_steps")]
        values = np.concatenate([*losses, []])
        positive = bool(np.all((values > 0) | ~np.isfinite(values)))
        limits = axis_limits(values, logarithmic=positive)
        axes.set(yscale="log" if positive else "linear", ylim=limits, xlim=axis_limits(np.concatenate([*places, []])))
        styles: list[dict[str, Any]] = [
            {"color": OKABE_ITO[i % 8], "linestyle": STYLES[i // 8 % 4]} for i in range(len(losses))
        ]
        for name, steps, loss, style in zip(evaluations, places, losses, styles):
            axes.plot(steps, np.clip(loss, *limits), label=name, **style)
            best = np.isfinite(loss) & (loss == np.min(loss, initial=np.inf, where=~np.isnan(loss)))
            axes.plot(steps[best], loss[best], "o", color=style["color"], markerfacecolor="none", markersize=8)
        mark_beyond(axes, [(steps, loss, style["color"]) for steps, loss, style in zip(places, losses, styles)])
        axes.set(xlabel="inner steps (thousands)", ylabel=loss_name, title=title)
        if positive:
            plain_numbers(axes)
        legend(axes, title="a ring marks the smallest")
        return figure


def draw_learning_curves(found: Evaluation, benchmark: str, *, title: str = "") -> Any:
    """Draw the validation loss against the inner step on one benchmark: the mean over seeds, and two standard errors.

    Curves are averaged over fiftieths of the run. The three best swept baselines are drawn in grey. Bands are left out
    if there are more than six curves.

    Args:
      found: the result of `ml.evaluate`.
      benchmark: the name of the benchmark.
      title: the figure's title.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: the evaluation does not contain the benchmark.
    """
    from matplotlib.figure import Figure

    check_choice("benchmark", benchmark, dict.fromkeys(row.benchmark for row in found.results))
    rows = [row for row in found.results if row.benchmark == benchmark]
    swept = sorted((row for row in rows if np.isfinite(row.learning_rate)), key=lambda row: row.mean_loss.value)[:3]
    judged = [row for row in rows if not np.isfinite(row.learning_rate)]
    banded = len(judged + swept) <= 6
    styles = [(OKABE_ITO[index % 8], "-") for index in range(len(judged))] + list(zip(GREYS, STYLES[1:]))
    with save_style():
        figure = Figure(figsize=(9, 4.8))
        axes = figure.subplots()
        curves = [_averaged(row.curves.validation) for row in judged + swept]
        limits = axis_limits(np.concatenate([one.mean(axis=0) for one in curves]), logarithmic=True)
        axes.set(yscale="log", ylim=limits)
        for row, seen, (colour, style) in zip(judged + swept, curves, styles):
            steps, mean = _averaged(row.curves.steps[None])[0], seen.mean(axis=0)
            error = seen.std(axis=0, ddof=1) / np.sqrt(len(seen)) if len(seen) > 1 else 0 * mean
            line = np.clip(mean, *limits)
            axes.plot(steps, line, style, color=colour, label=f"{row.optimizer}: {row.mean_loss}")
            mark_beyond(axes, [(steps, mean, colour)], f"{row.optimizer}: ")
            if banded:
                factor = np.exp(
                    2 * error / mean
                )  # two standard errors of the logarithm, because the axis is logarithmic
                band = np.clip(line / factor, *limits), np.clip(line * factor, *limits)
                axes.fill_between(steps, *band, color=colour, alpha=0.2, linewidth=0)
        axes.set(xlabel="inner step", ylabel="validation loss (cross-entropy)", title=title or benchmark)
        plain_numbers(axes)
        axes.legend(
            title="mean along the run ± standard error" + ";\nbands: two standard errors" * banded,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )
        return figure


def draw_matrix(found: Evaluation, *, title: str = "") -> Any:
    """Draw `found.ratios()` as a matrix: blue is better than the best swept baseline, red is worse.

    The colours range from one half to two.

    Args:
      found: the result of `ml.evaluate`.
      title: the figure's title.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: as in `Evaluation.ratios`.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    with save_style():
        ratios = found.ratios()
        measured = [list(row.values()) for row in ratios.values()]
        values = np.array([[one.value for one in row] for row in measured])
        judged = list(next(iter(ratios.values())))
        figure = Figure(figsize=(3.6 + 1.3 * len(judged), 1.6 + 0.42 * len(ratios)))
        axes = figure.subplots()
        known = np.isfinite(values)
        shown = np.where(known, np.clip(values, 0.25, 4), np.nan)  # a ratio of zero has no logarithm
        axes.set_facecolor(NOT_FINITE)
        image = axes.imshow(shown, norm=LogNorm(0.5, 2), cmap="RdBu_r", origin="upper", aspect="auto")
        for (row, column), ratio in np.ndenumerate(values):
            colour = "white" if known[row, column] and abs(np.log2(shown[row, column])) > 0.6 else "black"
            text = (
                str(measured[row][column]) if abs(ratio) > 999 else f"{ratio:.2f} ± {measured[row][column].error:.2f}"
            )
            axes.text(column, row, text if known[row, column] else "unknown", ha="center", va="center", color=colour)
        names = [f"{name}\n{best.optimizer}: {best.mean_loss.value:.3g}" for name, best in found.best_swept().items()]
        axes.set_xticks(range(len(judged)), judged)
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.grid(False)
        axes.set_title(title or "Mean validation loss over that of the best swept baseline")
        ticks = [0.5, 0.7, 1, 1.4, 2]
        bar = figure.colorbar(
            image, ax=axes, ticks=ticks, extend="both", label="ratio" + ("" if known.all() else " (grey: unknown)")
        )
        bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks])
        bar.ax.minorticks_off()
        return figure


def plain_numbers(axes) -> None:
    """Label a logarithmic axis with 0.1, 0.2, 0.5, 1 instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _averaged(values):
    """Average over fiftieths of the run, `[num_seeds, ≤ 50]`."""
    return np.stack([part.mean(axis=1) for part in np.array_split(values, min(50, values.shape[1]), axis=1)], axis=1)
