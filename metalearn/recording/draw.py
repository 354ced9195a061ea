"""The figures of a comparison and of outer trajectories."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.landscape import Plane
from metalearn.outer import Comparison
from metalearn.recording.figures import OKABE_ITO, save_style

MARKERS = "osD^vP*Xhp<>"


def draw_comparison(comparison: Comparison, title: str = "") -> Any:
    """Bias against standard deviation, length, cosine, and signal to noise per cost, one colour per estimator.

    A value of zero or infinity lies outside a logarithmic axis: it is drawn with an open marker on the axis's edge.

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
            axes.set_ylim(-0.6, len(names) - 0.4)
            axes.invert_yaxis()
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
    """Outer trajectories over a landscape: squares where they start, dots where they end.

    Args:
      values: the landscape, `[height, width]`, row = y ascending.
      plane: its plane.
      trajectories: name -> coordinates `[num_starts, num_points, 2]`.
      value_name: what the colour bar shows.
      title: the figure's title.
      log_values: whether the colour is logarithmic.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure

    count = len(trajectories)
    rows = -(-count // 4)
    columns = -(-count // rows)
    with save_style():
        figure = Figure(figsize=(3.6 * columns + 1.2, 3.5 * rows + 0.6))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        shown = (LogNorm if log_values else Normalize)(vmin=float(np.nanmin(values)), vmax=float(np.nanmax(values)))
        colours = _colours(list(trajectories))
        for axes, (name, paths) in zip(grid.flat, trajectories.items()):
            _landscape(axes, values, plane, shown)
            _paths(axes, paths, colours[name])
            axes.set_title(name)
        for axes in grid.flat[count:]:
            axes.axis("off")
        for axes in grid[-1]:
            axes.set_xlabel(plane.x.name)
        for axes in grid[:, 0]:
            axes.set_ylabel(plane.y.name)
        figure.colorbar(grid[0, 0].images[0], ax=grid, label=value_name, shrink=0.85)
        figure.suptitle(title or "Outer trajectories: squares start, dots end")
        return figure


def _landscape(axes, values, plane, norm):
    extent = (plane.x.low, plane.x.high, plane.y.low, plane.y.high)
    axes.imshow(values, origin="lower", extent=extent, aspect="auto", cmap="Greys", norm=norm, interpolation="nearest")
    axes.set_xlim(extent[:2])
    axes.set_ylim(extent[2:])


def _paths(axes, paths, colour):
    for path in paths:
        axes.plot(*path.T, color="white", linewidth=2.6, zorder=2)
        axes.plot(*path.T, color=colour, linewidth=1.3, zorder=3)
        axes.plot(*path[0], marker="s", color=colour, markeredgecolor="white", markersize=7, zorder=4, clip_on=False)
        axes.plot(*path[-1], marker="o", color=colour, markeredgecolor="black", markersize=8, zorder=5, clip_on=False)


def _colours(names):
    return {name: OKABE_ITO[index % len(OKABE_ITO)] for index, name in enumerate(names)}


def _bias_against_deviation(axes, comparison, colours):
    points = {}
    for report in comparison.reports:
        length = float(np.linalg.norm(report.target))
        points[report.name] = (np.sqrt(max(report.variance.value, 0)) / length, report.bias.value, report.bias.error)
    (x_low, x_high), (y_low, y_high) = (_limits([p[i] for p in points.values()]) for i in (0, 1))
    for index, (name, (deviation, bias, error)) in enumerate(points.items()):
        x, y = np.clip(deviation, x_low, x_high), np.clip(bias, y_low, y_high)
        inside = x == deviation and y == bias
        style = {"color": colours[name], "markerfacecolor": colours[name] if inside else "white", "markersize": 9}
        span = None if not np.isfinite(error) else [[min(error, 0.999 * y)], [error]]
        axes.errorbar(
            x, y, yerr=span, marker=MARKERS[index % len(MARKERS)], linestyle="none", capsize=3, label=name, **style
        )
    axes.set(xscale="log", yscale="log", xlim=(x_low / 1.5, x_high * 1.5), ylim=(y_low / 1.5, y_high * 1.5))
    axes.set_xlabel("standard deviation of an episode's estimate / |target|")
    axes.set_ylabel("bias / |target|, bar: noise of the measurement")
    axes.set_title("Bias and noise (open: off the scale)")
    axes.legend(fontsize=9, loc="center left", framealpha=0.9)


def _limits(values):
    finite = [v for v in values if np.isfinite(v) and v > 0]
    low, high = (min(finite), max(finite)) if finite else (0.1, 10.0)
    return max(low, high * 1e-4) / 1.6, high * 1.6


def _lengths(axes, comparison, colours):
    for row, report in enumerate(comparison.reports):
        length, error = float(np.linalg.norm(report.mean)), float(np.linalg.norm(report.mean_error))
        if length > 0 and np.isfinite(length):
            span = [[min(error, 0.999 * length)], [error]]
            axes.errorbar(length, row, xerr=span, marker="o", color=colours[report.name], markersize=8, capsize=3)
    axes.set(xscale="log", xlabel="|mean estimate|", title="Length")
    axes.margins(x=0.15)


def _cosines(axes, comparison, colours):
    for row, report in enumerate(comparison.reports):
        value, error = report.cosine.value, report.cosine.error
        if np.isfinite(value):
            axes.barh(row, value, color=colours[report.name], height=0.6)
            axes.errorbar(value, row, xerr=error if np.isfinite(error) else None, color="black", capsize=3)
        else:
            axes.text(0, row, " unknown", va="center")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(xlim=(-1.08, 1.08))
    axes.set_xlabel("cosine of the mean\nwith its target")
    axes.set_title("Direction")


def _signal_to_noise(axes, comparison, colours):
    series = [
        ("signal_to_noise_per_step", "o", "per 10⁶ inner steps"),
        ("signal_to_noise_per_second", "^", "per second"),
    ]
    low, high = _limits([getattr(report, field).value for report in comparison.reports for field, _, _ in series])
    for field, marker, label in series:
        for row, report in enumerate(comparison.reports):
            measured = getattr(report, field)
            if np.isnan(measured.value):
                continue
            place = np.clip(measured.value, low, high)
            colour = colours[report.name]
            face = colour if place == measured.value else "white"
            offset = row + (0.14 if marker == "^" else -0.14)
            span = [[min(measured.error, 0.999 * place)], [measured.error]] if np.isfinite(measured.error) else None
            axes.errorbar(
                place, offset, xerr=span, marker=marker, color=colour, markerfacecolor=face, markersize=8, capsize=3
            )
        axes.plot([], [], marker=marker, color="grey", linestyle="none", label=label)
    axes.set(xscale="log", xlim=(low / 1.5, high * 1.5))
    axes.set_xlabel("signal to noise, |mean|² / variance")
    axes.set_title("Signal to noise for its cost (open: off the scale)")
    axes.legend(fontsize=9)
