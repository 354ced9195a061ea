"""The observables of a study by name: one of them is minimised, others are watched."""

import math
from collections.abc import Mapping
from typing import Any

import jax

from metalearn.compilation import jit
from metalearn.inner.problem import InnerProblem, check_problem
from metalearn.words import suggestion

LOSS, HELD_OUT = "loss", "held_out"


def observable_names(study: Any) -> list[str]:
    """Return the names of all readings: the loss, the held-out loss if there is one, and the observables.

    Args:
      study: an `ml.Study`.
    """
    return [LOSS, *([HELD_OUT] if study.held_out is not None else []), *(study.observables or {})]


def observe(study: Any, name: str, role: str = "The observable") -> InnerProblem:
    """Return the problem of a study with another observable as its loss.

    Args:
      study: the study.
      name: "loss", "held_out" or a name of its observables.
      role: the purpose of the observable; error messages begin with it.

    Raises:
      ValueError: the study has no such observable.
    """
    if name not in (known := observable_names(study)):
        raise ValueError(
            f"{role} must be an observable of the problem{suggestion(str(name), known)}; it has: {', '.join(known)}, and "
            f"{name!r} was given. A study of your own names others: ml.Study(..., observables={{name: function}})."
        )
    if name == HELD_OUT:
        return study.held_out
    return study.problem if name == LOSS else with_loss(study.problem, study.observables[name])


def with_loss(problem: InnerProblem, loss: Any) -> InnerProblem:
    """Return a problem with another loss, without the cap of the old loss."""
    return problem._replace(loss=loss, cap=None)


def check_finite(study: Any, name: str, role: str) -> None:
    """Check that an observable is finite after the first step of an episode at the initial θ.

    Raises:
      ValueError: it is not.
    """
    problem, (start, steps) = observe(study, name, role), jax.random.split(jax.random.key(0))

    def first(theta):
        state = problem.step(problem.init(theta, start), theta, steps)
        return problem.loss(state, theta, steps)

    value = float(jit(first, "a first reading", calls=1)(study.theta))
    if not math.isfinite(value):
        raise ValueError(
            f"{role} must be finite at the start; {name!r} is {value:g} after the first step at the initial theta."
        )


def check_observables(study: Any) -> None:
    """Check the observables of a study.

    Raises:
      TypeError: the observables are not a mapping to functions, or one does not return one real number.
      ValueError: an observable is called "loss" or "held_out".
    """
    if study.observables is None:
        return
    if not isinstance(study.observables, Mapping):
        raise TypeError(
            f'observables must be functions by name, {{"clean": function}}; {study.observables!r} was given.'
        )
    for name, function in study.observables.items():
        if not isinstance(name, str) or not callable(function):
            raise TypeError(f"observables must be functions (state, theta, key) -> scalar by name; {name!r} is not.")
        if name in (LOSS, HELD_OUT):
            raise ValueError(f"An observable cannot be called {name!r}, which is the {name} of the study itself.")
        try:
            check_problem(with_loss(study.problem, function), study.theta)
        except TypeError as error:
            raise TypeError(f"The observable {name!r} must return one real number. {error}") from error
