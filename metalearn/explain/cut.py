"""One cut through the plane: the loss, the exponent and the gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.explain.plane_study import Part, PlaneStudy
from metalearn.figures import Section, draw_cut, later
from metalearn.inner.checks import refusal
from metalearn.inner.unroll import Truncation, meta_loss
from metalearn.landscape import Axis, Plane, gradient_map, render
from metalearn.outer.diagnosis.anatomy import anatomy, on_plane
from metalearn.outer.diagnosis.cloud import measure_cloud
from metalearn.types import Progress
from metalearn.words import percent


def cut(study: PlaneStudy, progress: Progress) -> Part | None:
    """Measure the loss, the exponent, the raw and the smoothed gradient along a line."""
    if study.undifferentiable:
        return None
    settings, x = study.settings.cut, study.plane.x
    places = np.linspace(x.low, x.high, settings.points // 2 * 2)
    line = measure_line(study, places, progress)
    smoothed = smoothed_along(study, np.linspace(x.low, x.high, settings.smoothed + 2)[1:-1], progress)
    figure = later(
        draw_cut, places, line, name=x.name, smoothed=smoothed, title=f"{study.plane.y.name} = {study.height:g}"
    )
    arrays = line | {"places": places} | {f"smoothed_{name}": values for name, values in smoothed.items()}
    rows = [{"place": a, "length": b, "error": c} for a, b, c in zip(*smoothed.values())]
    return Part(
        Section("One cut", _sentence(study, line, smoothed), {"cut": figure}, arrays="arrays/cut.npz"), arrays, rows
    )


def measure_line(study: PlaneStudy, places, progress=None) -> dict[str, np.ndarray]:
    """Run `anatomy` along a line of evenly spaced places; their number is even. Gradients are with respect to x only.

    "disagreement" is that of forward and reverse mode, as in `ml.landscape.gradient_map`; NaN without reverse mode.
    """
    pitch = places[1] - places[0]
    folded = Plane(  # the places with odd index are the second row
        Axis(study.plane.x.name, places[0], places[-2]),
        Axis("shift", 0, pitch),
        lambda a, b: jnp.stack([a + b, study.height + 0 * b]),
    )
    size = (len(places) // 2, 2)
    found = anatomy(study.problem, folded, size, study.episode, num_steps=study.horizon, progress=progress, name="cut")
    unfold = lambda layer: layer.T.ravel()
    line = {name: unfold(getattr(found, name)) for name in ("loss", "exponent", "exponent_error", "converged")}
    line["log_gradient"] = unfold(found.log_gradient) - np.log(2) / 2  # both coordinates of the folded plane are x
    problem, coordinates = on_plane(study.problem, folded)
    slope = jax.grad(lambda point: meta_loss(problem, point, study.episode, study.horizon))
    reverse = None if refusal(slope, study.at(places[0])) else render(slope, coordinates, size, chunk_size=16)
    compared = gradient_map(found.log_gradient, found.direction, np.zeros_like(found.direction), reverse=reverse)
    return line | {"disagreement": unfold(compared.disagreement)}


def smoothed_along(study: PlaneStudy, places, progress=None) -> dict[str, np.ndarray]:
    """Estimate |∂L_σ/∂x| by full-horizon ES at places of the cut, with standard errors."""
    whole = Truncation(study.horizon, study.horizon, key=study.episode)
    lengths, errors = [], []
    for index, place in enumerate(places):
        key = jax.random.fold_in(study.key, 100 + index)
        cloud = measure_cloud(study.problem, study.at(place), whole, study.sigma, key, study.settings.cut.pairs)
        lengths.append(abs(cloud.mean[0]))
        errors.append(cloud.error[0])
        if progress is not None:
            progress("smoothed gradients", index + 1, len(places))
    return {"places": np.asarray(places), "length": np.array(lengths), "error": np.array(errors)}


def _sentence(study, line, smoothed):
    inside, length = line["converged"], smoothed["length"][np.isfinite(smoothed["length"])]
    seen = line["log_gradient"][np.isfinite(line["log_gradient"]) & inside] / np.log(10)
    largest = seen.max(initial=-np.inf)
    reached = f"10^{largest:.0f}" if largest > 4 else f"{10**largest:.2g}"
    raw = f"the raw gradient there reaches {reached}" if seen.size else "the raw gradient there is not finite anywhere"
    blurred = f"stays between {length.min():.2g} and {length.max():.2g}" if length.size else "could not be measured"
    apart = line["disagreement"][inside & np.isfinite(line["disagreement"])]
    trust = (
        f" At {percent(np.mean(apart > 0.01), 0)} of the places where both are finite, forward and reverse mode differ by more than "
        "1 %: rounding decides the gradient there."
        if np.any(apart > 0.01)
        else ""
    )
    return (
        f"Along {study.plane.y.name} = {study.height:g} training converges at {percent(inside.mean(), 0)} of the places, and {raw}. "
        f"The smoothed gradient (σ = {study.sigma:g}, full ES) {blurred}.{trust}"
    )
