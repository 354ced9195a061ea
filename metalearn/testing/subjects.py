"""The arguments of `verify`: factories of estimators, factories of pairs of functions, and plain functions."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from metalearn.estimators.base import GradientEstimator
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation

FORMS = (
    "make_estimator(problem, truncation, sigma, num_pairs), which returns a GradientEstimator or a pair (init, "
    "estimate), or gradient(problem, theta, key)"
)


class Subject(NamedTuple):
    """The estimator to verify.

    Attributes:
      build: `(problem, truncation, sigma, num_pairs) -> (init, estimate)`.
      whole: whether one estimate sees a whole episode.
      counts: whether it takes a number of pairs.
    """

    build: Callable[[InnerProblem, Truncation, float, int], tuple[Callable, Callable]]
    whole: bool
    counts: bool


def parse_subject(given: Any, claim: str) -> Subject:
    """Return the estimator to verify.

    Raises:
      TypeError: `given` is not a function, or takes other arguments.
      ValueError: a plain function without an argument sigma claims a smoothed gradient.
    """
    if isinstance(given, tuple):
        raise TypeError(
            f"verify runs an estimator on built-in problems, so it needs a function that builds one: {FORMS}; a "
            f"{type(given).__name__} was given. For an estimator of your problem use ml.compare."
        )
    if not callable(given):
        raise TypeError(f"verify needs {FORMS}; {given!r} was given.")
    names = inspect.signature(given).parameters
    if "theta" in names:
        return _plain(given, names, claim)
    for order in (_positions, _keywords):
        if _accepts(given, *order(None, None, 1.0, 1)):
            return Subject(functools.partial(_make, given, order), False, True)
    raise TypeError(
        f"verify needs {FORMS}; {_name(given)}({', '.join(names)}) was given. Adapt it, for example with lambda problem, "
        "truncation, sigma, num_pairs: ml.backprop(problem, truncation, num_particles=num_pairs)."
    )


def count_particles(
    subject: Subject, problem: InnerProblem, truncation: Truncation, sigma: float, num_pairs: int
) -> int:
    """Return the number of particles that an estimate averages, as far as it is known."""
    init = subject.build(problem, truncation, sigma, num_pairs)[0]
    return getattr(init, "num_particles", num_pairs)


class _Init(NamedTuple):
    """The `init` of a described estimator."""

    function: Callable
    num_particles: int

    def __call__(self, theta, key):
        return self.function(theta, key)


def _plain(given, names, claim) -> Subject:
    if claim != "unsmoothed" and "sigma" not in names:
        raise ValueError(
            f'{_name(given)}({", ".join(names)}) cannot be verified as "{claim}", because it does not take the standard '
            'deviation of the smoothing. Give it an argument sigma, or claim "unsmoothed".'
        )

    def build(problem, truncation, sigma, num_pairs):
        more = {"truncation": truncation, "sigma": sigma, "num_pairs": num_pairs}
        more = {name: value for name, value in more.items() if name in names}
        return lambda theta, key: (), lambda theta, state, key: (
            given(problem=problem, theta=theta, key=key, **more),
            state,
        )

    wanted = {"problem", "theta", "key", *({"truncation", "sigma", "num_pairs"} & set(names))}
    if not _accepts(given, (), dict.fromkeys(wanted)):
        raise TypeError(
            f"A plain function must be gradient(problem, theta, key), with arguments truncation, sigma and num_pairs if it "
            f"needs them; {_name(given)}({', '.join(names)}) was given."
        )
    return Subject(build, True, "num_pairs" in names)


def _positions(*settings) -> tuple[tuple, dict[str, Any]]:
    return settings, {}


def _keywords(problem, truncation, sigma, num_pairs) -> tuple[tuple, dict[str, Any]]:
    return (problem, truncation), {"sigma": sigma, "num_pairs": num_pairs}


def _make(given, order, *settings) -> tuple[Callable, Callable]:
    arguments, keywords = order(*settings)
    return _pair(given(*arguments, **keywords))


def _pair(made: Any) -> tuple[Callable, Callable]:
    if isinstance(made, GradientEstimator):
        about = made.description
        init = made.init if about is None else _Init(made.init, about.num_particles)
        return init, made.estimate
    if not (isinstance(made, tuple) and len(made) >= 2 and callable(made[0]) and callable(made[1])):
        raise TypeError(
            f"make_estimator must return a GradientEstimator, or a pair of functions (init, estimate); it returned {made!r}."
        )
    return made[0], made[1]


def unpack_estimate(result: Any, theta: Any) -> tuple[Any, Any]:
    """Return the gradient and the state of `estimate`, which may return more.

    Raises:
      TypeError: it returned another value, or a gradient without the shape of θ.
    """
    if not isinstance(result, tuple) or len(result) < 2:
        raise TypeError(
            f"estimate must return (gradient, state) or (gradient, state, metrics); it returned {result!r}."
        )
    shapes = lambda tree: (jax.tree.structure(tree), [jax.numpy.shape(leaf) for leaf in jax.tree.leaves(tree)])
    if shapes(result[0]) != shapes(theta):
        raise TypeError(
            f"The gradient must have the shape of theta, which is {jax.numpy.shape(theta)}; it is {result[0]!r}."
        )
    return result[0], result[1]


def _accepts(function, arguments, keywords) -> bool:
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def _name(function) -> str:
    return getattr(function, "__name__", type(function).__name__)
