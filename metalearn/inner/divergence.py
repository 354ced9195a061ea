"""Losses of diverged runs: one rule for all estimators and references, and problems whose losses have a cap.

The mean of a loss over perturbations or episodes does not exist if the loss is infinite with positive probability.
Leaving diverged runs out gives the gradient *conditional on survival*, and descent then moves to regions where only a
few runs survive. Here no run is left out. A loss that is not finite or exceeds `largest`, a number whose square is
finite, is replaced by that number. The rule is applied to each step of each run, so that windows, whole episodes and
staggered particles define the same objective. This objective is finite, but diverged runs dominate it. A cap
(`saturate`, `training`) sets its scale.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import debugging, trees
from metalearn.brief import brief_help
from metalearn.inner.checks import check_number
from metalearn.inner.problem import InnerProblem, check_inner
from metalearn.types import State


@brief_help
class Reading(NamedTuple):
    """The losses of one window of one run, summarised.

    Attributes:
      loss: the mean of the losses, each at most `largest`.
      diverged: whether a loss was not finite or larger than `largest`.
      capped: whether the last loss is at the cap of the problem; False if the problem has no cap.
    """

    loss: jax.Array
    diverged: jax.Array
    capped: jax.Array


def largest(dtype: Any) -> float:
    """Return the number that replaces a diverged loss if the problem has no cap.

    It is 1.8e19 in float32, 65504 in float16 and 1.2e77 in float64. The square of an estimate computed from it is
    finite in float64, the precision of `compare`.
    """
    root = float(jnp.finfo(jnp.promote_types(dtype, jnp.float32)).max) ** (0.25 if dtype == jnp.float64 else 0.5)
    return min(float(jnp.finfo(dtype).max), root)


def bounded(losses: jax.Array) -> jax.Array:
    """Replace losses that are not finite or exceed `largest` by `largest`."""
    return jnp.where(_in_bounds(losses), losses, jnp.asarray(largest(losses.dtype), losses.dtype))


def read_window(problem: InnerProblem, losses: jax.Array, state: State) -> Reading:
    """Summarise the losses of a window.

    Args:
      problem: the inner problem.
      losses: the loss of each step, `[length]`.
      state: the state after the last step.
    """
    capped = jnp.zeros((), bool) if problem.cap is None else losses[-1] >= problem.cap(state)
    return Reading(jnp.mean(trees.wide(bounded(losses))), ~jnp.all(_in_bounds(losses)), capped)


def unless_diverged(reading: Reading, derivative: Any) -> Any:
    """Replace the derivative of a window by NaN if one of its losses diverged. Estimators leave such particles out.

    Args:
      reading: the reading of the window.
      derivative: the derivative, any pytree.
    """
    return jax.tree.map(
        lambda leaf: jnp.where(reading.diverged, debugging.unknown(), leaf).astype(leaf.dtype), derivative
    )


def _in_bounds(losses):
    shown = debugging.finite(losses) & ~jnp.isfinite(losses)  # an error in JAX's debugging modes
    return (jnp.abs(losses) < largest(losses.dtype)) | shown


def saturate(problem: InnerProblem, cap: float) -> InnerProblem:
    """Bound the losses of a problem: ℓ' = ℓ if ℓ is finite and below `cap`, else `cap`.

    A run has diverged when a step makes an entry of the state non-finite, or larger than the square root of the
    largest float. From that step to the end of the episode the state is NaN and every loss is the cap. Derivatives of
    capped losses and of diverged steps are exactly zero in forward and reverse mode, whereas a `where` on the loss
    alone would give 0·∞ = NaN.

    Without a cap, the smoothed meta-loss is infinite as soon as a run diverges with positive probability. The cap is
    part of the objective. It defines the loss of a diverged run, for instance as the loss of a network at
    initialisation.

    Args:
      problem: the problem to wrap.
      cap: the largest loss.

    Raises:
      TypeError: the cap is not one real number, or the problem is not an InnerProblem.
      ValueError: the cap is not finite, or the problem is made by `final_loss`.
    """
    check_number("cap", cap)
    check_inner(problem)
    if problem.horizon is not None:
        raise ValueError(
            "The losses of this problem are differences, as those of ml.final_loss, and a cap would bound the "
            "differences. Wrap the other way round: "
            f"ml.final_loss(ml.saturate(problem, cap), {problem.horizon})."
        )
    inner = problem.cap

    return problem._replace(
        step=lambda state, theta, key: capped_step(problem.step, state, theta, key),
        loss=lambda state, theta, key: capped_loss(problem.loss, state, theta, key, cap),
        cap=(lambda state: cap) if inner is None else (lambda state: jnp.minimum(cap, inner(state))),
    )


def capped_step(step, state, theta, key):
    """Take a step, and make the state NaN if the run diverges in this step or has diverged before."""

    def move(state, theta, key):
        moved = step(state, theta, key)
        kept = ~_is_over(state) & _representable(state, moved)
        return kept, jax.tree.map(lambda new, old: _ended(kept, new, old), moved, state)

    return _guarded(move)(state, theta, key)


def capped_loss(loss, state, theta, key, cap):
    """Return the loss if it is finite and below the cap and the run has not diverged, else the cap."""

    def read(state, theta, key, cap):
        value = trees.wide(loss(state, theta, key))  # 16 bits may not hold the cap
        kept = ~_is_over(state) & jnp.isfinite(value) & (value < cap)
        shown = kept | (debugging.finite(value) & ~jnp.isfinite(value))  # an error in JAX's debugging modes
        return kept, jnp.where(shown, value, jnp.asarray(cap, value.dtype))

    return _guarded(read)(state, theta, key, jax.lax.stop_gradient(cap))


def _ended(kept, new, old):
    return jnp.where(kept, new, jnp.full_like(old, jnp.nan) if trees.is_inexact(old) else old)


def _is_over(state):
    """Return whether the run has diverged, that is, whether the first number of every array is NaN."""
    leaves = [leaf for leaf in trees.split_inexact(state)[0] if jnp.size(leaf)]
    first = [jnp.isnan(jnp.ravel(leaf)[0]) for leaf in leaves]
    return jnp.all(jnp.stack(first)) if first else jnp.array(False)


def _guarded(function):
    """Return the function f with a derivative of zero if not `kept`, where `function(*arguments)` is `(kept, f)`.

    Tangents are set to zero before and after the Jacobian is applied, so that zero is not multiplied by an infinite
    Jacobian in either mode. Without derivatives f is computed once.
    """

    @jax.custom_jvp
    def guarded(*arguments):
        return function(*arguments)[1]

    @guarded.defjvp
    def tangent(primals, tangents):
        kept = function(*jax.lax.stop_gradient(primals))[0]
        gate = lambda leaf: leaf if leaf.dtype == jax.dtypes.float0 else jnp.where(kept, leaf, jnp.zeros_like(leaf))
        value = lambda *arguments: function(*arguments)[1]
        still = lambda leaf: (  # the same number, with a gate for second derivatives
            jnp.where(kept, leaf, jax.lax.stop_gradient(leaf)) if trees.is_inexact(leaf) else leaf
        )
        found, slopes = jax.jvp(value, jax.tree.map(still, primals), jax.tree.map(gate, tangents))
        return found, jax.tree.map(gate, slopes)

    return guarded


def _representable(before, after):
    """Return whether the squares of all entries are finite, apart from entries that were too large before the step."""

    def sound(old, new):
        limit = jnp.asarray(max(largest(new.dtype), float(jnp.finfo(new.dtype).max) ** 0.5), new.dtype)
        watched = jnp.where(jnp.abs(old) <= limit, jnp.abs(new), 0)
        return jnp.max(watched, initial=0) <= limit  # four times as fast as all(...); False for NaN

    pairs = zip(trees.split_inexact(before)[0], trees.split_inexact(after)[0])
    kept = [sound(old, new) for old, new in pairs]
    return jnp.all(jnp.stack(kept)) if kept else jnp.array(True)
