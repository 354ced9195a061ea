"""Schedules whose arguments depend on θ.

A schedule factory returns a function `theta -> optax schedule`, where an optax schedule is a function `count -> value`.
Optax's own schedules compare some of their arguments with numbers, so that these arguments cannot be traced. Here all
arguments can be.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import optax

from metalearn.inner.checks import check_choice, check_number, is_known
from metalearn.inner.training.transforms import Hyperparameter, resolve
from metalearn.types import Theta

Schedule = Callable[[Theta], optax.Schedule]


def linear_schedule(start: Hyperparameter, end: Hyperparameter, num_steps: Hyperparameter) -> Schedule:
    """Return a linear schedule: start (1 − f) + end f with f = min(count / num_steps, 1).

    Args:
      start: the value at count 0, a number or a function of θ.
      end: the value from count `num_steps` on, a number or a function of θ.
      num_steps: the number of steps between the two values, above 0; a number or a function of θ.

    Raises:
      TypeError: an argument is neither a number nor a function of θ.
      ValueError: `num_steps` is not positive.
    """
    return _between(start, end, num_steps, lambda start, end, fraction: start * (1 - fraction) + end * fraction)


def log_linear_schedule(start: Hyperparameter, end: Hyperparameter, num_steps: Hyperparameter) -> Schedule:
    """Return a schedule that is linear in the logarithm: start^(1−f) end^f with f = min(count / num_steps, 1).

    Arguments and errors are those of `linear_schedule`. Both values must be positive.

    Args:
      start, end: the positive values at the two ends; numbers or functions of θ.
      num_steps: as in `linear_schedule`.

    Raises:
      TypeError, ValueError: as in `linear_schedule`.
    """

    def interpolate(start, end, fraction):
        return jnp.exp((1 - fraction) * jnp.log(start) + fraction * jnp.log(end))

    return _between(start, end, num_steps, interpolate, positive=True)


def cosine_schedule(start: Hyperparameter, end: Hyperparameter, num_steps: Hyperparameter) -> Schedule:
    """Return a cosine schedule: end + (start − end) (1 + cos πf) / 2 with f = min(count / num_steps, 1).

    Arguments and errors are those of `linear_schedule`.

    Args:
      start, end, num_steps: as in `linear_schedule`.

    Raises:
      TypeError, ValueError: as in `linear_schedule`.

    References:
      Loshchilov & Hutter, SGDR: stochastic gradient descent with warm restarts, 2017, arXiv 1608.03983.
    """

    def interpolate(start, end, fraction):
        return end + (start - end) * (1 + jnp.cos(jnp.pi * fraction)) / 2

    return _between(start, end, num_steps, interpolate)


def inverse_time_schedule(start: Hyperparameter, rate: Hyperparameter) -> Schedule:
    """Return the schedule start / (1 + rate · count).

    Args:
      start: the value at count 0, a number or a function of θ.
      rate: the decay rate, at least 0; a number or a function of θ. At count 1/rate the value is start/2.

    Raises:
      TypeError: an argument is neither a number nor a function of θ.
      ValueError: `rate` is negative.
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
    """Return a piecewise linear or piecewise constant schedule.

    With "linear", the value is values[i] at count boundaries[i], linear between the boundaries and constant outside.
    There are as many values as boundaries. With "constant", the value is values[0] before boundaries[0] and values[i]
    from count boundaries[i−1] on. There is one value more than boundaries. JAX's derivative of a piecewise constant
    schedule with respect to its boundaries is zero.

    Args:
      values: numbers or functions of θ, or one function of θ that returns all values, such as `exp("rates")` of an
        array.
      boundaries: increasing counts, numbers or functions of θ.
      interpolation: "linear" or "constant".

    Raises:
      TypeError: an entry is neither a number nor a function of θ.
      ValueError: the interpolation is unknown, there are no boundaries, the lengths do not fit, or the boundaries do
        not increase.
    """
    check_choice("interpolation", interpolation, ("linear", "constant"))
    wanted = len(boundaries) + (interpolation == "constant")
    if not len(boundaries):
        raise ValueError(
            "boundaries must have at least one entry; none was given. Use a number instead of a schedule if the value "
            "is constant."
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
    """Convert a count to the default float type. Dividing an integer would give float32 in float64 programs too."""
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
