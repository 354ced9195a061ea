"""Estimators made of estimators: clipping, normalising, and the combination by inverse variance."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import debugging, trees
from metalearn.compilation import jit
from metalearn.estimators.average import joint_share
from metalearn.estimators.base import SHARES, Description, GradientEstimator, check_is_estimator
from metalearn.inner.checks import check_number, is_known
from metalearn.inner.counts import total
from metalearn.inner.problem import check_key, check_theta
from metalearn.types import Theta

DECAY = 0.9


def clip_gradient(estimator: GradientEstimator, max_norm: float) -> GradientEstimator:
    """Shorten the estimate, after the average over particles, to at most `max_norm`. Biased where it acts."""
    check_number("max_norm", max_norm, 0, open_low=True)
    return _scaled(estimator, lambda length: jnp.where(length > max_norm, max_norm / length, 1.0))


def normalise_gradient(estimator: GradientEstimator) -> GradientEstimator:
    """Divide the estimate by its norm; a zero estimate stays zero.

    Only the direction is left, and it is biased where the noise is not small.
    """
    return _scaled(estimator, lambda length: jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1), 0.0))


def _scaled(estimator: GradientEstimator, factor) -> GradientEstimator:
    """An estimator whose estimate, and its standard deviation, are multiplied by a function of the estimate's norm."""
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
      states: the states of its parts.
      running: their running variances.
      variances: those that weigh the present episode.
      variance: of the last estimate.
      unreported_steps: those of the pilot.
      window: the number of the window in its episode.
    """

    states: tuple[Any, ...]
    running: tuple[Theta, ...]
    variances: tuple[Theta, ...]
    variance: Theta
    unreported_steps: jax.Array
    window: jax.Array


def combine(estimators: Sequence[GradientEstimator], by: str = "inverse_variance") -> GradientEstimator:
    """The average of several estimates, each parameter weighted by the inverse of its variance.

        g = Σ_i w_i g_i,   w_i ∝ 1/v_i,   for each parameter on its own.

    The variance is 1/Σ_i (1/v_i) for independent estimates (docs/theory.md §2.9). v_i is the running mean (decay 0.9)
    of the variance that the spread of the particles showed in *earlier episodes*, starting with a pilot estimate in
    `init`, whose cost is charged to the first estimate. So weights are independent of the estimates they weigh, also
    where a perturbation lasts through an episode, and in lockstep the combination of estimators with one target is
    unbiased for it. (Staggered particles have no common end of an episode; their weights change every horizon and are
    independent of most of the noise only.) An estimator whose variance is not finite (backprop in deep chaos), or all
    of whose particles diverged, has weight zero until its next finite variance.

    Args:
      estimators: at least two, each with two or more particles, with one target: full ES and reparametrised backprop of
        one sigma, say.
      by: "inverse_variance".

    Raises:
      ValueError: fewer than two estimators, one with a single particle, or another rule than "inverse_variance".

    References:
      Metz et al. 2018, Understanding and correcting pathologies in the training of learned optimizers (arXiv
      1810.10180); Parmas et al. 2018, PIPPS (arXiv 1902.01240).
    """
    estimators = tuple(estimators)
    if by != "inverse_variance":
        raise ValueError(f'by must be "inverse_variance", the only rule there is; {by!r} was given.')
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
    """The metrics of several estimators as those of one, without its inner steps."""
    losses = jnp.stack([trees.wide(report["loss"]) for report in reports])
    return {
        "loss": jnp.nanmean(losses),
        "worst_share": joint_share(jnp.stack([r.get("worst_share", jnp.zeros(())) for r in reports]), losses),
        **{name: jnp.mean(jnp.stack([r.get(name, 0.0) for r in reports])) for name in SHARES},
        "gradient_variance": jnp.asarray(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(variance)), jnp.float32),
    }


def _common(estimators: tuple[GradientEstimator, ...]) -> Description | None:
    """The description of a combination: one target, the particles and the memory of all parts."""
    parts = [estimator.description for estimator in estimators]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    if any(part.num_particles < 2 for part in known):
        raise ValueError(
            "combine needs estimators with two or more particles each, to see a variance; one has a single particle."
        )
    windows = {(part.truncation.horizon, part.truncation.length) for part in known}
    targets = {
        (
            part.sigma if is_known(part.sigma) else "traced",
            min(part.noise_period or part.truncation.horizon, part.truncation.horizon),
        )
        for part in known
    }
    if len(windows) > 1 or len(targets) > 1:
        raise ValueError(
            "combine needs estimators with one target: one horizon, one window length, one sigma and one noise period; these have "
            f"(horizon, length) {sorted(windows)} and (sigma, noise period) {sorted(targets)}."
        )
    memory = lambda theta: sum(part.memory(theta) for part in known)
    steps = [part.most_steps for part in known if part.most_steps is not None]
    most = 2 * sum(steps) if len(steps) == len(known) else None  # the first estimate reports those of the pilot as well
    count = sum(part.num_particles for part in known)
    return dataclasses.replace(known[0], num_particles=count, memory=memory, most_steps=most, adapts=True)


def _running(old: Theta, new: Theta) -> Theta:
    """The running variance; it starts anew after a value that was not finite."""
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
    """Σ w g / Σ w, with the weights scaled to at most 1.

    Zero, of unknown variance, where no estimator has a finite variance.
    """
    scale = jnp.max(precision, axis=0, keepdims=True)
    known = scale > 0
    weights = jnp.where(known, precision / jnp.where(known, scale, 1), 0)
    total = jnp.where(known, jnp.sum(weights, axis=0, keepdims=True), 1)
    mixed = jnp.sum(jnp.where(weights > 0, weights * means, 0) / total, axis=0)
    variance = jnp.where(known, 1 / (total * jnp.where(known, scale, 1)), debugging.unknown())[0]
    return mixed.astype(means.dtype), variance.astype(precision.dtype)
