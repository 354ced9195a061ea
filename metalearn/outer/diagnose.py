"""One card at a point of θ-space: can gradients be used here, why not, and what to use instead."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import dynamics, trees
from metalearn.dynamics import tangent
from metalearn.estimators import backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem, Key, Theta, check_key, check_problem, check_theta
from metalearn.inner.unroll import Truncation, unroll
from metalearn.outer.card import card_of
from metalearn.outer.compare import Comparison, Measured, compare
from metalearn.outer.sampling import Progress
from metalearn.outer.windows import Spectrum, predicted_variance, truncation_spectrum, window_jacobians
from metalearn.threads import in_this_precision, on_every_device

LAST = 20  # steps whose mean loss decides whether training converged
DIRECTIONS, RINGS = 16, tuple(2.0 ** (k / 2) for k in range(-4, 11))  # where the border is looked for, in σ
SWEEP = (0.25, 0.5, 1.0, 2.0, 4.0)
BIASED = 0.3  # of the smoothed gradient: an estimator whose mean is farther away points elsewhere, or is too short
PILOT_PAIRS, PILOT_EPISODES = 8, 16
CHUNK = 16  # pairs run together
BOUND = 1e8  # of the state's entries: what left it has no place in the spread of the cloud
UNDIFFERENTIABLE = (TypeError, ValueError, NotImplementedError)


class Recommendation(NamedTuple):
    """What to descend with.

    Attributes:
      method: the name of a candidate.
      length: inner steps of a window.
      sigma: the standard deviation of the smoothing.
      num_pairs: pairs (or perturbed particles) of an estimate of an episode whose signal is as large as its noise.
      reason: why, in a sentence with the numbers.
    """

    method: str
    length: int
    sigma: float
    num_pairs: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What was measured at θ; `print` shows the card.

    Attributes:
      converged: whether training converges at θ: the mean of the last 20 losses is below the loss of the start.
      exponent: the largest Lyapunov exponent per step, and flip_fraction: how often its direction turned back.
      log_gradient, log_growth: ln ‖∇L‖ and ln ‖ds_T/dθ‖; NaN where they were left out.
      kappa: σ ‖ds_T/dθ‖ over the spread of s_T, half the distance of the two ends of a pair in the root mean square: 1 where
        training is linear over the cloud, larger where the derivative promises displacements that do not happen; NaN where
        the ends of all pairs are the same.
      beyond: the share of the ES cloud that ends with another label than θ.
      distance: to the nearest place with another label, along 16 rays, to a factor √2; infinite where none was seen.
      smoothed, smoothed_error: ∇L_σ by full-horizon ES, `[d]`.
      cosine, length_ratio: of the raw gradient to the smoothed one.
      predicted: method -> signal to noise per 10⁶ inner steps by the linear formula, from one pass of Jacobians.
      spectrum: truncated backprop for every truncation.
      sweep: rows of sigma, length of the smoothed gradient, signal to noise of a pair, cosine with the smoothed gradient.
      comparison: the candidates, measured.
      recommendation: what follows.
      left_out: sentences on what could not be measured here.
    """

    theta: Theta
    sigma: float
    truncation: Truncation
    converged: bool
    exponent: Measured
    flip_fraction: float
    log_gradient: float
    log_growth: float
    kappa: float
    beyond: float
    distance: float
    smoothed: np.ndarray
    smoothed_error: np.ndarray
    cosine: float
    length_ratio: float
    predicted: dict[str, float]
    spectrum: Spectrum | None
    sweep: list[dict[str, float]]
    comparison: Comparison
    recommendation: Recommendation
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(card_of(self))


def diagnose(
    problem: InnerProblem,
    theta: Theta,
    sigma: float,
    truncation: Truncation,
    key: Key,
    *,
    num_pairs: int = 256,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measure everything that decides how to estimate the meta-gradient at θ, and recommend an estimator.

    The candidates are run (a pilot of 128 pairs each), their bias is taken against ∇L_σ of full-horizon ES. Of those
    whose mean is within 0.3 of the length of ∇L_σ of it (and two standard errors) the one with the largest signal to noise
    per inner step is recommended.

    Args:
      problem: the inner problem. Where it is not differentiable, what needs derivatives is left out, and said so.
      theta: where.
      sigma: the standard deviation of the smoothing that is wanted.
      truncation: horizon and window; with a key all episodes are the same one.
      key: the randomness of everything else.
      num_pairs: antithetic pairs of the cloud that measures ∇L_σ.
      progress: called as `progress(name, done, total)`.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
    """
    check_theta(theta)
    check_key(key)
    check_number("sigma", sigma, 0, open_low=True)
    check_count("num_pairs", num_pairs, 16)
    theta = trees.strong(theta)
    check_problem(problem, theta)
    episode = jax.random.fold_in(key, 0) if truncation.key is None else truncation.key
    left_out: list[str] = []
    measure = _clouds(problem, theta, truncation)
    cloud = measure(sigma, jax.random.fold_in(key, 1), num_pairs)
    derivatives = _derivatives(problem, theta, truncation, episode, left_out)
    smoothed, error = cloud.mean, cloud.error
    raw = derivatives.direction
    cosine = float(raw @ smoothed / max(np.linalg.norm(smoothed), 1e-300)) if raw is not None else math.nan
    ratio = derivatives.log_gradient - math.log(max(np.linalg.norm(smoothed), 1e-300))
    converged, distance = _border(problem, theta, sigma, truncation.horizon, episode, jax.random.fold_in(key, 2))
    sweep = _sweep(measure, sigma, jax.random.fold_in(key, 3), smoothed)
    candidates = _candidates(problem, truncation, sigma, derivatives.direction is not None)
    reference = ravel_pytree(theta)[1](jnp.asarray(smoothed, ravel_pytree(theta)[0].dtype))
    comparison = compare(
        candidates,
        theta,
        jax.random.fold_in(key, 4),
        num_episodes=PILOT_EPISODES,
        reference=dict.fromkeys(candidates, reference),
        reference_pairs=2,
        unsmoothed=False,
        progress=progress,
    )
    growth = derivatives.log_growth + math.log(sigma / cloud.spread) if cloud.spread > 0 else math.nan
    return Diagnosis(
        theta=jax.tree.map(np.asarray, theta),
        sigma=sigma,
        truncation=truncation,
        converged=converged,
        exponent=derivatives.exponent,
        flip_fraction=derivatives.flip_fraction,
        log_gradient=derivatives.log_gradient,
        log_growth=derivatives.log_growth,
        kappa=math.exp(min(growth, 700)) if not math.isnan(growth) else math.nan,
        beyond=float(np.mean(cloud.converged != converged)),
        distance=distance,
        smoothed=smoothed,
        smoothed_error=error,
        cosine=cosine,
        length_ratio=math.exp(min(ratio, 700)) if not math.isnan(ratio) else math.nan,
        predicted=derivatives.predicted,
        spectrum=derivatives.spectrum,
        sweep=sweep,
        comparison=comparison,
        recommendation=_recommend(comparison, truncation, sigma, _relative(cloud)),
        left_out=tuple(left_out),
    )


class _Cloud(NamedTuple):
    mean: np.ndarray
    error: np.ndarray
    snr: float
    spread: float
    converged: np.ndarray


class _Derivatives(NamedTuple):
    exponent: Measured
    flip_fraction: float
    log_gradient: float
    log_growth: float
    direction: np.ndarray | None
    predicted: dict[str, float]
    spectrum: Spectrum | None


def _converged(losses, start):
    return jnp.mean(losses[-LAST:]) < start


def _run(problem, horizon):
    """θ, episode key -> mean loss, end of the state, label."""

    def run(theta, key):
        first, steps = jax.random.split(key)
        start = problem.init(theta, first)
        state, losses = unroll(problem, start, theta, steps, horizon)
        label = _converged(losses, problem.loss(start, theta, steps))
        return jnp.mean(losses), tangent.vector_of(state), label

    return run


def _clouds(problem, theta, truncation):
    """(σ, key, pairs) -> full-horizon ES at θ: ∇L_σ, its error, and where the cloud of runs ends. One program for all."""
    point, unravel = ravel_pytree(theta)
    run = _run(problem, truncation.horizon)

    @jax.jit
    def some(sigma, key):
        noise, seeds = jax.random.split(key)
        shifts = sigma * jax.random.normal(noise, (CHUNK, len(point)), point.dtype)
        keys = jax.random.split(seeds, CHUNK)
        if truncation.key is not None:
            keys = jnp.broadcast_to(truncation.key, (CHUNK,))
        up, down = (jax.vmap(lambda e, k, s=sign: run(unravel(point + s * e), k))(shifts, keys) for sign in (1, -1))
        return shifts, *jax.tree.map(lambda a, b: jnp.stack([a, b], axis=1), up, down)

    def cloud(sigma, key, num_pairs):
        keys = jax.random.split(key, -(-num_pairs // CHUNK))
        wide = jnp.asarray(sigma, point.dtype)
        parts = on_every_device(in_this_precision(lambda key: jax.tree.map(np.asarray, some(wide, key))), keys)
        return _cloud_of(sigma, *map(np.concatenate, zip(*parts)))

    return cloud


def _cloud_of(sigma, shifts, losses, ends, labels):
    losses, ends = losses.astype(np.float64), ends.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        slopes = shifts.astype(np.float64) * (losses[:, :1] - losses[:, 1:]) / (2 * sigma**2)
    slopes = slopes[np.all(np.isfinite(slopes), axis=1)]
    if len(slopes) < 2:
        nothing = np.full(shifts.shape[1], np.nan)
        return _Cloud(nothing, nothing, math.nan, math.nan, labels)
    mean, error = slopes.mean(axis=0), slopes.std(axis=0, ddof=1) / math.sqrt(len(slopes))
    inside = ends[np.all(np.abs(ends) < BOUND, axis=(1, 2))]
    spread = math.sqrt(np.mean(np.sum((inside[:, 0] - inside[:, 1]) ** 2, axis=1))) / 2 if len(inside) else math.nan
    variance = float(np.sum(error**2) * len(slopes))
    snr = max(float(np.sum(mean**2)) - float(np.sum(error**2)), 0.0) / variance if variance else math.inf
    return _Cloud(mean, error, snr, spread, labels)


def _derivatives(problem, theta, truncation, key, left_out):
    """What one orbit's Jacobians say; NaN and a sentence where there are none."""
    horizon = truncation.horizon
    nothing = _Derivatives(Measured(math.nan, math.nan), math.nan, math.nan, math.nan, None, {}, None)
    try:
        found = jax.jit(lambda theta: dynamics.lyapunov(problem, theta, key, num_steps=horizon))(theta)
        gradient = jax.jit(lambda theta: dynamics.meta_gradient(problem, theta, key, num_steps=horizon))(theta)
    except UNDIFFERENTIABLE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        left_out.append(f"exponents, raw gradients and predictions: the problem cannot be differentiated ({reason}).")
        return nothing
    exponent = Measured(float(found.exponents[0]), float(found.standard_errors[0]))
    direction = np.asarray(ravel_pytree(gradient.direction)[0], np.float64)
    rest = (exponent, float(found.flip_fraction), float(gradient.log_length), float(gradient.log_growth))
    if gradient.escape >= 0:
        left_out.append(
            f"derivatives after step {int(gradient.escape)}, at which the orbit escaped; those above stop there."
        )
    if not np.any(direction):
        if gradient.escape < 0:
            left_out.append(
                "raw gradients and predictions: the gradient is exactly zero, the loss is piecewise constant."
            )
        return _Derivatives(*rest, None, {}, None)
    try:
        jacobians = jax.jit(lambda theta: window_jacobians(problem, theta, truncation, key))(theta)
    except UNDIFFERENTIABLE:
        left_out.append("predictions and backprop: the problem has no reverse mode.")
        return _Derivatives(*rest, None, {}, None)
    periods = {"PES": 1, "NRES": truncation.num_windows}
    predicted = {}
    for name, period in periods.items():
        square, variance = predicted_variance(jacobians, period)
        predicted[name] = square / variance * 1e6 / (2 * horizon) if variance > 0 else math.nan
    return _Derivatives(*rest, direction, predicted, truncation_spectrum(jacobians, truncation))


def _border(problem, theta, sigma, horizon, episode, key):
    """The label at θ, and the distance to another one along rays."""
    point, unravel = ravel_pytree(theta)
    axes = jnp.concatenate([jnp.eye(len(point)), -jnp.eye(len(point))])[:DIRECTIONS].astype(point.dtype)
    others = jax.random.normal(key, (DIRECTIONS - len(axes), len(point)), point.dtype)
    rays = jnp.concatenate([axes, others / jnp.linalg.norm(others, axis=1, keepdims=True)])
    radii = jnp.asarray([0.0, *(sigma * ring for ring in RINGS)], point.dtype)
    places = (point[None, None] + radii[:, None, None] * rays[None]).reshape(-1, len(point))
    run = _run(problem, horizon)
    label = lambda place: run(unravel(place), episode)[2]
    labels = np.asarray(jax.jit(lambda: jax.lax.map(label, places, batch_size=16))()).reshape(len(radii), -1)
    other = np.any(labels != labels[0, 0], axis=1)
    return bool(labels[0, 0]), float(radii[np.argmax(other)]) if other.any() else math.inf


def _sweep(measure, sigma, key, smoothed):
    rows = []
    for factor in SWEEP:
        found = measure(factor * sigma, key, 2 * CHUNK)
        lengths = np.linalg.norm(found.mean) * np.linalg.norm(smoothed)
        cosine = float(found.mean @ smoothed / lengths) if lengths > 0 else math.nan
        rows.append(
            {"sigma": factor * sigma, "length": float(np.linalg.norm(found.mean)), "snr": found.snr, "cosine": cosine}
        )
    return rows


def _candidates(problem, truncation, sigma, differentiable) -> dict[str, Any]:
    whole = Truncation(truncation.horizon, truncation.horizon, key=truncation.key)
    smooth = {"sigma": sigma, "num_pairs": PILOT_PAIRS}
    found = {
        "NRES": noise_reuse_es(problem, truncation, **smooth),
        "PES": persistent_es(problem, truncation, **smooth),
        "truncated ES": evolution_strategies(problem, truncation, **smooth),
    }
    if differentiable:
        particles = {"sigma": sigma, "num_particles": PILOT_PAIRS, "rematerialise": True}
        found |= {
            "perturbed backprop": backprop(problem, whole, **particles),
            "perturbed truncated backprop": backprop(problem, truncation, **particles),
        }
    return found


def _relative(cloud):
    """The standard error of ‖∇L_σ‖ in units of it."""
    length = float(np.linalg.norm(cloud.mean))
    return float(np.linalg.norm(cloud.error)) / length if length > 0 else math.nan


def _recommend(comparison, truncation, sigma, unsure):
    """The largest signal to noise per inner step among those whose mean is right."""
    snr = lambda report: report.signal_to_noise_per_step.value
    right = lambda report: (
        report.bias.value - 2 * math.hypot(report.bias.error, unsure) <= BIASED
        and report.fraction_diverged < 0.5
        and snr(report) > 0
    )
    fit = [report for report in comparison.reports if right(report)]
    if not fit:
        reason = "no candidate's mean is known to be near ∇L_σ; noise-reuse ES is unbiased for it"
        return Recommendation("NRES", truncation.length, sigma, 4 * PILOT_PAIRS, reason)
    best = max(fit, key=snr)
    biased = [
        report.name
        for report in comparison.reports
        if report not in fit and report.fraction_diverged < 0.5 and snr(report) > snr(best)
    ]
    reason = f"{snr(best):.3g} of signal to noise per 10⁶ inner steps, its cosine with ∇L_σ is {best.cosine.value:.2f}"
    if biased:
        reason += f"; {' and '.join(biased)} would be quieter, but biased"
    whole = best.name == "perturbed backprop"
    pairs = math.ceil(PILOT_PAIRS / max(best.signal_to_noise.value, 1e-6)) if best.signal_to_noise.value < 1e300 else 1
    return Recommendation(
        best.name, truncation.horizon if whole else truncation.length, sigma, min(pairs, 4096), reason
    )
