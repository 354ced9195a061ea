"""The check of the contract of a gradient estimator."""

import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.base import GradientEstimator
from metalearn.inner.problem import InnerProblem, Key, Theta, check_key, check_theta
from metalearn.inner.unroll import Truncation, meta_loss
from metalearn.testing import agreement, episodes
from metalearn.testing.requirements import Checked, attempt, require
from metalearn.testing.watched import THETA, as_nested, as_vector, in_dtype, watched

HORIZON, LENGTH = 6, 2

Factory = Callable[[InnerProblem, Truncation], GradientEstimator]

FORMS: tuple[str, ...] = (
    "Gradients have the structure, shapes and dtypes of theta; the state keeps its own; metrics are complete scalars.",
    "The same arguments give the same bits, also from a state that was copied to the host and back.",
)
RANDOM = "Estimates depend on their keys."
RESET = "Each episode starts anew at the present theta."
EPISODES = (
    "Estimates see the windows of an episode in turn, and inner_steps counts the steps that they take.",
    "Particles that diverge are counted, leave the gradient finite and come back with the next episode.",
)
DESCRIBED = "The description agrees with the particles, perturbations, memory and steps of an estimate."
TRANSFORMED = "Estimates under jax.jit, jax.vmap and jax.lax.scan agree with those of a Python loop."
PRECISION = "theta may be a vector in bfloat16 or nested containers in float64."
STAGGERED = "Staggered particles start at random windows and report their burn-in."

_one_at_a_time = threading.RLock()  # the record of steps is shared


def check_estimator(
    estimator: GradientEstimator | Factory,
    theta: Theta | None = None,
    key: Key | None = None,
    *,
    tolerance: float = 1e-4,
) -> Checked:
    """Check that an estimator meets the contract of `GradientEstimator`.

        ml.testing.check_estimator(functools.partial(my_estimator, sigma=0.1, num_pairs=4))
        ml.testing.check_estimator(my_estimator(problem, truncation, sigma=0.1, num_pairs=4), theta)

    A factory is checked completely, with a small problem that records the steps that are taken: an estimate must run
    one window, report its steps, count particles that diverge, start each episode anew, and agree with its description.
    The factory is called with windows shorter than the episode and with staggered windows; if it raises a `ValueError`
    for the former, it is called with whole episodes instead. Perturbations must be smaller than 5.

    An existing estimator is checked at `theta` for the requirements that do not depend on its problem.

    Args:
      estimator: a factory, that is, a function `(problem, truncation) -> GradientEstimator`; or a `GradientEstimator`.
      theta: the point at which to check a `GradientEstimator`; None for a factory.
      key: the key of the random numbers of the check; by default `jax.random.key(0)`.
      tolerance: the largest relative difference between a Python loop and `jax.lax.scan`, which have different rounding
        errors. Increase it if the inner problem of an existing estimator is chaotic.

    Returns:
      The requirements that were checked, and those that could not be checked.

    Raises:
      AssertionError: a requirement is not met.
      TypeError: `estimator` is neither a factory nor a `GradientEstimator`, `theta` is missing for a
        `GradientEstimator` or given for a factory, or `key` is not a typed key.
    """
    key = jax.random.key(0) if key is None else key
    check_key(key)
    if isinstance(estimator, GradientEstimator):
        if theta is None:
            raise TypeError("A GradientEstimator is checked at a point; give theta, or pass a factory instead.")
        check_theta(theta)
        with attempt("The estimator"):
            return _check_built(estimator, trees.strong(theta), key, tolerance)
    if not callable(estimator):
        raise TypeError(
            "estimator must be a function (problem, truncation) -> GradientEstimator, or a GradientEstimator; "
            f"{estimator!r} was given."
        )
    if theta is not None:
        raise TypeError("A factory is checked with a built-in problem; leave theta None, or pass a GradientEstimator.")
    with _one_at_a_time, attempt("The estimator"):
        return _check_factory(estimator, key, tolerance)


def _check_built(estimator: GradientEstimator, theta: Theta, key: Key, tolerance: float) -> Checked:
    description, passed, skipped = estimator.description, [*FORMS], []
    windows = 1 if description is None else description.truncation.num_windows
    _check_forms(estimator, theta, key)
    if description is not None and _is_random(description, theta):
        agreement.check_randomness(estimator, theta, key, windows + 1)
        passed.append(RANDOM)
    else:
        skipped.append("Not checked whether estimates depend on their keys: the problem is not known to be random.")
    if description is None or description.truncation.stagger:
        skipped.append("Not checked whether each episode starts anew: the ends of the episodes are not known.")
    else:
        _check_reset(estimator, theta, key, windows, passed, skipped)
    agreement.check_transformations(estimator, theta, key, min(windows, 3) + 1, tolerance)
    skipped.append("Not checked: windows, counts, divergence and precision, for which a factory is needed.")
    return Checked((*passed, TRANSFORMED), tuple(skipped))


def _is_random(description, theta) -> bool:
    """Return whether estimates should depend on their keys: θ is perturbed, or two episodes have different losses."""
    if description.perturbs:
        return True
    if description.truncation.key is not None:
        return False
    loss = jax.jit(lambda key: meta_loss(description.problem, theta, key, description.truncation.horizon))
    return not bool(loss(jax.random.key(1)) == loss(jax.random.key(2)))


def _check_forms(estimator: GradientEstimator, theta: Theta, key: Key) -> None:
    with attempt("init(theta, key)"):
        state = estimator.init(theta, key)
    with attempt("estimate(theta, state, key)"):
        result = estimator.estimate(theta, state, key)
    agreement.check_result(theta, state, result)
    agreement.check_metrics(result[2])
    agreement.check_undiverged(estimator, result[2])
    agreement.check_purity(estimator, theta, key)


def _check_factory(make: Factory, key: Key, tolerance: float) -> Checked:
    problem = watched()
    estimator, truncation = _build(make, problem.problem)
    _check_forms(estimator, THETA, key)
    agreement.check_randomness(estimator, THETA, key, 1)
    episodes.check_windows(estimator, problem, truncation, key)
    passed, skipped = [*FORMS, RANDOM, *EPISODES], []
    _check_reset(estimator, THETA, key, truncation.num_windows, passed, skipped)
    episodes.check_divergence(estimator, problem, truncation, key)
    if estimator.description is None:
        skipped.append("Not checked: the description, because the estimator has none.")
    else:
        episodes.check_description(estimator, problem, key)
        passed.append(DESCRIBED)
    agreement.check_transformations(estimator, THETA, key, truncation.num_windows + 1, tolerance)
    _check_precision(make, problem.problem, truncation)
    passed += [TRANSFORMED, PRECISION]
    if truncation.num_windows == 1:
        skipped.append(
            "Not checked: staggered windows, because the factory does not support windows shorter than the episode."
        )
    else:
        staggered = _call(make, problem.problem, Truncation(HORIZON, LENGTH, stagger=True))
        episodes.check_staggered(staggered, problem, Truncation(HORIZON, LENGTH), key)
        passed.append(STAGGERED)
    return Checked(tuple(passed), tuple(skipped))


def _check_reset(
    estimator: GradientEstimator, theta: Theta, key: Key, windows: int, passed: list, skipped: list
) -> None:
    adapts = estimator.description is not None and estimator.description.adapts
    if adapts == "perturbations":
        skipped.append("Not checked whether each episode starts anew: perturbations depend on earlier episodes.")
    else:
        agreement.check_reset(estimator, theta, key, windows, bool(adapts))
        passed.append(RESET)


def _build(make: Factory, problem: InnerProblem) -> tuple[GradientEstimator, Truncation]:
    """Return the estimator and its truncation: for windows, or for whole episodes if windows are not supported."""
    try:
        estimator = _call(make, problem, Truncation(HORIZON, LENGTH))
    except ValueError:
        estimator = _call(make, problem, Truncation(HORIZON, HORIZON))
        return estimator, Truncation(HORIZON, HORIZON)
    return estimator, Truncation(HORIZON, LENGTH)


def _call(make: Factory, problem: InnerProblem, truncation: Truncation) -> GradientEstimator:
    estimator: Any = make(problem, truncation)
    require(
        isinstance(estimator, GradientEstimator),
        f"The factory must return a GradientEstimator; it returned a {type(estimator).__name__}.",
    )
    return estimator


def _check_precision(make: Factory, problem: InnerProblem, truncation: Truncation) -> None:
    for form, dtype in ((as_vector, jnp.bfloat16), (as_nested, jnp.float64)):
        with jax.enable_x64(dtype == jnp.float64), attempt(f"An estimate with theta in {jnp.dtype(dtype)}"):
            other, theta = form(problem)
            episodes.check_precision(_call(make, other, truncation), in_dtype(theta, dtype))
