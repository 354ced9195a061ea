"""Figures of a comparison and of outer trajectories."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.figures.limits import bars, choose_colours, finite_limits, label_log_axis
from metalearn.figures.style import OKABE_ITO, save_style
from metalearn.landscape import Plane
from metalearn.outer.comparison.report import Comparison

MARKERS = "osD^vP*Xhp<>"
LEGEND_COLUMNS = 8


def draw_comparison(comparison: Comparison, title: str = "") -> Any:
    """Draw bias against standard deviation, length, cosine, and signal-to-noise ratio per cost.

    Each estimator has one colour. A value of zero or infinity is outside of a logarithmic axis; it is drawn with an
    open marker at the edge of the axis.

    Args:
      comparison: the result of `ml.compare`.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(17, 5))
        plane, length, cosine, cost = figure.subplots(1, 4, width_ratios=(1.2, 0.6, 0.8, 1.0))
        names = [report.name for report in comparison.reports]
        colours = _colours(names)
        _bias_against_deviation(plane, comparison, colours)
        _lengths(length, comparison, colours)
        _cosines(cosine, comparison, colours)
        _signal_to_noise(cost, comparison, colours)
        for axes in (length, cosine, cost):
            axes.set_yticks(range(len(names)), names if axes is length else [""] * len(names))
            axes.set_ylim(-0.6, max(len(names), 1) - 0.4)
            axes.invert_yaxis()
        (marks, labels), (kinds, words) = (axes.get_legend_handles_labels() for axes in (plane, cost))
        figure.legend(marks + kinds, labels + words, loc="outside lower center", ncols=LEGEND_COLUMNS, fontsize=9)
        if title:
            figure.suptitle(title)
        return figure


def draw_trajectories(
    values: np.ndarray,
    plane: Plane,
    trajectories: Mapping[str, np.ndarray],
    *,
    value_name: str,
    title: str = "",
    log_values: bool = True,
) -> Any:
    """Draw outer trajectories over a landscape: squares mark starts, dots mark ends.

    Args:
      values: the landscape, `[height, width]`, row = y ascending; values that are not finite are pink.
      plane: the plane of the landscape.
      trajectories: name -> coordinates `[num_starts, num_points, 2]`.
      value_name: the label of the colour bar.
      title: the figure's title.
      log_values: use a logarithmic colour scale, if all finite values are positive.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    count = max(len(trajectories), 1)
    rows = -(-count // 4)
    columns = -(-count // rows)
    colours = choose_colours(values, logarithmic=log_values, missing="pink")
    lines = _colours(list(trajectories))
    with save_style():
        figure = Figure(figsize=(3.6 * columns + 1.2, 3.5 * rows + 0.6))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[:count]:
            _landscape(axes, colours, plane)
        notes = dict.fromkeys(
            note
            for axes, (name, paths) in zip(grid.flat, trajectories.items())
            for note in _trajectories(axes, name, paths, lines[name], plane)
        )
        for axes in grid.flat[count:]:
            axes.axis("off")
        for axes in grid[-1]:
            axes.set_xlabel(plane.x.name)
        for axes in grid[:, 0]:
            axes.set_ylabel(plane.y.name)
        label = "\n".join(filter(None, (value_name, colours.note)))
        figure.colorbar(grid[0, 0].images[0], ax=grid, label=label, shrink=0.85, extend=colours.extend)
        title = title or "Outer trajectories: squares start, dots end"
        figure.suptitle("\n".join(filter(None, (title, "; ".join(notes)))))
        return figure


def _landscape(axes, colours, plane):
    extent = (plane.x.low, plane.x.high, plane.y.low, plane.y.high)
    axes.set_facecolor("pink")
    axes.grid(False)
    axes.imshow(colours.values, origin="lower", extent=extent, aspect="auto", cmap="Greys", norm=colours.norm)
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])


def _trajectories(axes, name, paths, colour, plane):
    """Draw the trajectories of one method, and yield explanations of unusual ends."""
    low, high = np.array([(axis.low, axis.high) for axis in (plane.x, plane.y)]).T
    axes.set_title(name)
    for path in np.asarray(paths, float):
        known = path[np.all(np.isfinite(path), axis=1)]
        if len(known) < len(path):
            yield "crosses: not finite beyond"
        if not len(known):
            continue
        inside = bool(np.all((known[-1] >= low) & (known[-1] <= high)))
        if not inside:
            yield "open: outside"
        path = np.clip(known, low, high)
        axes.plot(*path.T, color="white", linewidth=2.6, zorder=2)
        axes.plot(*path.T, color=colour, linewidth=1.3, zorder=3)
        axes.plot(*path[0], marker="s", color=colour, markeredgecolor="white", markersize=7, zorder=4, clip_on=False)
        end = {"marker": "o" if len(known) == len(paths[0]) else "X", "markerfacecolor": colour if inside else "white"}
        axes.plot(*path[-1], **end, markeredgecolor="black", markersize=8, zorder=5, clip_on=False)


def _colours(names):
    return {name: OKABE_ITO[index % len(OKABE_ITO)] for index, name in enumerate(names)}


def _bias_against_deviation(axes, comparison, colours):
    lengths = [_norm(report.target) for report in comparison.reports]
    deviations = [np.sqrt(max(r.variance.value, 0)) / np.float64(one) for r, one in zip(comparison.reports, lengths)]
    biases, errors = (np.array([getattr(r.bias, part) for r in comparison.reports]) for part in ("value", "error"))
    x, y = _on_log_axis(axes, "x", deviations), _on_log_axis(axes, "y", biases)
    span = bars(biases, errors, *axes.get_ylim())
    for index, report in enumerate(comparison.reports):
        colour, marker = colours[report.name], MARKERS[index % len(MARKERS)]
        inside = x[index] == deviations[index] and y[index] == biases[index]
        style = {"color": colour, "markerfacecolor": colour if inside else "white", "markersize": 9, "marker": marker}
        unknown = "" if np.isfinite([x[index], y[index]]).all() else ": unknown"
        axes.errorbar(
            x[index], y[index], yerr=span[:, [index]], linestyle="none", capsize=3, label=report.name + unknown, **style
        )
    axes.set_xlabel("standard deviation of an episode's estimate / |target|")
    axes.set_ylabel("bias / |target|, with its error")
    axes.set_title("Bias and noise (open: off the scale)")


def _norm(vector) -> float:
    """Return the length of a vector, without overflow of the squares."""
    vector = np.ravel(np.asarray(vector, float))
    largest = np.max(np.abs(vector), initial=0)
    return float(largest) * float(np.linalg.norm(vector / largest)) if 0 < largest < np.inf else float(largest)


def _on_log_axis(axes, which, values):
    """Set a logarithmic axis for the values, and return them clipped to its edges."""
    known = np.array([value for value in values if np.isfinite(value) and value > 0])
    low, high = finite_limits(known, logarithmic=True)
    low = max(low, high * 1e-4)
    low, high = low / 2.4, high * 2.4
    axes.set(**{f"{which}scale": "log", f"{which}lim": (low, high)})
    label_log_axis(getattr(axes, f"{which}axis"), low, high)
    low, high = low * 2.4, high / 2.4
    return np.clip(np.asarray(values, float), low / 1.6, high * 1.6)


def _lengths(axes, comparison, colours):
    lengths, errors = ([_norm(getattr(r, part)) for r in comparison.reports] for part in ("mean", "mean_error"))
    places = _on_log_axis(axes, "x", lengths)
    span = bars(lengths, errors, *axes.get_xlim())
    for row, report in enumerate(comparison.reports):
        _dot(axes, row, places[row], lengths[row], span[:, [row]], "o", colours[report.name])
    axes.set(xlabel="|mean estimate|", title="Length")


def _dot(axes, height, place, value, span, marker, colour):
    """Draw a value with its error bar; the marker is open if the value is off the scale."""
    if np.isnan(value):
        axes.text(axes.get_xlim()[0], height, " unknown", va="center", fontsize=8)
        return
    face = colour if place == value else "white"
    style = {"marker": marker, "color": colour, "markerfacecolor": face, "markersize": 8, "capsize": 3}
    axes.errorbar(place, height, xerr=span, **style)


def _cosines(axes, comparison, colours):
    axes.set(xlim=(-1.08, 1.08))
    for row, report in enumerate(comparison.reports):
        value, error = report.cosine.value, report.cosine.error
        if np.isfinite(value):
            axes.barh(row, np.clip(value, -1, 1), color=colours[report.name], height=0.6)
            axes.errorbar(np.clip(value, -1, 1), row, xerr=bars(value, error, -1.08, 1.08), color="black", capsize=3)
        else:
            axes.text(0, row, " unknown", va="center")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("cosine of the mean\nwith its target")
    axes.set_title("Direction")


def _signal_to_noise(axes, comparison, colours):
    series = [
        ("signal_to_noise_per_step", "o", "per 10⁶ inner steps", -0.14),
        ("signal_to_noise_per_second", "^", "per second", 0.14),
    ]
    reports = comparison.reports
    found = [getattr(report, field) for field, *_ in series for report in reports]
    places = _on_log_axis(axes, "x", [one.value for one in found])
    spans = bars([one.value for one in found], [one.error for one in found], *axes.get_xlim())
    for group, (_, marker, label, offset) in enumerate(series):
        for row, report in enumerate(reports):
            index = group * len(reports) + row
            dot = places[index], found[index].value, spans[:, [index]]
            _dot(axes, row + offset, *dot, marker, colours[report.name])
        axes.plot([], [], marker=marker, color="grey", linestyle="none", label=label)
    axes.set_xlabel("signal to noise, |mean|² / variance")
    axes.set_title("Signal to noise for its cost (open: off the scale)")
