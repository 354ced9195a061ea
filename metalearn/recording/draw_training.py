"""The figures of meta-training: held-out loss along the outer steps, and learning curves of what came of it."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.inner.checks import check_choice
from metalearn.outer import Evaluation
from metalearn.recording.figures import OKABE_ITO, save_style

STYLES = ("-", "--", ":", "-.")
GREYS = ("0.25", "0.45", "0.6")


def draw_descents(evaluations: Mapping[str, Mapping[str, Any]], *, title: str = "") -> Any:
    """The evaluations of meta-trainings against the inner steps they cost; a ring marks the smallest of them.

    Args:
      evaluations: name -> `history.evaluations`.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(7, 4.4))
        axes = figure.subplots()
        for index, (name, seen) in enumerate(evaluations.items()):
            losses, places = np.asarray(seen["loss"]), np.asarray(seen["inner_steps"]) / 1e3
            style: dict[str, Any] = {"color": OKABE_ITO[index % 8], "linestyle": STYLES[index // 8 % 4]}
            axes.plot(places, losses, label=name, **style)
            best = losses == np.nanmin(losses, initial=np.inf)
            axes.plot(places[best], losses[best], "o", color=style["color"], markerfacecolor="none", markersize=8)
        axes.set(
            xlabel="inner steps (thousands)",
            ylabel="mean validation loss of fresh trainings",
            yscale="log",
            title=title,
        )
        _plain_numbers(axes)
        axes.legend(title="a ring marks the smallest")
        return figure


def draw_learning_curves(found: Evaluation, benchmark: str, *, title: str = "") -> Any:
    """Validation loss against the inner step on one benchmark: mean over seeds, band of two standard errors.

    Curves are averaged over fiftieths of the run. Of the swept baselines the three best are shown, grey and broken. Bands
    are left out where there are more than six curves.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: the evaluation has no such benchmark.
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
        for row, (colour, style) in zip(judged + swept, styles):
            curves, steps = _averaged(row.curves.validation), _averaged(row.curves.steps[None])[0]
            mean = curves.mean(axis=0)
            error = curves.std(axis=0, ddof=1) / np.sqrt(len(curves)) if len(curves) > 1 else 0 * mean
            axes.plot(steps, mean, style, color=colour, label=f"{row.optimizer}: {row.mean_loss}")
            if banded:
                factor = np.exp(2 * error / mean)  # two standard errors of the logarithm, which is what the axis shows
                axes.fill_between(steps, mean / factor, mean * factor, color=colour, alpha=0.2, linewidth=0)
        axes.set(xlabel="inner step", ylabel="validation loss (cross-entropy)", yscale="log", title=title or benchmark)
        _plain_numbers(axes)
        axes.legend(
            title="mean along the run ± standard error" + ";\nbands: two standard errors" * banded,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )
        return figure


def draw_matrix(found: Evaluation, *, title: str = "") -> Any:
    """`found.ratios()` as a matrix of generalisation: blue is better than the best swept baseline, red worse, from a half to the
    double.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: as `Evaluation.ratios`.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    ratios = found.ratios()
    measured = [list(row.values()) for row in ratios.values()]
    values = np.array([[one.value for one in row] for row in measured])
    judged = list(next(iter(ratios.values())))
    with save_style():
        figure = Figure(figsize=(3.6 + 1.3 * len(judged), 1.6 + 0.42 * len(ratios)))
        axes = figure.subplots()
        image = axes.imshow(values, norm=LogNorm(0.5, 2), cmap="RdBu_r", origin="upper", aspect="auto")
        for (row, column), ratio in np.ndenumerate(values):
            colour = "white" if abs(np.log2(ratio)) > 0.6 else "black"
            text = f"{ratio:.2f} ± {measured[row][column].error:.2f}"
            axes.text(column, row, text, ha="center", va="center", color=colour)
        names = [f"{name}\n{best.optimizer}: {best.mean_loss.value:.3g}" for name, best in found.best_swept().items()]
        axes.set_xticks(range(len(judged)), judged)
        axes.set_yticks(range(len(names)), names, fontsize=9)
        axes.grid(False)
        axes.set_title(title or "Mean validation loss over that of the best swept baseline")
        ticks = [0.5, 0.7, 1, 1.4, 2]
        bar = figure.colorbar(image, ax=axes, ticks=ticks, extend="both", label="ratio")
        bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks])
        bar.ax.minorticks_off()
        return figure


def _plain_numbers(axes) -> None:
    """0.1, 0.2, 0.5, 1 on a logarithmic axis, in place of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _averaged(values):
    """Means over fiftieths of the run, `[num_seeds, ≤ 50]`."""
    return np.stack([part.mean(axis=1) for part in np.array_split(values, min(50, values.shape[1]), axis=1)], axis=1)
