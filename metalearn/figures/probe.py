"""Figures of the losses of a learned optimiser on trainings that differ from meta-training."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.figures.limits import axis_limits, label_log_axis, mark_beyond
from metalearn.figures.style import OKABE_ITO, save_style

COLOURS = {"learned": OKABE_ITO[0], "Adam, swept": OKABE_ITO[1], "Adam, as tuned": OKABE_ITO[3]}
LINES = "-", "--"
PARTS = "training", "validation"
PER_ROW = 3  # panels


def draw_probe(found: Mapping[str, Mapping[str, np.ndarray]]) -> Any:
    """Draw the training and the validation loss of a learned optimiser and of two Adams, a panel for every condition.

    Thick lines are means, thin lines are meta-seeds of the learned optimiser.

    Args:
      found: condition -> "step" `[readings]`, "learned" `[meta-seeds, seeds, 2, readings]`, and "Adam, swept" and
        "Adam, as tuned" `[seeds, 2, readings]`.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        lines, columns = -(-len(found) // PER_ROW), min(len(found), PER_ROW)
        figure = Figure(figsize=(max(3.2 * columns, 6.4), 2.8 * lines + 0.9))
        panels = figure.subplots(lines, columns, sharey=True, squeeze=False)
        curves = {name: _means(one) for name, one in found.items()}
        every = [np.ravel(mean) for one in curves.values() for _, mean in one.values()]
        low, high = axis_limits(np.concatenate(every), logarithmic=True)
        for axes, (name, one) in zip(panels.flat, found.items()):
            axes.set(yscale="log", ylim=(low, high), title=name, xlabel="inner steps")
            label_log_axis(axes.yaxis, low, high)
            for (optimizer, place), (each, mean) in curves[name].items():
                style = {"color": COLOURS[optimizer], "linestyle": LINES[place]}
                axes.plot(one["step"], np.clip(each, low, high).T, linewidth=0.6, alpha=0.4, **style)
                label = f"{optimizer}, {PARTS[place]}"
                axes.plot(one["step"], np.clip(mean, low, high), linewidth=1.9, label=label, **style)
            mark_beyond(axes, [(one["step"], mean, "grey") for _, mean in curves[name].values()])
        for axes in panels.flat[len(found) :]:
            axes.set_axis_off()
        for axes in panels[:, 0]:
            axes.set_ylabel("cross-entropy")
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        return figure


def _means(one):
    """Return (optimiser, part) -> the curves of meta-seeds, or the mean curve of Adam, and the mean."""
    with np.errstate(over="ignore", invalid="ignore"):
        seeds = {
            name: np.asarray(one[name], float).mean(axis=1 if name == "learned" else 0, keepdims=name != "learned")
            for name in COLOURS
        }
        return {
            (name, place): (curves[:, place], curves[:, place].mean(axis=0))
            for name, curves in seeds.items()
            for place in (0, 1)
        }
