"""The layers of the plane: trainable, but not differentiable; and the law between the exponent and the gradient."""

import numpy as np

from metalearn.explain.plane_study import Part, PlaneStudy, axis_values, bounded
from metalearn.figures import Section, draw_law, draw_layer, later
from metalearn.outer.diagnosis.anatomy import CHAOTIC, anatomy, lyapunov_law
from metalearn.types import Progress
from metalearn.words import percent

FEW = 10  # the least number of points for a fit
HEADING = "Trainable, but not differentiable"
LONG = 50.0  # a gradient is long if 1/50 of the plane would change the loss by its range over the points that converge


def layers(study: PlaneStudy, progress: Progress) -> Part:
    """Measure the meta-loss, the growth of tangents and the exponent, over the plane."""
    differentiable = not study.undifferentiable
    found = anatomy(
        study.problem, study.plane, study.settings.layers, study.episode, num_steps=study.horizon,
        derivatives=differentiable, progress=progress, name="layers",
    )  # fmt: skip
    study.anatomy = found
    numbers = shares(found)
    shown = bounded(found.loss, study.start)[0] if np.isfinite(found.loss).any() else found.loss
    figures = {
        "meta-loss": later(draw_layer, shown, study.plane, label="meta-loss", title="Trainable …", logarithmic=True)
    }
    if differentiable:
        figures |= _derivatives(found, study.plane)
    arrays = {name: leaf for name, leaf in found._asdict().items() if isinstance(leaf, np.ndarray)}
    return Part(
        Section(HEADING, _sentence(study, numbers), figures, arrays="arrays/layers.npz"),
        arrays | axis_values(study.plane, found.loss.shape),
        [numbers],
    )


def shares(found) -> dict[str, float]:
    """Return the shares of the points that the first section reports."""
    inside = found.converged
    span = float(np.ptp(found.loss[inside])) if inside.any() else 0.0
    sides = np.array([axis.high - axis.low for axis in found.plane[:2]])
    with np.errstate(divide="ignore"):
        across = found.log_gradient + np.log(np.linalg.norm(found.direction * sides, axis=-1))
    large = across > np.log(LONG * max(span, 1e-300))
    finite = found.loss[np.isfinite(found.loss)]
    best = found.loss <= (np.quantile(finite, 0.02) if finite.size else -np.inf)
    of = lambda mask, where: float(np.mean(mask[where])) if where.any() else float("nan")
    return {
        "converged": float(inside.mean()),
        "long gradient": of(large, inside),
        "growth beyond float32": of(found.log_growth > 38.5 * np.log(10), inside),
        "growth beyond float64": of(found.log_growth > 308 * np.log(10), inside),
        "best 2 %: long gradient": of(large, best),
        f"exponent above {CHAOTIC}": of(found.exponent > CHAOTIC, inside),
    }


def law(study: PlaneStudy, progress: Progress) -> Part:
    """Fit the logarithm of the gradient's length as a function of λT."""
    heading, found = "The Lyapunov law", study.anatomy
    laws = lyapunov_law(found)
    rows = [{"size of": name, **one._asdict()} for name, one in laws.items()]
    one = laws["gradient"]
    if study.undifferentiable:
        return Part(Section(heading, "It cannot be tested without derivatives."))
    chaotic = int(np.sum(found.converged & (found.exponent > CHAOTIC)))
    if chaotic < FEW:
        sentence = (
            f"Only {chaotic} points of the plane converge with an exponent above {CHAOTIC}: there is hardly any chaos on "
            "this plane."
        )
        return Part(Section(heading, sentence), rows=rows)
    if one.count < FEW or not np.isfinite(one.slope):
        sentence = f"At the {chaotic} points with λ > {CHAOTIC} the gradient is zero, or all exponents are equal: no line can be fitted."
        return Part(Section(heading, sentence), rows=rows)
    holds = one.correlation > 0.95 and 0.8 < one.slope < 1.2
    verdict = (
        "The gradient grows like e^(λT): its size is determined by the chaos of training, not by the meta-loss."
        if holds
        else "Its size does not follow e^(λT) here."
    )
    sentence = (
        f"Where training converges with λ > {CHAOTIC} ({one.count} points), "
        f"the logarithm of the gradient's length against λT has the slope "
        f"{one.slope:.3f} and the correlation {one.correlation:.4f}. {verdict}"
    )
    figures = {"law": later(draw_law, found, laws, title="λT against the size of derivatives")}
    arrays = {"exponent": found.exponent, "log_gradient": found.log_gradient, "log_growth": found.log_growth}
    return Part(Section(heading, sentence, figures, rows, arrays="arrays/layers.npz"), arrays, rows)


def _derivatives(found, plane):
    growth = np.clip(found.log_growth / np.log(10), 0, None)
    inside = lambda layer: np.where(found.converged, layer, np.nan)
    exponents = np.abs(found.exponent[found.converged & np.isfinite(found.exponent)])
    limit = float(np.quantile(exponents, 0.98)) if exponents.size else 1.0
    return {
        "growth": later(
            draw_layer, inside(growth), plane, label="log₁₀ ‖ds_T/dθ‖", title="… but not differentiable (grey: diverges)",
            colours="magma", contours={38.5: "overflow of float32", 308.0: "overflow of float64"},
        ),
        "exponent": later(
            draw_layer, inside(found.exponent), plane, label="exponent λ per step", title="Lyapunov exponent (grey: diverges)",
            colours="RdBu_r", limits=(-limit, limit),
        ),
    }  # fmt: skip


def _sentence(study, numbers):
    start = f"Training converges at {percent(numbers['converged'], 0)} of the points"
    if study.undifferentiable:
        return f"{start}. The problem cannot be differentiated ({study.undifferentiable}): gradients and exponents cannot be shown."
    if not numbers["converged"]:
        return "Training converges nowhere on this plane: there is nothing to differentiate. Move problem.plane to another region."
    best, share = numbers["best 2 %: long gradient"], numbers["long gradient"]
    ending = (
        "gradients do not fail anywhere on this plane."
        if share == 0
        else "the good hyperparameters are where gradients fail."
        if best > 0.3
        else "gradients fail, but not where the good hyperparameters are."
    )
    return (
        f"{start}, and at {percent(share, 0)} of these the gradient is long: it predicts that the loss changes by its whole range "
        f"within 1/{LONG:g} of the plane. At {percent(numbers['growth beyond float32'], 0)} its tangents are beyond float32. "
        f"Of the best 2 % of all points {percent(best, 0)} have a long gradient: {ending}"
    )
