"""Unbiased online recurrent optimisation: real-time recurrent learning with a rank-one Jacobian."""

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.accumulator import reset_accumulator
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.forward_mode import push_forward
from metalearn.estimators.memory import residual_bytes, state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.inner.checks import check_count
from metalearn.inner.differentiable import BOTH
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation


@kept_estimator
def uoro(
    problem: InnerProblem, truncation: Truncation, *, num_particles: int = 1, chunk_size: int | None = None
) -> GradientEstimator:
    """Return an estimator that carries a random rank-one matrix s̃ θ̃ᵀ whose mean is ds/dθ.

    The gradient of a window is g_t = (∂L_t/∂s · s̃) θ̃ + ∂L_t/∂θ. After a window with map F, and with random signs
    ν ∈ {−1, 1}^S:

        s̃ ← ρ0 F_s s̃ + ρ1 ν,   θ̃ ← θ̃/ρ0 + (νᵀ F_θ)/ρ1,   ρ0 = √(‖θ̃‖/‖F_s s̃‖),  ρ1 = √(‖νᵀ F_θ‖/‖ν‖).

    The factors ρ balance the norms of the two parts. They are equal for ν and −ν, so the mean is unchanged. The
    estimate is unbiased for ∇L; its variance grows with S and has heavy tails. Derivatives are exact JVPs and VJPs. The
    memory is 2S + d and the tape of one window.

    Args:
      problem: the inner problem; step and loss must be differentiable in both modes.
      truncation: horizon and window; one rank-one update per window.
      num_particles: independent episodes to average.
      chunk_size: particles advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, or `num_particles` or
        `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, or `num_particles` or `chunk_size` is below 1.

    References:
      Tallec & Ollivier 2017, Unbiased online recurrent optimization (arXiv 1702.05043).
    """
    check_common(problem, truncation, chunk_size)
    check_count("num_particles", num_particles)

    def start(theta, state):
        return (
            state,
            jax.tree.map(jnp.zeros_like, trees.split_inexact(state)[0]),
            jax.tree.map(jnp.zeros_like, trees.wide(theta)),
        )

    def window(run, theta, memory, clock, key):
        state, left, right = memory
        right = reset_accumulator(clock, right)
        still = jax.tree.map(jnp.zeros_like, theta)
        reading, after, slope, pushed = push_forward(run, theta, state, still, left)
        signs = trees.rademacher_like(key, pushed)
        direct, injected = trees.wide(_pull_back(run, theta, state, signs))
        gradient = trees.add(direct, trees.scale(slope, right))
        old, new = _balance(right, pushed), _balance(injected, signs)
        left = trees.add(trees.scale(old, pushed), trees.scale(new, signs))
        right = trees.add(trees.scale(1 / old, right), trees.scale(1 / new, injected))
        return gradient, (after, left, right), reading

    def memory(theta):
        tape = truncation.length * residual_bytes(problem, theta)
        return num_particles * (2 * state_bytes(problem, theta) + trees.num_bytes(theta) + tape)

    return from_method(
        Method(start, window, derivatives=BOTH),
        problem,
        truncation,
        num_particles,
        chunk_size,
        Description(problem, truncation, num_particles, memory, name="UORO"),
    )


def _balance(numerator, denominator):
    """Return √(‖a‖/‖b‖), or 1 if a norm is zero. Any positive factor leaves the mean unchanged."""
    a, b = trees.norm(numerator), trees.norm(denominator)
    known = (a > 0) & (b > 0)
    return jnp.where(known, jnp.sqrt(jnp.where(known, a, 1) / jnp.where(known, b, 1)), 1.0)


def _pull_back(run, theta, state, signs):
    """Return `(∂L/∂θ, νᵀ ∂F/∂θ)` of one window with its first state held fixed."""

    def advance(theta):
        reading, after = run(theta, state)
        return reading.loss, trees.split_inexact(after)[0]

    (loss, _), pull = jax.vjp(advance, theta)
    one, no_loss = jnp.ones_like(loss), jnp.zeros_like(loss)
    silent = jax.tree.map(jnp.zeros_like, signs)
    return pull((one, silent))[0], pull((no_loss, signs))[0]
