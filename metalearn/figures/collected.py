"""The figure of collected runs: a measured number against the settings that vary."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from metalearn.figures.limits import axis_limits, bars, label_log_axis, mark_beyond
from metalearn.figures.style import OKABE_ITO, save_style
from metalearn.inner.checks import check_choice
from metalearn.recording.collected import MEASURES, Collected

MARKERS = "osD^vP*Xhp<>"
MOST_TICKS = 8  # values that are named one by one on an axis
WIDE_RANGE = 30.0  # from this ratio of the largest to the smallest number on, an axis is logarithmic


def draw_collected(found: Collected, *, measure: str | None = None, title: str = "") -> Any:
    """Draw the median of a measure with its quartiles, and every run as a dot.

    The x axis is the numeric setting with the most values. Each combination of the other settings is a line. If no
    setting is numeric, each group is a row.

    Args:
      found: the runs.
      measure: one of `found.measures`; by default the first.
      title: the figure's title.

    Returns:
      A matplotlib figure.

    Raises:
      ValueError: the runs do not have this measure, or have no measures.
    """
    from matplotlib.figure import Figure

    known = found.measures
    if not known:
        raise ValueError(f"The runs of {found.experiment} have no measured number to draw.")
    measure = known[0] if measure is None else measure
    check_choice("measure", measure, known)
    groups = [group for group in found.groups if measure in group]
    along = _along(found, groups)
    names = [_name(group, [key for key in found.varied if key != along]) for group in groups]
    lines = list(dict.fromkeys(names))
    rows = len(groups) if along is None else 0
    with save_style():
        figure = Figure(figsize=(8.5, max(4.2, 1.4 + 0.32 * rows, 0.28 * len(lines) * (along is not None))))
        axes = figure.subplots()
        values = [float(row[measure]) for row in found.results if isinstance(row.get(measure), int | float)]
        logarithmic = _is_wide(values)
        limits = axis_limits(values, logarithmic=logarithmic)
        header, meaning = MEASURES[measure]
        label = f"{header}: median and quartiles of the runs"
        if along is None:
            _draw_rows(axes, found, groups, names, measure, limits, logarithmic)
            axes.set_xlabel(label)
        else:
            _draw_lines(axes, found, groups, names, lines, measure, along, limits, logarithmic)
            axes.set(xlabel=along, ylabel=label)
            if axes.get_legend_handles_labels()[0]:
                figure.legend(loc="outside right upper", fontsize=9)
        axes.set_title(title or f"{found.experiment}: {header}, {meaning}", fontsize=11, wrap=True)
        return figure


def _along(found: Collected, groups: Sequence[dict[str, Any]]) -> str | None:
    """Return the numeric setting with the most values; None if there is none with two."""
    counts = {}
    for key in found.varied:
        values = {group.get(key) for group in groups}
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            counts[key] = len(values)
    best = max(counts, key=lambda key: counts[key], default=None)
    return best if best is not None and counts[best] > 1 else None


def _name(group: dict[str, Any], keys: Sequence[str]) -> str:
    """Return the label of a line: texts of parts, and other settings with their names."""
    said = [f"{group[key]}" if isinstance(group.get(key), str) else f"{key}={group.get(key)}" for key in keys]
    return ", ".join(said)


def _is_wide(values: Sequence[float]) -> bool:
    known = [value for value in values if np.isfinite(value)]
    return bool(known) and min(known) > 0 and max(known) > WIDE_RANGE * min(known)


def _spread(group: dict[str, Any], measure: str, limits: tuple[float, float]) -> tuple[float, np.ndarray]:
    """Return the median within the limits, and the lengths down to the lower and up to the upper quartile."""
    middle = group[measure]
    low, high = (group.get(f"{measure}_{end}", middle) for end in ("low", "high"))
    down, up = (bars([middle], [abs(end - middle)], *limits) for end in (low, high))
    return float(np.clip(middle, *limits)), np.stack([down[0], up[1]])


def _members(found: Collected, group: dict[str, Any], measure: str) -> np.ndarray:
    """Return the measure of all results that a group summarises."""
    keys = [key for key in group if key in found.varied]
    same = [row for row in found.results if all(row.get(key) == group[key] for key in keys)]
    return np.array([row[measure] for row in same if isinstance(row.get(measure), int | float)], float)


def _draw_rows(axes, found, groups, names, measure, limits, logarithmic) -> None:
    axes.set(xlim=limits, xscale="log" if logarithmic else "linear", ylim=(len(groups) - 0.5, -0.5))
    axes.set_yticks(range(len(groups)), names)
    if logarithmic:
        label_log_axis(axes.xaxis, *limits)
    for height, group in enumerate(groups):
        colour = OKABE_ITO[height % len(OKABE_ITO)]
        each = _members(found, group, measure)
        axes.plot(np.clip(each, *limits), np.full(len(each), height), ".", color=colour, alpha=0.5, markersize=7)
        middle, span = _spread(group, measure, limits)
        axes.errorbar(middle, height, xerr=span, fmt="o", color=colour, capsize=3, markersize=8)
        if not np.isfinite(group[measure]):
            axes.text(limits[0], height, " unknown" if np.isnan(group[measure]) else " infinite", va="center")


def _draw_lines(axes, found, groups, names, lines, measure, along, limits, logarithmic) -> None:
    places = [group[along] for group in groups]
    wide = _is_wide(places)
    axes.set(xlim=axis_limits(places, logarithmic=wide), ylim=limits)
    axes.set(xscale="log" if wide else "linear", yscale="log" if logarithmic else "linear")
    if len(set(places)) <= MOST_TICKS:
        axes.set_xticks(sorted(set(places)), [f"{place:g}" for place in sorted(set(places))])
        axes.minorticks_off()
    elif wide:
        label_log_axis(axes.xaxis, *axes.get_xlim())
    if logarithmic:
        label_log_axis(axes.yaxis, *limits)
    beyond = []
    for index, line in enumerate(lines):
        own = sorted((group for group, name in zip(groups, names) if name == line), key=lambda group: group[along])
        x = [group[along] for group in own]
        colour, marker = OKABE_ITO[index % len(OKABE_ITO)], MARKERS[index % len(MARKERS)]
        spreads = [_spread(group, measure, limits) for group in own]
        span = np.concatenate([span for _, span in spreads], axis=1)
        style = {"fmt": f"{marker}-", "color": colour, "capsize": 3, "markersize": 6, "label": line or None}
        axes.errorbar(x, [middle for middle, _ in spreads], yerr=span, **style)
        for place, group in zip(x, own):
            each = _members(found, group, measure)
            axes.plot(np.full(len(each), place), np.clip(each, *limits), ".", color=colour, alpha=0.5, markersize=5)
        beyond.append((x, [group[measure] for group in own], colour))
    mark_beyond(axes, beyond)
