"""Wrappers of estimators: clipping, normalisation, and combination by inverse variance."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import debugging, trees
from metalearn.compilation import jit
from metalearn.estimators.average import join_sizes
from metalearn.estimators.base import SHARES, Description, GradientEstimator, check_is_estimator
from metalearn.estimators.directions import known_sigma
from metalearn.inner.checks import check_number, is_known
from metalearn.inner.counts import total
from metalearn.inner.problem import check_key, check_theta
from metalearn.types import Theta

DECAY = 0.9


def clip_gradient(estimator: GradientEstimator, max_norm: float) -> GradientEstimator:
    """Return an estimator that shortens the estimate, the average over particles, to a norm of at most `max_norm`.

    Shortened estimates are biased.

    Args:
      estimator: any gradient estimator.
      max_norm: the largest norm of an estimate, above 0.

    Raises:
      TypeError: `estimator` is not a `GradientEstimator`, or `max_norm` is not a real number.
      ValueError: `max_norm` is not positive and finite.
    """
    check_number("max_norm", max_norm, 0, open_low=True)
    return _scaled(estimator, lambda length: jnp.where(length > max_norm, max_norm / length, 1.0))


def normalise_gradient(estimator: GradientEstimator) -> GradientEstimator:
    """Return an estimator that divides the estimate by its norm; a zero estimate stays zero.

    The direction of the result is biased unless the noise is small.

    Args:
      estimator: any gradient estimator.

    Raises:
      TypeError: `estimator` is not a `GradientEstimator`.
    """
    return _scaled(estimator, lambda length: jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0.0))


def _scaled(estimator: GradientEstimator, factor) -> GradientEstimator:
    """Return an estimator that multiplies the estimate and its standard deviation by a function of its norm."""
    check_is_estimator("estimator", estimator)

    def estimate(theta, state, key):
        gradient, state, metrics = estimator.estimate(theta, state, key)
        weight = factor(trees.norm(gradient))
        if hasattr(state, "variance"):
            state = state._replace(variance=trees.scale(weight**2, state.variance))
        if "gradient_variance" in metrics:
            metrics = metrics | {"gradient_variance": weight**2 * metrics["gradient_variance"]}
        return trees.scale(weight, gradient), state, metrics

    return estimator._replace(estimate=jit(estimate, "an estimate"))


class Combined(NamedTuple):
    """The state of a combination.

    Attributes:
      states: the states of its estimators.
      running: the running variances of its estimators.
      variances: the variances that determine the weights of the present episode.
      variance: the variance of the last estimate.
      unreported_steps: the inner steps of the pilot estimates, which the first estimate reports.
      window: the index of the window in its episode.
    """

    states: tuple[Any, ...]
    running: tuple[Theta, ...]
    variances: tuple[Theta, ...]
    variance: Theta
    unreported_steps: jax.Array
    window: jax.Array


def combine(estimators: Sequence[GradientEstimator], by: str = "inverse_variance") -> GradientEstimator:
    """Return an estimator that averages several estimates with weights inversely proportional to their variances.

        g = Σ_i w_i g_i,   w_i ∝ 1/v_i,   separately for each parameter.

    For independent estimates the variance is 1/Σ_i (1/v_i) (docs/theory.md §2.9). v_i is the running mean (decay 0.9)
    of the variance estimated from the spread of the particles in *earlier episodes*. It starts with a pilot estimate in
    `init`, whose inner steps the first estimate reports. The weights are therefore independent of the estimates that
    they weight, even if a perturbation lasts through an episode, and in lockstep the combination is unbiased for the
    common target of its estimators. Staggered particles have no common end of an episode: their weights change once per
    horizon and are independent of most of the noise only.

    An estimator whose variance is not finite, such as backprop in deep chaos, has weight zero until its next finite
    variance. An estimator whose particles all diverged has weight zero in that estimate.

    Args:
      estimators: at least two estimators with one target and two or more particles each, for example full ES and
        reparametrised backprop with the same sigma.
      by: "inverse_variance".

    Raises:
      TypeError: an entry of `estimators` is not a `GradientEstimator`.
      ValueError: `estimators` has fewer than two entries, an entry has a single particle, the entries differ in
        horizon, window length, sigma or noise period, or `by` is not "inverse_variance".

    References:
      Metz et al. 2018, Understanding and correcting pathologies in the training of learned optimizers (arXiv
      1810.10180); Parmas et al. 2018, PIPPS (arXiv 1902.01240).
    """
    estimators = tuple(estimators)
    if by != "inverse_variance":
        raise ValueError(f'by must be "inverse_variance", the only rule; {by!r} was given.')
    if len(estimators) < 2:
        raise ValueError(f"combine needs at least two estimators; {len(estimators)} was given.")
    for estimator in estimators:
        check_is_estimator("Every one of estimators", estimator)
    description = _common(estimators)
    num_windows = 1 if description is None else description.truncation.num_windows
    most = None if description is None else description.most_steps

    def init(theta, key):
        check_theta(theta)
        check_key(key)
        return begin(theta, key)

    @functools.partial(jit, name="the start of a combination", calls=1)
    def begin(theta, key):
        states, variances, spent = [], [], []
        for estimator, part in zip(estimators, jax.random.split(key, len(estimators))):
            key_init, key_pilot, key_pilot_init = jax.random.split(part, 3)
            _, pilot, metrics = estimator.estimate(theta, estimator.init(theta, key_pilot_init), key_pilot)
            states.append(estimator.init(theta, key_init))
            variances.append(pilot.variance)
            spent.append(metrics["inner_steps"])
        none, variances = trees.unknown_like(variances[0]), tuple(variances)
        return Combined(tuple(states), variances, variances, none, total(spent, most), jnp.zeros((), jnp.int32))

    def estimate(theta, state, key):
        gradients, states, variances, reports = [], [], [], []
        weighing = trees.where(state.window == 0, state.running, state.variances)
        parts = jax.random.split(key, len(estimators))
        for estimator, part, before, old in zip(estimators, parts, state.states, state.running):
            gradient, after, metrics = estimator.estimate(theta, before, part)
            gradients.append(gradient)
            states.append(after)
            variances.append(_running(old, after.variance))
            reports.append(metrics)
        gradient, variance = _weighted(gradients, weighing, [r["fraction_diverged"] < 1 for r in reports])
        metrics = _combined(reports, variance)
        metrics["inner_steps"] = total([state.unreported_steps, *(r["inner_steps"] for r in reports)], most)
        none, window = jnp.zeros_like(state.unreported_steps), (state.window + 1) % num_windows
        return gradient, Combined(tuple(states), tuple(variances), weighing, variance, none, window), metrics

    return GradientEstimator(init, jit(estimate, "a combined estimate"), description)


def _combined(reports, variance):
    """Combine the metrics of several estimators, without the inner steps."""
    losses = jnp.stack([trees.wide(report["loss"]) for report in reports])
    return {
        "loss": jnp.nanmean(losses),
        **join_sizes(reports),
        **{name: jnp.mean(jnp.stack([r.get(name, 0.0) for r in reports])) for name in SHARES},
        "gradient_variance": jnp.asarray(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(variance)), jnp.float32),
    }


def _common(estimators: tuple[GradientEstimator, ...]) -> Description | None:
    """Return the description of a combination: the common target, and the particles and memory of all parts."""
    parts = [estimator.description for estimator in estimators]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if any(part.num_particles < 2 for part in known):
        raise ValueError(
            "combine needs estimators with two or more particles each, to estimate variances; one has a single particle."
        )
    windows = {(part.truncation.horizon, part.truncation.length) for part in known}
    targets = {
        (
            known_sigma(part.sigma) if is_known(part.sigma) else "traced",
            min(part.noise_period or part.truncation.horizon, part.truncation.horizon),
        )
        for part in known
    }
    if len(windows) > 1 or len(targets) > 1:
        raise ValueError(
            "combine needs estimators with one target: one horizon, one window length, one sigma and one noise period; these have "
            f"(horizon, length) {sorted(windows)} and (sigma, noise period) {sorted(targets, key=str)}."
        )
    if len({id(part.perturbation) for part in known}) > 1:
        raise ValueError(
            "combine needs estimators with one target; the perturbations of their descriptions are different functions."
        )
    memory = lambda theta: sum(part.memory(theta) for part in known)
    steps = [part.most_steps for part in known if part.most_steps is not None]
    most = 2 * sum(steps) if len(steps) == len(known) else None  # the first estimate also reports the pilot estimates
    count = sum(part.num_particles for part in known)
    return dataclasses.replace(known[0], num_particles=count, memory=memory, most_steps=most, adapts=True)


def _running(old: Theta, new: Theta) -> Theta:
    """Return the running variance; it restarts after a value that is not finite."""
    return jax.tree.map(
        lambda o, n: jnp.where(jnp.isfinite(o) & jnp.isfinite(n), DECAY * o + (1 - DECAY) * n, n), old, new
    )


def _weighted(gradients, variances, present) -> tuple[Theta, Theta]:
    def leaf(*values):
        count = len(values) // 2
        means, spreads = jnp.stack(values[:count]), jnp.stack(values[count:])
        alive = jnp.isfinite(spreads) & jnp.stack(present).reshape((-1,) + (1,) * (spreads.ndim - 1))
        tiny = jnp.finfo(spreads.dtype).tiny
        precision = jnp.where(alive, 1 / jnp.maximum(spreads, tiny), 0)
        return _mix(means, precision)

    pairs = jax.tree.map(leaf, *gradients, *variances)
    outer = jax.tree.structure(gradients[0])
    return jax.tree.transpose(outer, jax.tree.structure((0, 0)), pairs)


def _mix(means, precision):
    """Return Σ w g / Σ w and its variance, with the weights scaled to at most 1 against overflow.

    If no estimator has a finite variance, the result is zero and its variance is NaN.
    """
    scale = jnp.max(precision, axis=0, keepdims=True)
    known = scale > 0
    weights = jnp.where(known, precision / jnp.where(known, scale, 1), 0)
    total = jnp.where(known, jnp.sum(weights, axis=0, keepdims=True), 1)
    mixed = jnp.sum(jnp.where(weights > 0, weights * means, 0) / total, axis=0)
    variance = jnp.where(known, 1 / (total * jnp.where(known, scale, 1)), debugging.unknown())[0]
    return mixed.astype(means.dtype), variance.astype(precision.dtype)
