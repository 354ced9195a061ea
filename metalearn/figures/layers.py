"""Figures of the layers of a plane, one figure each, for narrow screens too."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.figures.landscape import axis_label, image_extent
from metalearn.figures.limits import axis_limits, bars, choose_colours, mark_beyond
from metalearn.figures.style import NOT_FINITE, OKABE_ITO, legend, save_style
from metalearn.landscape import Plane
from metalearn.outer.diagnosis.anatomy import CHAOTIC, Anatomy, Law

MARKERS = "osD^vP"
LARGEST = {"float32": 38.5, "float64": 308.0}  # log10


def draw_layer(
    values,
    plane: Plane,
    *,
    label: str,
    title: str = "",
    limits: tuple[float, float] | None = None,
    colours: str = "viridis",
    logarithmic: bool = False,
    contours: Mapping[float, str] | None = None,
    points: Mapping[str, Any] | None = None,
) -> Any:
    """Draw one layer as an image.

    Args:
      values: `[height, width]`, row = y ascending; values that are not finite are grey, and the colour bar says so.
      plane: the plane of the values.
      label: the label of the colour bar, with the unit.
      title: the figure's title.
      limits: the limits of the colours; by default those of the values without extreme outliers.
      colours: a colour map of matplotlib.
      logarithmic: use a logarithmic colour scale, if all values are positive.
      contours: level -> its name in the legend.
      points: name -> coordinates `[count, 2]`, drawn as markers.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    shown = choose_colours(values, limits=limits, logarithmic=logarithmic)
    extent = image_extent(plane, shown.values.shape)
    with save_style():
        figure = Figure(figsize=(6.2, 4.9))
        axes = figure.subplots()
        axes.set_facecolor(NOT_FINITE)
        image = axes.imshow(shown.values, extent=extent, aspect="auto", cmap=colours, norm=shown.norm)
        _contours(axes, shown.values, plane, contours or {})
        for (name, places), marker, colour in zip((points or {}).items(), "*o", ("white", OKABE_ITO[3])):
            places = np.asarray(places, float).reshape(-1, 2)
            inside = np.all((places >= extent[::2]) & (places <= extent[1::2]), axis=1)
            size = 15 if marker == "*" else max(1.5, 5 - len(places) / 60)
            style = {"markersize": size, "markeredgecolor": "black", "markeredgewidth": 0.5}
            name = name if inside.all() else f"{name}, {(~inside).sum()} outside"
            axes.plot(*places[inside].T, marker, color=colour, label=name, **style)
        legend(axes, loc="lower left", fontsize=9, frameon=True, facecolor="0.5", framealpha=0.8, labelcolor="white")
        axes.grid(False)
        axes.set(xlabel=axis_label(plane.x), ylabel=axis_label(plane.y), title=title, xlim=extent[:2], ylim=extent[2:])
        label = "\n".join(filter(None, (label, shown.note)))
        figure.colorbar(image, ax=axes, label=label, extend=shown.extend)
        return figure


def _contours(axes, values, plane, contours):
    """Draw the level lines inside the range of the finite values."""
    x, y = plane.x.points(values.shape[1]), plane.y.points(values.shape[0])
    low, high = np.nanmin(values, initial=np.inf), np.nanmax(values, initial=-np.inf)
    for (level, name), colour in zip(contours.items(), ("cyan", "white")):
        if low < level < high and min(values.shape) > 1:
            axes.contour(x, y, np.ma.masked_invalid(values), [level], colors=colour, linewidths=1.2)
            axes.plot([], [], color=colour, label=name)


def draw_law(found: Anatomy, laws: Mapping[str, Law], *, title: str = "", least: float = CHAOTIC) -> Any:
    """Draw ln ‖∇L‖ and ln ‖ds_T/dθ‖ against λT, with the line that the Lyapunov law predicts.

    Args:
      found: the result of `ml.diagnosis.anatomy`.
      laws: the result of `ml.diagnosis.lyapunov_law`.
      title: the figure's title.
      least: the smallest exponent of the points that are drawn.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        chosen = found.converged & (found.exponent > least)
        size = found.exponent[chosen] * found.num_steps
        layers = {"growth": ("‖ds_T/dθ‖", found.log_growth), "gradient": ("‖∇L‖", found.log_gradient)}
        x, y = axis_limits([*size, 0]), axis_limits([layer[chosen] for _, layer in layers.values()])
        figure = Figure(figsize=(6.2, 4.9))
        axes = figure.subplots()
        axes.set(xlim=x, ylim=y, xlabel="λT (natural logarithm)", ylabel="natural logarithm of the size", title=title)
        for (name, (word, layer)), marker, colour in zip(layers.items(), "x.", OKABE_ITO):
            law = laws[name]
            label = f"{word}: slope {law.slope:.3g}, correlation {law.correlation:.4g}"
            axes.plot(np.clip(size, *x), np.clip(layer[chosen], *y), marker, color=colour, markersize=4, label=label)
        ends = np.array([max(0, x[0], y[0]), min(x[1], y[1])])
        axes.plot(ends, ends, "--", color="grey", label="the Lyapunov law")
        beyond = [np.where(np.clip(size, *x) == size, layer[chosen], np.inf) for _, layer in layers.values()]
        mark_beyond(axes, [(np.clip(size, *x), values, "grey") for values in beyond])
        axes.legend(fontsize=9)
        return figure


def draw_cut(
    places, cut: Mapping[str, Any], *, name: str, smoothed: Mapping[str, Any] | None = None, title: str = ""
) -> Any:
    """Draw the loss, the exponent and the length of the unsmoothed gradient along a line through θ-space.

    Args:
      places: coordinates along the line, `[count]`.
      cut: `loss`, `converged`, `exponent`, `exponent_error` and `log_gradient` at these coordinates.
      name: the name of the coordinate.
      smoothed: `places`, `length` and `error` of smoothed gradients, drawn over the unsmoothed ones.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    middle, error = np.asarray(cut["exponent"], float), np.asarray(cut["exponent_error"], float)
    size = np.where(cut["converged"], cut["log_gradient"], np.nan) / np.log(10)
    with save_style():
        figure = Figure(figsize=(6.2, 7.2))
        loss, exponent, gradient = figure.subplots(3, 1, sharex=True)
        gradient.set(xlim=axis_limits(places, margin=0), xlabel=name, ylabel="log₁₀ length of the gradient")
        _curve(loss, places, cut["loss"], OKABE_ITO[0])
        loss.set(ylabel="meta-loss", title=title)
        _curve(exponent, places, middle, OKABE_ITO[3], also=[*(middle - error), *(middle + error)])
        below, above = bars(middle, error, *exponent.get_ylim())
        middle = np.clip(middle, *exponent.get_ylim())
        exponent.fill_between(places, middle - below, middle + above, color=OKABE_ITO[3], alpha=0.3)
        exponent.axhline(0, color="black", linewidth=0.8)
        exponent.set(ylabel="exponent λ per step")
        smooth = None if smoothed is None else _log_lengths(smoothed)
        converged = np.asarray(cut["converged"], bool)
        label = "raw gradient, where training converges"
        _curve(
            gradient,
            places,
            size,
            OKABE_ITO[1],
            label=label,
            also=() if smooth is None else np.ravel(smooth),
            seen=converged,
        )
        _overflows(gradient, size)
        if smoothed is not None and smooth is not None:
            middle, *ends = (np.clip(one, *gradient.get_ylim()) for one in smooth)
            span = np.nan_to_num(np.abs(np.array(ends) - middle))
            style = {"fmt": "o", "color": "black", "markersize": 4, "label": "smoothed gradient"}
            gradient.errorbar(smoothed["places"], middle, span, **style)
            mark_beyond(gradient, [(smoothed["places"], smooth[0], "black")], "smoothed: ")
        for axes in (loss, exponent, gradient):
            legend(axes, fontsize=9, loc="best")
        return figure


def _curve(axes, places, values, colour, *, label=None, also=(), seen=None):
    """Draw a line within finite limits, which also include `also`; mark the values beyond them where `seen` is true."""
    places, values = np.asarray(places, float), np.asarray(values, float)
    axes.set_ylim(axis_limits([*values, *also]))
    axes.plot(places, np.clip(values, *axes.get_ylim()), color=colour, linewidth=1, label=label)
    seen = np.full(values.shape, True) if seen is None else seen
    mark_beyond(axes, [(places[seen], values[seen], colour)])


def _log_lengths(smoothed):
    """Return log₁₀ of the lengths of smoothed gradients and of the ends of their error bars."""
    length, error = (np.asarray(smoothed[name], float) for name in ("length", "error"))
    return np.log10([length, np.maximum(length - error, length / 100), length + error])


def _overflows(axes, size):
    """Draw lines at the largest floats, if the lengths come near them."""
    largest = np.max(size, initial=0, where=np.isfinite(size))
    for kind, level in LARGEST.items():
        if largest > 0.8 * level:
            axes.axhline(level, color="grey", linestyle=":", linewidth=1)
            place = {"va": "bottom", "ha": "right", "fontsize": 8, "color": "grey"}
            axes.text(axes.get_xlim()[1], level, f"overflow of {kind} ", **place)
            axes.set_ylim(top=max(axes.get_ylim()[1], 1.15 * level))


def draw_signal(rows: list[dict], *, name: str, title: str = "") -> Any:
    """Draw the signal-to-noise ratio per 10⁶ inner steps along a line, one curve for each estimator.

    Args:
      rows: `place`, `estimator`, `snr`, `error` and `floor`, the ratio that noise alone gives.
      name: the name of the coordinate.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(6.2, 4.9))
        axes = figure.subplots()
        of = lambda some, field: np.array([row[field] for row in some], float)
        ends = of(rows, "snr") + of(rows, "error")
        limits = axis_limits([*of(rows, "snr"), *ends, *of(rows, "floor") / 3], logarithmic=True)
        axes.set(yscale="log", ylim=limits, xlim=axis_limits(of(rows, "place")))
        for index, estimator in enumerate(dict.fromkeys(row["estimator"] for row in rows)):
            mine = [row for row in rows if row["estimator"] == estimator]
            style = {"fmt": MARKERS[index % len(MARKERS)] + "-", "color": OKABE_ITO[index % 8], "label": estimator}
            places, values = of(mine, "place"), of(mine, "snr")
            span = bars(values, of(mine, "error"), *limits)
            axes.errorbar(places, np.clip(values, *limits), span, capsize=2, **style)
            mark_beyond(axes, [(places, values, style["color"])], f"{estimator}: ")
        floor = [row for row in rows if row["estimator"] == rows[-1]["estimator"]]
        axes.plot(
            of(floor, "place"), np.clip(of(floor, "floor"), *limits), ":", color="black", label="what noise alone gives"
        )
        axes.set(xlabel=name, ylabel="signal to noise per 10⁶ inner steps", title=title)
        legend(axes, fontsize=8)
        return figure
