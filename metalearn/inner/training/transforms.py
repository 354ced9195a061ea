"""Hyperparameters as transforms of entries of θ.

θ is unconstrained, so the transforms map its entries to positive numbers or to an interval.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metalearn.types import Theta

Hyperparameter = Any  # a number, or a function of θ returning one
Name = Any  # a dictionary key, a field of a named tuple, an index into an array or a sequence, or a tuple of these


def resolve(hyperparameter: Hyperparameter, theta: Theta) -> Any:
    """Return the value of a hyperparameter at θ: a function is called with θ, anything else is returned as it is."""
    return hyperparameter(theta) if callable(hyperparameter) else hyperparameter


def value(name: Name) -> Callable[[Theta], jax.Array]:
    """Return the function θ ↦ θ[name].

    The function raises a KeyError if θ has no such entry.

    Args:
      name: a dictionary key, a field of a named tuple, an index into an array or a sequence, or a tuple of these as a
        path.
    """
    path = name if isinstance(name, tuple) else (name,)

    def read(theta):
        for step in path:
            theta = _entry(theta, step, name)
        return theta

    return read


def exp(name: Name) -> Callable[[Theta], jax.Array]:
    """Return the function θ ↦ exp(θ[name]), where θ holds the natural logarithm of a positive number.

    Args:
      name: as in `value`.
    """
    read = value(name)
    return lambda theta: jnp.exp(read(theta))


def exp10(name: Name) -> Callable[[Theta], jax.Array]:
    """Return the function θ ↦ 10^θ[name], where θ holds the decimal logarithm of a positive number.

    Args:
      name: as in `value`.
    """
    read = value(name)
    return lambda theta: 10.0 ** read(theta)


def sigmoid(name: Name, low: float = 0.0, high: float = 1.0) -> Callable[[Theta], jax.Array]:
    """Return the function θ ↦ low + (high − low) / (1 + exp(−θ[name])): a number between `low` and `high`.

    In floating point the bounds themselves can be reached. For the decay rates of Adam choose `high` below 1, such as
    0.9999, because Adam divides by zero if b2 = 1.

    Args:
      name: as in `value`.
      low, high: the bounds.

    Raises:
      ValueError: `low` is not below `high`.
    """
    if not low < high:
        raise ValueError(f"low must be below high; low = {low} and high = {high} were given.")
    read = value(name)
    return lambda theta: low + (high - low) * jax.nn.sigmoid(read(theta))


def _entry(theta, step, name):
    """Return an entry of θ. An index out of range raises an error, where JAX would silently return the last entry."""
    if isinstance(theta, dict):
        if step in theta:
            return theta[step]
        has = ", ".join(map(repr, theta))
    elif isinstance(step, str):
        if hasattr(theta, "_fields") and step in theta._fields:
            return getattr(theta, step)
        has = ", ".join(getattr(theta, "_fields", ())) or f"no names: it is a {type(theta).__name__}"
    else:
        length = len(theta) if isinstance(theta, (tuple, list)) else (jnp.shape(theta) or (0,))[0]
        if -length <= step < length:
            return theta[step]
        has = f"{length} entries"
    raise KeyError(f"theta has no entry {step!r} (given as {name!r}); it has {has}.")
