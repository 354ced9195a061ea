"""A distribution over problems: every episode draws its own."""

from collections.abc import Callable
from typing import Any

import jax

from metalearn.inner.problem import InnerProblem, Key

Drawn = Any


def task_distribution(make: Callable[[Drawn], InnerProblem], draw: Callable[[Key], Drawn]) -> InnerProblem:
    """The problem `make(ω)` with ω = draw(key) at the start of every episode: L(θ) = E_ω L(θ; ω).

    ω rides in the state, so that estimators, dynamics and landscapes see one problem; shapes may not depend on it. Sizes
    that do (widths, depths) are problems of their own: see `ml.mixture`.

    Args:
      make: `ω -> InnerProblem`, traceable: an initial scale, a number of examples, a learning rate of the task.
      draw: `key -> ω`, a pytree of arrays.

    Raises:
      TypeError: `make` returns no InnerProblem, or one of the two is no function.
    """
    for name, function in (("make", make), ("draw", draw)):
        if not callable(function):
            raise TypeError(f"{name} must be a function; {function!r} was given.")

    def at(drawn) -> InnerProblem:
        made = make(drawn)
        if not isinstance(made, InnerProblem):
            raise TypeError(f"make must return an InnerProblem; it returned a {type(made).__name__}.")
        return made

    def init(theta, key):
        key_draw, key_start = jax.random.split(key)
        drawn = draw(key_draw)
        return drawn, at(drawn).init(theta, key_start)

    def step(carry, theta, key):
        drawn, state = carry
        return drawn, at(drawn).step(state, theta, key)

    def loss(carry, theta, key):
        drawn, state = carry
        return at(drawn).loss(state, theta, key)

    return InnerProblem(init, step, loss)
