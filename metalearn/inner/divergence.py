"""How runs that diverge are read: one rule, for every estimator and every reference, and problems whose losses have a cap.

The mean of a loss over perturbations or episodes does not exist where the loss is infinite with positive probability.
Leaving those runs out gives the gradient *conditional on survival*, and descent then walks to where only the lucky
survive. Here nothing is left out: a loss that is not finite, or larger than a number whose square is finite
(`largest`), reads as that number. Each step of each run is read on its own, so that windows, whole episodes and
staggered particles add up to the same objective. It is finite, but dominated by the runs that diverged; a cap
(`saturate`, `training`) gives it a scale.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import debugging, trees
from metalearn.inner.checks import check_number
from metalearn.inner.problem import InnerProblem, check_inner
from metalearn.types import State


class Reading(NamedTuple):
    """What was read in one window of one run.

    Attributes:
      loss: the mean of its losses, each at most `largest`.
      diverged: whether one of them was not finite, or larger.
      capped: whether the last of them is at the cap of the problem; False where it has none.
    """

    loss: jax.Array
    diverged: jax.Array
    capped: jax.Array


def largest(dtype: Any) -> float:
    """The number that a diverged loss reads as where a problem has no cap: 1.8e19, in float16 65504, in float64 1.2e77.
    The square of an estimate from it is finite in float64, in which `compare` computes.
    """
    root = float(jnp.finfo(jnp.promote_types(dtype, jnp.float32)).max) ** (0.25 if dtype == jnp.float64 else 0.5)
    return min(float(jnp.finfo(dtype).max), root)


def bounded(losses: jax.Array) -> jax.Array:
    """The losses, with `largest` in the place of those that are not finite or larger."""
    return jnp.where(_in_bounds(losses), losses, jnp.asarray(largest(losses.dtype), losses.dtype))


def read_window(problem: InnerProblem, losses: jax.Array, state: State) -> Reading:
    """The reading of a window.

    Args:
      problem: whose losses they are.
      losses: of each step, `[length]`.
      state: after the last step.
    """
    capped = jnp.zeros((), bool) if problem.cap is None else losses[-1] >= problem.cap(state)
    return Reading(jnp.mean(trees.wide(bounded(losses))), ~jnp.all(_in_bounds(losses)), capped)


def unless_diverged(reading: Reading, derivative: Any) -> Any:
    """A derivative of a window, NaN where a loss of the window diverged: estimators leave that particle out, whatever the mode."""
    return jax.tree.map(
        lambda leaf: jnp.where(reading.diverged, debugging.unknown(), leaf).astype(leaf.dtype), derivative
    )


def _in_bounds(losses):
    shown = debugging.finite(losses) & ~jnp.isfinite(losses)  # what JAX is to stop at
    return (jnp.abs(losses) < largest(losses.dtype)) | shown


def saturate(problem: InnerProblem, cap: float) -> InnerProblem:
    """Let a diverged loss count as bad rather than as missing: ℓ' = ℓ where ℓ is finite and below `cap`, else `cap`.

    A run has diverged when a step makes an entry of the state non-finite, or takes it beyond the square root of the
    largest float. From then on to the end of the episode every loss is the cap, whatever the map does with such a
    state; its numbers are NaN. Derivatives of capped losses and of such steps are exactly zero in forward and in
    reverse mode: a `where` on the loss alone would give 0·∞ = NaN.

    The smoothed meta-loss of a problem without a cap is infinite as soon as a run diverges with positive probability.
    The cap is part of the objective: it says how bad a diverged run is, for instance the loss of a network at
    initialisation.

    Args:
      problem: the problem to wrap.
      cap: the largest loss.

    Raises:
      TypeError: the cap is not one real number, or the problem not an InnerProblem.
      ValueError: the cap is not finite, or the problem is one of `final_loss`.
    """
    check_number("cap", cap)
    check_inner(problem)
    if problem.horizon is not None:
        raise ValueError(
            "The losses of this problem are differences, as those of ml.final_loss, and a cap would bound those. Wrap the other way "
            f"round: ml.final_loss(ml.saturate(problem, cap), {problem.horizon})."
        )
    inner = problem.cap

    return problem._replace(
        step=lambda state, theta, key: capped_step(problem.step, state, theta, key),
        loss=lambda state, theta, key: capped_loss(problem.loss, state, theta, key, cap),
        cap=(lambda state: cap) if inner is None else (lambda state: jnp.minimum(cap, inner(state))),
    )


def capped_step(step, state, theta, key):
    """A step after which the state is NaN, to the end of the episode, where it diverges."""

    def move(state, theta, key):
        moved = step(state, theta, key)
        kept = ~_is_over(state) & _representable(state, moved)
        return kept, jax.tree.map(lambda new, old: _ended(kept, new, old), moved, state)

    return _guarded(move)(state, theta, key)


def capped_loss(loss, state, theta, key, cap):
    """The loss where it is finite and below the cap, else the cap."""

    def read(state, theta, key, cap):
        value = trees.wide(loss(state, theta, key))  # 16 bits may not hold the cap
        kept = ~_is_over(state) & jnp.isfinite(value) & (value < cap)
        shown = kept | (debugging.finite(value) & ~jnp.isfinite(value))  # what JAX is to stop at
        return kept, jnp.where(shown, value, jnp.asarray(cap, value.dtype))

    return _guarded(read)(state, theta, key, jax.lax.stop_gradient(cap))


def _ended(kept, new, old):
    return jnp.where(kept, new, jnp.full_like(old, jnp.nan) if trees.is_inexact(old) else old)


def _is_over(state):
    """Whether the run has diverged: the first number of every array is NaN."""
    leaves = [leaf for leaf in trees.split_inexact(state)[0] if jnp.size(leaf)]
    first = [jnp.isnan(jnp.ravel(leaf)[0]) for leaf in leaves]
    return jnp.all(jnp.stack(first)) if first else jnp.array(False)


def _guarded(function):
    """f, where `function(*arguments) -> (kept, f)`, whose derivative is zero where not `kept`.

    Gates sit on the way in and on the way out, so that the zero meets no infinite Jacobian in either mode. Without
    derivatives f is computed once.
    """

    @jax.custom_jvp
    def guarded(*arguments):
        return function(*arguments)[1]

    @guarded.defjvp
    def tangent(primals, tangents):
        kept = function(*jax.lax.stop_gradient(primals))[0]
        gate = lambda leaf: leaf if leaf.dtype == jax.dtypes.float0 else jnp.where(kept, leaf, jnp.zeros_like(leaf))
        value = lambda *arguments: function(*arguments)[1]
        still = lambda leaf: (  # the same number, for derivatives of this derivative
            jnp.where(kept, leaf, jax.lax.stop_gradient(leaf)) if trees.is_inexact(leaf) else leaf
        )
        found, slopes = jax.jvp(value, jax.tree.map(still, primals), jax.tree.map(gate, tangents))
        return found, jax.tree.map(gate, slopes)

    return guarded


def _representable(before, after):
    """Whether no entry has left the numbers whose squares are finite; one that was outside on purpose may stay there."""

    def sound(old, new):
        limit = jnp.asarray(max(largest(new.dtype), float(jnp.finfo(new.dtype).max) ** 0.5), new.dtype)
        watched = jnp.where(jnp.abs(old) <= limit, jnp.abs(new), 0)
        return jnp.max(watched, initial=0) <= limit  # the largest costs a quarter of all(...); NaN stays NaN

    pairs = zip(trees.split_inexact(before)[0], trees.split_inexact(after)[0])
    kept = [sound(old, new) for old, new in pairs]
    return jnp.all(jnp.stack(kept)) if kept else jnp.array(True)
