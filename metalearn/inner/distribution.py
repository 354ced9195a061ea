"""A distribution over problems: every episode draws its own."""

import dataclasses
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

    def at(carry) -> InnerProblem:
        made = make(draw(jax.random.wrap_key_data(carry[0], impl=carry[2].name)))
        if not isinstance(made, InnerProblem):
            raise TypeError(f"make must return an InnerProblem; it returned a {type(made).__name__}.")
        return made

    def init(theta, key):
        key_draw, key_start = jax.random.split(key)
        carry = jax.random.key_data(key_draw), None, _Kind(jax.random.key_impl(key))
        return carry[0], at(carry).init(theta, key_start), carry[2]

    def step(carry, theta, key):
        return carry[0], at(carry).step(carry[1], theta, key), carry[2]

    def loss(carry, theta, key):
        return at(carry).loss(carry[1], theta, key)

    def cap(carry):
        return at(carry).cap(carry[1])  # pyright: ignore[reportOptionalCall]

    horizon, capped = _form(make, draw)
    return InnerProblem(init, step, loss, horizon, cap if capped else None)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Kind:
    """The kind of the key, a constant in the state: without numbers."""

    name: Any = dataclasses.field(metadata={"static": True})


def _form(make, draw) -> tuple[int | None, bool]:
    """The horizon that the problems are made for, and whether they have a cap."""
    found = []
    try:
        jax.eval_shape(lambda key: found.append(make(draw(key))), jax.random.key(0))
        return found[0].horizon, found[0].cap is not None
    except Exception:  # what cannot be traced is said in a sentence by `check_problem`
        return None, False
