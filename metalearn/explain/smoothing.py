"""Smoothing: hundreds of local minima become one, and a gradient that can be used everywhere."""

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.explain.study import Part, Study, axes_of
from metalearn.landscape import local_minima, render, smooth, smoothing_pyramid
from metalearn.recording import Section, draw_layer

TOO_LARGE = 1e3  # times the loss of a start: what is larger has diverged in all but name


def smoothing(study: Study, progress) -> Part:
    """The landscape blurred with several sigmas, its minima, and where the raw gradient can be used."""
    report = lambda done, total: progress("landscape", done, total)
    values = render(study.value, study.plane, tuple(study.config.smoothing), chunk_size=64, progress=report)
    if not np.isfinite(values).any():
        study.landscape = np.ones_like(values)
        return Part(Section("Smoothing", "No value of this plane is finite: there is nothing to smooth."))
    study.landscape, capped = bounded(values, _largest_start(study))
    study.smooth = smoothing_pyramid(study.landscape, study.plane, study.config.sigmas)
    rows = [_row(0.0, study.landscape, study.plane)]
    rows += [_row(sigma, one.value, study.plane) for sigma, one in study.smooth.items()]
    limits = (float(study.landscape.min()), float(study.landscape.max()))
    pictures = {0.0: study.landscape, **{sigma: one.value for sigma, one in study.smooth.items()}}
    figures = {
        f"sigma {s:g}": _draw(s, layer, row, study.plane, limits) for (s, layer), row in zip(pictures.items(), rows)
    }
    sentence = _sentence(rows, values.shape) + capped
    if not study.undifferentiable:
        usable, words = _usable(study)
        sentence, figures = sentence + words, figures | {"cosine": usable}
    shown = [{name: value for name, value in row.items() if name != "minima"} for row in rows]
    arrays = {"meta_loss": values} | {f"sigma_{sigma:g}": one.value for sigma, one in study.smooth.items()}
    return Part(
        Section("Smoothing", sentence, figures, shown, arrays="arrays/smoothing.npz"),
        arrays | axes_of(study.plane, values.shape),
        shown,
    )


def bounded(values, start: float) -> tuple[np.ndarray, str]:
    """A finite landscape, and a sentence where that needed a cap.

    What is not finite reads as the largest value; where that is a thousand times the loss of a start, all above the
    latter read as it.
    """
    largest = float(values[np.isfinite(values)].max())
    cap = start if largest > TOO_LARGE * start > 0 else largest
    values = np.minimum(np.where(np.isfinite(values), values, cap), cap)
    return values, "" if cap == largest else f" Values above {cap:.3g}, the loss of a start, read as that."


def _largest_start(study):
    @jax.jit
    def start(point):
        first, steps = jax.random.split(study.episode)
        return study.problem.loss(study.problem.init(point, first), point, steps)

    corners = [(x, y) for x in study.plane.x.points(2) for y in study.plane.y.points(2)]
    losses = np.array([float(start(jnp.array(corner))) for corner in corners])
    return float(np.max(losses[np.isfinite(losses)], initial=0.0))


def _row(sigma, layer, plane):
    minima = np.argwhere(local_minima(layer))
    row, column = np.unravel_index(np.argmin(layer), layer.shape)
    axes = axes_of(plane, layer.shape)
    return {
        "sigma": sigma,
        "local minima": len(minima),
        "best x": float(axes["x"][column]),
        "best y": float(axes["y"][row]),
        "best value": float(layer[row, column]),
        "minima": np.stack([axes["x"][minima[:, 1]], axes["y"][minima[:, 0]]], axis=1),
    }


def _draw(sigma, layer, row, plane, limits):
    points = {"smallest": [(row["best x"], row["best y"])]}
    if row["local minima"]:
        points[f"{row['local minima']} local minima"] = row["minima"]
    title = f"σ = {sigma:g}" if sigma else "raw"
    return draw_layer(layer, plane, label="meta-loss", title=title, logarithmic=True, limits=limits, points=points)


def _sentence(rows, shape):
    last = rows[min(2, len(rows) - 1)]
    place = lambda row: f"({row['best x']:.2f}, {row['best y']:.2f})"
    counts = ", ".join(f"with σ = {row['sigma']:g} it has {row['local minima']}" for row in rows[1:])
    return (
        f"The raw landscape has {rows[0]['local minima']} local minima on a grid of {shape[1]} × {shape[0]}; smoothed {counts}. The "
        f"smallest value lies at {place(rows[0])}, and after smoothing with σ = {last['sigma']:g} at {place(last)}."
    )


def _usable(study):
    """The raw gradient beside the smoothed one on the grid of the layers."""
    found = study.anatomy
    loss, _ = bounded(found.loss, _largest_start(study)) if np.isfinite(found.loss).any() else (found.loss * 0, "")
    pitch = max((axis.high - axis.low) / (n - 1) for axis, n in zip(study.plane[:2], found.loss.shape[::-1]))
    sigma = max(study.sigma, pitch / 2)
    compared = found.gradient_map(smooth(loss, study.plane, sigma))
    inside = found.converged
    figure = draw_layer(
        np.where(inside, compared.cosine, np.nan),
        study.plane,
        label="cosine of raw and smoothed gradient",
        title="Where the raw gradient points (grey: diverges)",
        colours="RdBu",
        limits=(-1, 1),
    )
    if not inside.any():
        return figure, ""
    words = (
        f" At {compared.usable[inside].mean():.0%} of the points that converge the raw gradient can be used: it points forward and "
        f"is between a tenth and ten times as long as the smoothed one (σ = {sigma:.2g})."
    )
    return figure, words
