"""Hyperparameters as functions of θ: entries of θ behind a transform, and schedules whose knots depend on θ.

θ is unconstrained, so the transform to a positive number or to an interval sits here. A schedule factory returns
`theta -> (count -> value)`, a function of θ returning an optax schedule. optax's own compare some of their arguments
with numbers and cannot be traced there; these can.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metalearn.inner.checks import check_choice, check_number, is_known
from metalearn.types import Theta

Hyperparameter = Any  # a number, or a function of θ returning one
Schedule = Callable[[Theta], optax.Schedule]
Name = Any  # a dictionary key, a field of a named tuple, an index into an array or a sequence, or a path of those


def resolve(hyperparameter: Hyperparameter, theta: Theta) -> Any:
    """The value at θ: a function of θ is called, everything else is what it is."""
    return hyperparameter(theta) if callable(hyperparameter) else hyperparameter


def value(name: Name) -> Callable[[Theta], jax.Array]:
    """θ ↦ θ[name].

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
    """θ ↦ exp(θ[name]): θ holds the natural logarithm of a positive number."""
    read = value(name)
    return lambda theta: jnp.exp(read(theta))


def exp10(name: Name) -> Callable[[Theta], jax.Array]:
    """θ ↦ 10^θ[name]: θ holds the decimal logarithm of a positive number."""
    read = value(name)
    return lambda theta: 10.0 ** read(theta)


def sigmoid(name: Name, low: float = 0.0, high: float = 1.0) -> Callable[[Theta], jax.Array]:
    """θ ↦ low + (high − low) / (1 + exp(−θ[name])): a number between `low` and `high`.

    In floating point the bounds themselves are reached. For Adam keep `high` below 1, such as 0.9999: with b2 = 1 it
    divides by zero.

    Raises:
      ValueError: `low` is not below `high`.
    """
    if not low < high:
        raise ValueError(f"logit needs low < high; low {low} and high {high} were given.")
    read = value(name)
    return lambda theta: low + (high - low) * jax.nn.sigmoid(read(theta))


def linear_schedule(start: Hyperparameter, end: Hyperparameter, num_steps: Hyperparameter) -> Schedule:
    """From `start` at count 0 to `end` at count `num_steps`, then constant: start (1 − f) + end f, f = min(count /
    num_steps, 1).

    Args:
      start, end: the two values.
      num_steps: how many steps lie between them, more than 0; a function of θ as well.

    Raises:
      TypeError: an argument is neither a number nor a function of θ.
      ValueError: `num_steps` is not positive.
    """
    return _between(start, end, num_steps, lambda start, end, fraction: start * (1 - fraction) + end * fraction)


def log_linear_schedule(start: Hyperparameter, end: Hyperparameter, num_steps: Hyperparameter) -> Schedule:
    """From `start` to `end` geometrically, then constant: start^(1−f) end^f, f = min(count / num_steps, 1).

    Args and errors as in `linear_schedule`; both values are positive.
    """

    def interpolate(start, end, fraction):
        return jnp.exp((1 - fraction) * jnp.log(start) + fraction * jnp.log(end))

    return _between(start, end, num_steps, interpolate, positive=True)


def cosine_schedule(start: Hyperparameter, end: Hyperparameter, num_steps: Hyperparameter) -> Schedule:
    """From `start` to `end` along half a cosine, then constant: end + (start − end) (1 + cos πf) / 2, f = min(count /
    num_steps, 1).

    Args and errors as in `linear_schedule`.

    References:
      Loshchilov & Hutter, SGDR: stochastic gradient descent with warm restarts, 2017, arXiv 1608.03983.
    """

    def interpolate(start, end, fraction):
        return end + (start - end) * (1 + jnp.cos(jnp.pi * fraction)) / 2

    return _between(start, end, num_steps, interpolate)


def inverse_time_schedule(start: Hyperparameter, rate: Hyperparameter) -> Schedule:
    """start / (1 + rate · count), for ever.

    Args:
      start: the value at count 0.
      rate: at least 0; after 1/rate steps the value has halved.

    Raises:
      TypeError: an argument is neither a number nor a function of θ.
      ValueError: the rate is negative.
    """
    _check("start", start)
    _check("rate", rate, 0)

    def at(theta):
        first, decay = resolve(start, theta), resolve(rate, theta)
        return lambda count: first / (1 + decay * _real(count))

    return at


def piecewise_schedule(
    values: Sequence[Hyperparameter] | Callable[[Theta], Any],
    boundaries: Sequence[Hyperparameter],
    interpolation: str = "linear",
) -> Schedule:
    """A schedule through knots.

    "linear": values[i] at count boundaries[i], straight lines between, constant outside; as many values as boundaries.
    "constant": values[0] before boundaries[0], values[i] from count boundaries[i−1] on; one value more. A constant
    piece has no derivative by its boundaries.

    Args:
      values: numbers or functions of θ; or one function of θ returning all of them, such as `log("rates")` of an array.
      boundaries: increasing counts; numbers or functions of θ.
      interpolation: "linear" or "constant".

    Raises:
      TypeError: an entry is neither a number nor a function of θ.
      ValueError: the interpolation is unknown, the lengths do not fit, or the boundaries do not increase.
    """
    check_choice("interpolation", interpolation, ("linear", "constant"))
    wanted = len(boundaries) + (interpolation == "constant")
    if not len(boundaries):
        raise ValueError(
            "piecewise needs at least one boundary; none was given. Give the number itself where nothing changes."
        )
    if not callable(values):
        _check_length(len(values), wanted, interpolation)
        for entry in values:
            _check("Every one of values", entry)
    for boundary in boundaries:
        _check("Every one of boundaries", boundary)
    known = [float(boundary) for boundary in boundaries if not callable(boundary) and is_known(boundary)]
    if any(later <= earlier for earlier, later in itertools.pairwise(known)):
        raise ValueError(f"boundaries must increase; {known} were given.")

    def at(theta):
        knots = list(values(theta)) if callable(values) else [resolve(entry, theta) for entry in values]
        _check_length(len(knots), wanted, interpolation)
        edges = [resolve(boundary, theta) for boundary in boundaries]
        return lambda count: _interpolate(_real(count), knots, edges, interpolation)

    return at


def _real(count):
    """A count in the default float: an integer divided would be float32 in float64 programs too."""
    return jnp.asarray(count, jnp.result_type(float))


def _interpolate(count, knots, edges, interpolation):
    result = jnp.asarray(knots[0])
    if interpolation == "constant":
        for edge, knot in zip(edges, knots[1:]):
            result = jnp.where(count >= edge, knot, result)
        return result
    for left, right, before, after in zip(edges, edges[1:], knots, knots[1:]):
        fraction = (count - left) / (right - left)
        line = before * (1 - fraction) + after * fraction
        result = jnp.where(count >= right, after, jnp.where(count >= left, line, result))
    return result


def _between(start, end, num_steps, interpolate, positive=False):
    for name, knot in (("start", start), ("end", end)):
        _check(name, knot, 0 if positive else None, open_low=positive)
    _check("num_steps", num_steps, 0, open_low=True)

    def at(theta):
        first, last, length = (resolve(argument, theta) for argument in (start, end, num_steps))
        return lambda count: interpolate(first, last, jnp.clip(_real(count) / length, 0, 1))

    return at


def _check(name, hyperparameter, low=None, *, open_low=False):
    if not callable(hyperparameter):
        check_number(name, hyperparameter, low, open_low=open_low)


def _check_length(given, wanted, interpolation):
    if given != wanted:
        raise ValueError(
            f"With {interpolation} interpolation these boundaries need {wanted} values; {given} were given."
        )


def _entry(theta, step, name):
    """One step of a path; an index out of range is an error here, where JAX would silently read the last entry."""
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
    raise KeyError(f"theta has no entry {step!r} (asked for as {name!r}); it has {has}.")
