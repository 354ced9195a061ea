"""One step of an inner problem and its derivative, for states of any structure.

Only the floating-point part of a state has a tangent; counters and keys travel beside it. Tangents are columns of a
matrix [n, k], n the number of floating-point entries of the state.
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
    """Where an orbit starts, and the key of its steps: `fold_in(steps, t)` is the key of step t."""

    state: State
    steps: Key


def start(problem: InnerProblem, theta: Theta, key: Key) -> Episode:
    """s_0, drawn as every estimator draws it from the key of an episode."""
    first, steps = split_episode(key)
    return Episode(trees.strong(problem.init(theta, first)), steps)


def flatten_state(state: State) -> jax.Array:
    """The floating-point entries of a state, [n]."""
    return ravel_pytree(trees.split_inexact(state)[0])[0]


def step_and_push(
    problem: InnerProblem, state: State, theta: Theta, key: Key
) -> tuple[State, Callable[[jax.Array], jax.Array]]:
    """F(s, θ) and V → J V, J = ∂F/∂s at s, for V [n, k]."""
    inexact, rest = trees.split_inexact(state)
    vector, unravel = ravel_pytree(inexact)

    def move(vector):
        moved = take_step(problem, trees.merge_inexact(unravel(vector), rest), theta, key)
        return flatten_state(moved), moved

    _, push, moved = jax.linearize(move, vector, has_aux=True)
    return moved, jax.vmap(push, in_axes=1, out_axes=1)


def check_step(name: str, problem: InnerProblem, state: State, theta: Theta, key: Key) -> None:
    """Refuse a step without a derivative with respect to the state.

    Raises:
      TypeError: the step can be traced, its derivative cannot.
    """

    def derivative(state, theta, key):
        return step_and_push(problem, state, theta, key)[1](flatten_state(state)[:, None])

    check_derivative(name, FORWARD, derivative, problem.step, state, theta, key)


def outside(state: State, bound: float) -> jax.Array:
    """Whether some entry of the state is not finite or larger than the bound."""
    largest = trees.wide(jnp.max(jnp.abs(flatten_state(state)), initial=0.0))
    return jnp.where(jnp.isfinite(largest), largest > bound, ~debugging.finite(largest))


def is_finite(state: State) -> jax.Array:
    """Whether all floating-point entries of the state are finite."""
    return jnp.all(debugging.finite(flatten_state(state)))


def keep_where(alive: jax.Array, new, old):
    """`new` while the orbit lives, `old` from then on; keys, too."""
    return jax.tree.map(
        lambda a, b: jax.lax.select(alive, a, b) if trees.is_key(a) else jnp.where(alive, a, b), new, old
    )
