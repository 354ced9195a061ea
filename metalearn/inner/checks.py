"""Checks of arguments, with error messages that name the argument.

The value of a traced argument is unknown, so its range is not checked.
"""

import operator
from collections.abc import Collection, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


def is_known(value) -> bool:
    """Return whether the numbers of a value can be read, that is, whether no part of it is traced."""
    return not any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(value))


def check_number(
    name: str, value: Any, low: float | None = None, high: float | None = None, *, open_low=False, open_high=False
) -> None:
    """Check that a value is a single finite real number between `low` and `high`.

    Args:
      name: the name of the argument; error messages begin with it.
      value: the value to check; the range of a traced number is not checked.
      low, high: the bounds; None for no bound.
      open_low, open_high: whether the bound itself is not allowed.

    Raises:
      TypeError: the value is not a single real number.
      ValueError: the value is not finite or out of range.
    """
    array = hasattr(value, "dtype") or isinstance(value, int | float | complex | list | tuple)
    numbers: Any = value
    try:
        numbers = np.asarray(value) if isinstance(value, list | tuple) else value
        shape, dtype = (jnp.shape(numbers), jnp.result_type(numbers)) if array else (None, None)
    except (TypeError, ValueError):
        shape, dtype = None, None
    real = dtype is not None and (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer))
    if shape != () or not real or isinstance(value, bool):
        given = f"an array of shape {shape}" if real and shape else f"{value!r} (a {type(value).__name__})"
        raise TypeError(f"{name} must be one real number; {given} was given.")
    if not is_known(value):
        return
    number = float(numbers)
    below = low is not None and (number <= low if open_low else number < low)
    above = high is not None and (number >= high if open_high else number > high)
    if below or above or number != number or number in (float("inf"), float("-inf")):
        left = "(-inf" if low is None else f"{'(' if open_low else '['}{low:g}"
        right = "inf)" if high is None else f"{high:g}{')' if open_high else ']'}"
        allowed = "finite number" if low is None and high is None else f"number in {left}, {right}"
        raise ValueError(f"{name} must be a {allowed}; {number:g} was given.")


LARGEST_COUNT = 2**31 - 1  # steps, trials and particles are counted, and folded into keys, as 32-bit integers
LARGEST_BATCH = 2**24  # pairs or episodes: float32 counts exactly up to here
LARGEST_SEED = 2**32 - 1


def check_bool(name: str, value) -> None:
    """Check that a value is a bool.

    Raises:
      TypeError: the value is not a bool.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be true or false; {value!r} was given.")


def check_count(name: str, value, low: int = 1, high: int = LARGEST_COUNT) -> None:
    """Check that a value is a whole number from `low` to `high`.

    Args:
      name: the name of the argument; error messages begin with it.
      value: the value to check.
      low, high: the smallest and the largest allowed number.

    Raises:
      TypeError: the value is not a whole number.
      ValueError: the value is below `low` or above `high`.
    """
    try:
        whole = operator.index(value)
    except TypeError:
        whole = None
    if whole is None or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number; {value!r} was given.")
    if value < low:
        raise ValueError(f"{name} must be at least {low}; {value} was given.")
    if value > high:
        raise ValueError(f"{name} must be at most {high}; {value} was given.")


def check_seed(name: str, value) -> int:
    """Check a seed and return it as a Python integer.

    A seed must fit into 32 bits, because JAX keeps only the last 32 bits and a larger seed would repeat a smaller one.

    Raises:
      TypeError: the value is not a whole number.
      ValueError: the value is outside of 0 … 2³² − 1.
    """
    check_count(name, value, 0, LARGEST_SEED)
    return operator.index(value)


def scalar(name: str, value: Any) -> Any:
    """Check that the value returned by a function is one real floating-point scalar, and return it.

    Raises:
      TypeError: the value is not such a scalar, for instance a loss with an auxiliary output.
    """
    number = hasattr(value, "dtype") or isinstance(value, int | float | complex)
    shape, dtype = (jnp.shape(value), jnp.result_type(value)) if number else (None, None)
    if isinstance(value, tuple | list | dict):
        raise TypeError(
            f"{name} must return one real floating-point scalar; it returned a {type(value).__name__} of length "
            f"{len(value)}. Return the loss alone, without auxiliary outputs."
        )
    if shape != () or dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        given = f"a {type(value).__name__}" if dtype is None else f"shape {shape} and dtype {dtype}"
        raise TypeError(
            f"{name} must return one real floating-point scalar; it returned {given}. Take its mean, or convert it."
        )
    return value


def check_choice(name: str, value, allowed: Collection[str]) -> None:
    """Check that a value is one of the allowed names.

    Raises:
      ValueError: the value is not an allowed name.
    """
    if not isinstance(value, Hashable) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(sorted(allowed))}; {value!r} was given.")


def refusal(function, *arguments) -> str:
    """Return the first line of the error that tracing a function raises, or "" if it can be traced.

    Tracing a derivative shows whether a function can be differentiated, without computing anything.
    """
    try:
        jax.eval_shape(function, *arguments)
    except Exception as error:
        return summarize_error(error)
    return ""


def summarize_error(error: BaseException) -> str:
    """Return the first line of an error, preceded by the error's type unless that is a common one."""
    line = (str(error).strip().splitlines() or [""])[0]
    if not line:
        return type(error).__name__
    plain = isinstance(error, (TypeError, ValueError, NotImplementedError))
    return line if plain else f"{type(error).__name__}: {line}"
