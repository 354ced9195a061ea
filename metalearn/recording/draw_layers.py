"""Layers of a plane, each in a figure of its own, readable on a narrow screen."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from metalearn.landscape import Plane
from metalearn.outer.anatomy import CHAOTIC, Anatomy, Law
from metalearn.recording.draw_landscape import axis_label, extent_of
from metalearn.recording.figures import OKABE_ITO, save_style

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
    """One layer as colours.

    Args:
      values: `[height, width]`, row = y ascending; what is not finite is drawn grey.
      plane: its plane.
      label: of the colour bar, with the unit.
      title: the figure's title.
      limits: of the colours; those of the values by default.
      colours: a colour map of matplotlib.
      logarithmic: whether the colours are.
      contours: level -> its name in the legend.
      points: name -> coordinates `[count, 2]`, drawn as markers.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.colors import LogNorm, Normalize
    from matplotlib.figure import Figure

    values = np.asarray(values, float)
    finite = values[np.isfinite(values)]
    low, high = limits or ((finite.min(), finite.max()) if finite.size else (0.0, 1.0))
    logarithmic = logarithmic and low > 0
    with save_style():
        figure = Figure(figsize=(6.2, 4.9))
        axes = figure.subplots()
        axes.set_facecolor("0.8")
        norm = (LogNorm if logarithmic else Normalize)(low, high if high > low else low + 1)
        image = axes.imshow(
            np.where(np.isfinite(values), values, np.nan),
            extent=extent_of(plane, values.shape),
            aspect="auto",
            cmap=colours,
            norm=norm,
        )
        x, y = plane.x.points(values.shape[1]), plane.y.points(values.shape[0])
        for (level, name), colour in zip((contours or {}).items(), ("cyan", "white")):
            if finite.size and finite.min() < level < finite.max():
                axes.contour(x, y, np.nan_to_num(values), [level], colors=colour, linewidths=1.2)
                axes.plot([], [], color=colour, label=name)
        for (name, places), marker, colour in zip((points or {}).items(), "*o", ("white", OKABE_ITO[3])):
            size = 15 if marker == "*" else max(1.5, 5 - len(places) / 60)
            style = {"markersize": size, "markeredgecolor": "black", "markeredgewidth": 0.5}
            axes.plot(*np.asarray(places).reshape(-1, 2).T, marker, color=colour, label=name, **style)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower left", fontsize=9, frameon=True, facecolor="0.5", framealpha=0.8, labelcolor="white")
        axes.grid(False)
        axes.set(xlabel=axis_label(plane.x), ylabel=axis_label(plane.y), title=title)
        figure.colorbar(image, ax=axes, label=label)
        return figure


def draw_law(found: Anatomy, laws: Mapping[str, Law], *, title: str = "", least: float = CHAOTIC) -> Any:
    """ln ‖∇L‖ and ln ‖ds_T/dθ‖ against λT, with the line that the Lyapunov law says.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    chosen = found.converged & (found.exponent > least)
    size = found.exponent[chosen] * found.num_steps
    with save_style():
        figure = Figure(figsize=(6.2, 4.9))
        axes = figure.subplots()
        layers = {"growth": ("‖ds_T/dθ‖", found.log_growth), "gradient": ("‖∇L‖", found.log_gradient)}
        for (name, (word, layer)), marker, colour in zip(layers.items(), "x.", OKABE_ITO):
            law = laws[name]
            label = f"{word}: slope {law.slope:.3f}, correlation {law.correlation:.4f}"
            axes.plot(size, layer[chosen], marker, color=colour, markersize=4, label=label)
        ends = np.array([0, size.max() if size.size else 1])
        axes.plot(ends, ends, "--", color="grey", label="the Lyapunov law")
        axes.set(xlabel="λT (natural logarithm)", ylabel="natural logarithm of the size", title=title)
        axes.legend(fontsize=9)
        return figure


def draw_cut(
    places, cut: Mapping[str, Any], *, name: str, smoothed: Mapping[str, Any] | None = None, title: str = ""
) -> Any:
    """A line through θ-space under three measures: the loss, the exponent, the length of the raw gradient.

    Args:
      places: coordinates along the line, `[count]`.
      cut: `loss`, `converged`, `exponent`, `exponent_error` and `log_gradient` at them.
      name: of the coordinate.
      smoothed: `places`, `length` and `error` of smoothed gradients, to lay over the raw ones.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(6.2, 7.2))
        loss, exponent, gradient = figure.subplots(3, 1, sharex=True)
        loss.plot(places, cut["loss"], color=OKABE_ITO[0], linewidth=1)
        loss.set(ylabel="meta-loss", title=title)
        middle, error = np.asarray(cut["exponent"]), np.asarray(cut["exponent_error"])
        exponent.plot(places, middle, color=OKABE_ITO[3], linewidth=1)
        exponent.fill_between(places, middle - error, middle + error, color=OKABE_ITO[3], alpha=0.3)
        exponent.axhline(0, color="black", linewidth=0.8)
        exponent.set(ylabel="exponent λ per step")
        size = np.where(cut["converged"], cut["log_gradient"], np.nan) / np.log(10)
        gradient.plot(places, size, color=OKABE_ITO[1], linewidth=1, label="raw gradient, where training converges")
        for kind, level in LARGEST.items():
            if np.nanmax(size[np.isfinite(size)], initial=0) > 0.8 * level:
                gradient.axhline(level, color="grey", linestyle=":", linewidth=1)
                gradient.text(
                    places[-1], level, f"overflow of {kind} ", va="bottom", ha="right", fontsize=8, color="grey"
                )
                gradient.set_ylim(top=1.15 * max(level, np.nanmax(size[np.isfinite(size)])))
        if smoothed is not None:
            length, wide = np.asarray(smoothed["length"]), np.asarray(smoothed["error"])
            span = [np.log10(length / np.maximum(length - wide, length / 100)), np.log10((length + wide) / length)]
            gradient.errorbar(
                smoothed["places"],
                np.log10(length),
                span,
                fmt="o",
                color="black",
                markersize=4,
                label="smoothed gradient",
            )
        gradient.set(xlabel=name, ylabel="log₁₀ length of the gradient")
        gradient.legend(fontsize=9, loc="best")
        return figure


def draw_signal(rows: list[dict], *, name: str, title: str = "") -> Any:
    """Signal to noise per 10⁶ inner steps against the place, one line for each estimator, and what noise alone gives.

    Args:
      rows: `place`, `estimator`, `snr`, `error` and `floor`.
      name: of the coordinate.
      title: the figure's title.

    Returns:
      A matplotlib figure.
    """
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(6.2, 4.9))
        axes = figure.subplots()
        lowest = min(row["floor"] for row in rows) / 3
        for colour, marker, estimator in zip(OKABE_ITO, "osD^vP", dict.fromkeys(row["estimator"] for row in rows)):
            mine = [row for row in rows if row["estimator"] == estimator]
            values = np.array([max(row["snr"], lowest) if np.isfinite(row["snr"]) else np.nan for row in mine])
            errors = np.array([row["error"] if np.isfinite(row["error"]) else 0.0 for row in mine])
            span = [np.minimum(errors, 0.99 * values), errors]
            places = [row["place"] for row in mine]
            axes.errorbar(places, values, span, fmt=marker + "-", color=colour, label=estimator, capsize=2)
        floor = [(row["place"], row["floor"]) for row in rows if row["estimator"] == rows[-1]["estimator"]]
        axes.plot(*zip(*floor), ":", color="black", label="what noise alone gives")
        axes.set(yscale="log", xlabel=name, ylabel="signal to noise per 10⁶ inner steps", title=title)
        axes.legend(fontsize=8)
        return figure
