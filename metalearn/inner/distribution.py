"""A distribution over problems. Every episode draws its own problem."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from metalearn.inner.problem import InnerProblem
from metalearn.types import Key

Drawn = Any


def task_distribution(make: Callable[[Drawn], InnerProblem], draw: Callable[[Key], Drawn]) -> InnerProblem:
    """Average a problem over a distribution of tasks: every episode runs `make(ω)` with ω = draw(key).

    The meta-loss is L(θ) = E_ω L(θ; ω). The state contains the key of ω as integers, and every step draws ω from it
    again. Estimators, Lyapunov exponents and landscapes therefore treat the distribution as one problem, whose state
    has no additional floating-point entries. Shapes must not depend on ω. For tasks of different sizes (widths, depths)
    use `ml.mixture`.

    Args:
      make: `ω -> InnerProblem`, traceable. ω may be an initial scale, a number of examples or a learning rate.
      draw: `key -> ω`, a pytree of arrays.

    Raises:
      TypeError: `make` or `draw` is not a function. The functions of the problem raise it if `make` does not return an
        InnerProblem.
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
    """The random number implementation of the key, as a static entry of the state."""

    name: Any = dataclasses.field(metadata={"static": True})


def _form(make, draw) -> tuple[int | None, bool]:
    """Return the horizon that the problems are made for, and whether they have a cap."""
    found = []
    try:
        jax.eval_shape(lambda key: found.append(make(draw(key))), jax.random.key(0))
        return found[0].horizon, found[0].cap is not None
    except Exception:  # `check_problem` reports a problem that cannot be traced
        return None, False
