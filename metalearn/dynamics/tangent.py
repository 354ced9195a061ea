"""One step of an inner problem and its derivative, for states of any structure.

Only the floating-point entries of a state have tangents; counters and keys do not. Tangents are the columns of a matrix
`[n, k]`, where n is the number of floating-point entries of the state.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import debugging, trees
from metalearn.inner.differentiable import FORWARD, check_derivative
from metalearn.inner.problem import InnerProblem, split_episode, take_step
from metalearn.types import Key, State, Theta


class Episode(NamedTuple):
    """The first state of an orbit, and the key of its steps: `fold_in(steps, t)` is the key of step t."""

    state: State
    steps: Key


def start(problem: InnerProblem, theta: Theta, key: Key) -> Episode:
    """Return s_0, which is drawn from the key of an episode as in the estimators, and the key of the steps."""
    first, steps = split_episode(key)
    return Episode(trees.strong(problem.init(theta, first)), steps)


def flatten_state(state: State) -> jax.Array:
    """Return the floating-point entries of a state, `[n]`."""
    return ravel_pytree(trees.split_inexact(state)[0])[0]


def step_and_push(
    problem: InnerProblem, state: State, theta: Theta, key: Key
) -> tuple[State, Callable[[jax.Array], jax.Array]]:
    """Return F(s, θ) and the function V → J V for V `[n, k]`, with J = ∂F/∂s at s."""
    inexact, rest = trees.split_inexact(state)
    vector, unravel = ravel_pytree(inexact)

    def move(vector):
        moved = take_step(problem, trees.merge_inexact(unravel(vector), rest), theta, key)
        return flatten_state(moved), moved

    _, push, moved = jax.linearize(move, vector, has_aux=True)
    return moved, jax.vmap(push, in_axes=1, out_axes=1)


def check_step(name: str, problem: InnerProblem, state: State, theta: Theta, key: Key) -> None:
    """Check that the step has a derivative in forward mode with respect to the state.

    Raises:
      TypeError: the step can be traced, but its derivative cannot.
    """

    def derivative(state, theta, key):
        return step_and_push(problem, state, theta, key)[1](flatten_state(state)[:, None])

    check_derivative(name, FORWARD, derivative, problem.step, state, theta, key)


def outside(state: State, bound: float) -> jax.Array:
    """Return whether an entry of the state is not finite or exceeds the bound in absolute value."""
    largest = trees.wide(jnp.max(jnp.abs(flatten_state(state)), initial=0.0))
    return jnp.where(jnp.isfinite(largest), largest > bound, ~debugging.finite(largest))


def is_finite(state: State) -> jax.Array:
    """Return whether all floating-point entries of the state are finite."""
    return jnp.all(debugging.finite(flatten_state(state)))


def keep_where(alive: jax.Array, new, old):
    """Return `new` where `alive` is true and `old` elsewhere; leaves may be typed keys."""
    return jax.tree.map(
        lambda a, b: jax.lax.select(alive, a, b) if trees.is_key(a) else jnp.where(alive, a, b), new, old
    )
