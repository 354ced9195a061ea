"""A distribution over problems: every episode draws its own."""

from collections.abc import Callable
from typing import Any

import jax

from metalearn.inner.problem import InnerProblem
from metalearn.types import Key

Drawn = Any


def task_distribution(make: Callable[[Drawn], InnerProblem], draw: Callable[[Key], Drawn]) -> InnerProblem:
    """The problem `make(ω)` with ω = draw(key) at the start of every episode: L(θ) = E_ω L(θ; ω).

    The key of ω rides in the state as integers, and ω is drawn from it again in every step: estimators, exponents and
    landscapes see one problem, and no direction of the state in which nothing moves. Shapes may not depend on ω; sizes
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

    def at(data, key) -> InnerProblem:
        made = make(draw(jax.random.wrap_key_data(data, impl=jax.random.key_impl(key))))
        if not isinstance(made, InnerProblem):
            raise TypeError(f"make must return an InnerProblem; it returned a {type(made).__name__}.")
        return made

    def init(theta, key):
        key_draw, key_start = jax.random.split(key)
        data = jax.random.key_data(key_draw)
        return data, at(data, key).init(theta, key_start)

    def step(carry, theta, key):
        data, state = carry
        return data, at(data, key).step(state, theta, key)

    def loss(carry, theta, key):
        data, state = carry
        return at(data, key).loss(state, theta, key)

    return InnerProblem(init, step, loss, _horizon(make, draw))


def _horizon(make, draw) -> int | None:
    """The horizon that the problems are made for."""
    found = []
    try:
        jax.eval_shape(lambda key: found.append(make(draw(key)).horizon), jax.random.key(0))
    except Exception:  # what cannot be traced is said in a sentence by `check_problem`
        return None
    return found[0]
