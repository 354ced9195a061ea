"""The targets of estimators, computed independently of them.

Each estimator has its own target: the gradient of the meta-loss with the estimator's smoothing (docs/theory.md §3). A
target is measured over whole episodes, without accumulators and without windows, so that errors in these show as a
bias. The smoothing is an argument of the program: all estimators of one problem share one program for smoothed targets
and one for ∇L.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators import Description, GradientEstimator
from metalearn.estimators.average import average
from metalearn.estimators.chunk_size import cache_chunk, even_chunk
from metalearn.estimators.directions import over_variance, stretch
from metalearn.estimators.memory import residual_bytes
from metalearn.inner.counts import count, count_type
from metalearn.inner.derived import in_windows
from metalearn.inner.divergence import read_window
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation, unroll_episode
from metalearn.memoization import memoize
from metalearn.types import Key, Theta

Perturbation = Callable[[Key, Theta], Theta]
TAPE_BYTES = 2**28  # for a larger tape, the steps of an episode are recomputed in the backward pass instead of stored


class SmoothedPoint(NamedTuple):
    """Where and how a meta-loss is smoothed; `smoothed_target` takes it in place of θ.

    Attributes:
      theta: θ.
      sigma: the standard deviation of the perturbation, one number or a tree like θ.
      blocks: for each of the n equal parts of an episode, the first part with the same perturbation, `[n]`.
    """

    theta: Theta
    sigma: Any
    blocks: jax.Array


def describe_smoothing(description: Description, theta: Theta, parts: int) -> SmoothedPoint:
    """Return the smoothing of an estimator at θ, for a target whose episodes have `parts` parts (see `count_parts`)."""
    horizon, period = description.truncation.horizon, noise_period(description)
    starts = [part * (horizon // parts) // period * period // (horizon // parts) for part in range(parts)]
    kind = jnp.result_type(*jax.tree.leaves(trees.wide(theta)))
    sigma = jax.tree.map(lambda size: jnp.asarray(size, kind), description.sigma)
    return SmoothedPoint(theta, sigma, jnp.asarray(starts, jnp.int32))


def noise_period(description: Description) -> int:
    """Return the number of inner steps for which a perturbation is kept."""
    horizon = description.truncation.horizon
    return min(description.noise_period or horizon, horizon)


def count_parts(descriptions: list[Description]) -> int:
    """Return the number of equal parts of an episode, such that no perturbation of these estimators changes in a part.

    All estimators must have the same horizon.
    """
    horizon = descriptions[0].truncation.horizon
    return horizon // math.gcd(horizon, *map(noise_period, descriptions))


@memoize
def smoothed_target(
    problem: InnerProblem, truncation: Truncation, parts: int, num_pairs: int, perturbation: Perturbation | None = None
) -> GradientEstimator:
    """Estimate the gradient of a smoothed meta-loss by antithetic ES over whole episodes; `SmoothedPoint` replaces θ.

        g = Σ_b ε_b (L⁺ − L⁻) / (2σ²),   E g = Σ_b ∂/∂θ_b E L(θ_1 + ε_1, …, θ_B + ε_B),

    where part j of an episode runs at θ ± ε_{b(j)}, with an independent ε_b ~ N(0, σ²I) for each block b
    (docs/theory.md §3.2). With the noise of a `perturbation` instead, E g is the target of the estimators that use it.
    """
    apart = in_windows(problem, truncation.horizon // parts)

    def pair(smoothed, key):
        key_noise, key_episode = jax.random.split(key)
        copies = trees.broadcast(smoothed.theta, parts)
        drawn = jax.vmap(lambda one: stretch(smoothed.sigma, one))(
            _draw(perturbation, key_noise, smoothed.theta, parts)
        )
        noise = jax.tree.map(lambda leaf: leaf[smoothed.blocks], drawn)
        first = smoothed.blocks == jnp.arange(parts)
        credit = jax.tree.map(lambda leaf: jnp.tensordot(first.astype(leaf.dtype), leaf, 1), trees.wide(drawn))
        member = lambda sign: _read(apart, truncation, trees.add(copies, trees.scale(sign, noise)), key_episode)
        readings = jax.vmap(member)(jnp.array([1.0, -1.0]))
        up, down = readings.loss
        return over_variance(up - down, smoothed.sigma, credit, 2), readings

    def estimate(smoothed, state, key):
        room = cache_chunk(problem, smoothed.theta, 2 * num_pairs) // 2
        keys = jax.random.split(key, num_pairs)
        found = jax.lax.map(lambda one: pair(smoothed, one), keys, batch_size=even_chunk(num_pairs, max(room, 1)))
        return _averaged(found, state, 2 * num_pairs * truncation.horizon)

    return GradientEstimator(_nothing, estimate)


@memoize
def gradient_target(problem: InnerProblem, truncation: Truncation, rematerialise: bool) -> GradientEstimator:
    """Compute ∇L by backpropagation through whole episodes."""

    def estimate(theta, state, key):
        def loss(theta):
            reading = _read(problem, truncation, theta, key, rematerialise)
            return reading.loss, reading

        found = jax.tree.map(lambda leaf: leaf[None], jax.grad(loss, has_aux=True)(theta))
        return _averaged(found, state, truncation.horizon)

    return GradientEstimator(_nothing, estimate, Description(problem, truncation, 1, _unknown))


def needs_rematerialisation(problem: InnerProblem, theta: Theta, num_steps: int) -> bool:
    """Return whether the tape of this many steps is too large to be stored."""
    return num_steps * residual_bytes(problem, theta) > TAPE_BYTES


def _draw(perturbation: Perturbation | None, key: Key, theta: Theta, count: int) -> Theta:
    """Return independent draws of unit size, `[count, ...]`."""
    if perturbation is None:
        return trees.normal_like(key, trees.broadcast(theta, count))
    return jax.vmap(lambda one: trees.like(perturbation(one, theta), theta))(jax.random.split(key, count))


def _read(problem, truncation, theta, key, rematerialise=False):
    """Return the reading of one episode."""
    episode = key if truncation.key is None else truncation.key
    state, losses = unroll_episode(problem, theta, episode, truncation.horizon, rematerialise=rematerialise)
    return read_window(problem, losses, state)


def _averaged(found, state, inner_steps):
    gradient, _, metrics = average(*found)
    return gradient, state, metrics | {"inner_steps": count(inner_steps, count_type(inner_steps))}


def _nothing(theta: Any, key: Any) -> tuple[()]:
    return ()


def _unknown(theta: Any) -> int:
    return 0
