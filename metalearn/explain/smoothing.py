"""Smoothing: it removes most local minima, and gives a gradient that can be used everywhere."""

import numpy as np

from metalearn.explain.plane_study import Part, PlaneStudy, axis_values, bounded
from metalearn.figures import Section, draw_layer, later
from metalearn.landscape import local_minima, render, smooth, smoothing_pyramid
from metalearn.landscape.smoothing import narrowest
from metalearn.types import Progress
from metalearn.words import percent


def smoothing(study: PlaneStudy, progress: Progress) -> Part:
    """Smooth the landscape with several sigmas, count its minima, and measure where the raw gradient can be used."""
    values = render(study.value, study.plane, study.settings.smoothing, chunk_size=64, progress=progress)
    if not np.isfinite(values).any():
        study.landscape = np.ones_like(values)
        return Part(Section("Smoothing", "No value of this plane is finite: there is nothing to smooth."))
    study.landscape, capped = bounded(values, study.start)
    study.smooth = smoothing_pyramid(study.landscape, study.plane, study.sigmas)
    rows = [_row(0.0, study.landscape, study.plane)]
    rows += [_row(sigma, one.value, study.plane) for sigma, one in study.smooth.items()]
    limits = (float(study.landscape.min()), float(study.landscape.max()))
    pictures = {0.0: study.landscape, **{sigma: one.value for sigma, one in study.smooth.items()}}
    figures = {
        f"sigma {s:g}": _draw(s, layer, row, study.plane, limits) for (s, layer), row in zip(pictures.items(), rows)
    }
    sentence = _sentence(rows, values.shape, nearest(study.smooth, study.sigma)) + capped + _narrow(study)
    if not study.undifferentiable:
        usable, words = _usable(study)
        sentence, figures = sentence + words, figures | {"cosine": usable}
    shown = [{name: value for name, value in row.items() if name != "minima"} for row in rows]
    arrays = {"meta_loss": values} | {f"sigma_{sigma:g}": one.value for sigma, one in study.smooth.items()}
    return Part(
        Section("Smoothing", sentence, figures, shown, arrays="arrays/smoothing.npz"),
        arrays | axis_values(study.plane, values.shape),
        shown,
    )


def _row(sigma, layer, plane):
    minima = np.argwhere(local_minima(layer))
    row, column = np.unravel_index(np.argmin(layer), layer.shape)
    axes = axis_values(plane, layer.shape)
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
        points[_count(row)] = row["minima"]
    title = f"σ = {sigma:g}" if sigma else "raw"
    return later(
        draw_layer, layer, plane, label="meta-loss", title=title, logarithmic=True, limits=limits, points=points
    )


def nearest(smooth, sigma: float) -> float:
    """Return the sigma of a pyramid that is nearest to the given sigma, on a logarithmic scale."""
    return min(smooth, key=lambda one: abs(np.log(one / sigma)))


def _count(row):
    return f"{row['local minima']} local {'minimum' if row['local minima'] == 1 else 'minima'}"


def _sentence(rows, shape, sigma):
    chosen = next(row for row in rows if row["sigma"] == sigma)
    place = lambda row: f"({row['best x']:.2f}, {row['best y']:.2f})"
    counts = ", ".join(f"{row['local minima']} with σ = {row['sigma']:g}" for row in rows[1:])
    return (
        f"The raw landscape has {_count(rows[0])} on a grid of {shape[1]} × {shape[0]}; smoothed it has {counts}. The smallest value "
        f"lies at {place(rows[0])}, and after smoothing with σ = {sigma:g} at {place(chosen)}."
    )


def _narrow(study):
    left = [f"{one:g}" for one in study.settings.sigmas if one not in study.sigmas]
    if not left:
        return ""
    return f" σ = {', '.join(left)} is left out: this grid is too coarse for it."


def _usable(study):
    """Compare the raw gradient with the smoothed one on the grid of the layers."""
    found = study.anatomy
    loss, _ = bounded(found.loss, study.start) if np.isfinite(found.loss).any() else (found.loss * 0, "")
    sigma = max(study.sigma, *map(narrowest, study.plane[:2], found.loss.shape[::-1]))
    compared = found.gradient_map(smooth(loss, study.plane, sigma))
    inside = found.converged
    figure = later(
        draw_layer,
        np.where(inside, compared.cosine, np.nan),
        study.plane,
        label=f"cosine of raw and smoothed gradient (σ = {sigma:.2g})",
        title="Where the raw gradient points (grey: diverges)",
        colours="RdBu",
        limits=(-1, 1),
    )
    if not inside.any():
        return figure, ""
    words = (
        f" At {percent(compared.usable[inside].mean(), 0)} of the points that converge the raw gradient can be used: its cosine with the "
        f"smoothed gradient is positive, and it is between a tenth and ten times as long (σ = {sigma:.2g})."
    )
    return figure, words
