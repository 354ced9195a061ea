"""Independent samples of an estimator on the problems of the battery.

The numbers of the problems are traced, so that one program runs all of them, mapped over keys. An estimator that JAX
cannot trace runs in a Python loop with fewer samples, and larger ones.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.compilation import jit
from metalearn.inner.checks import summarize_error
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.chaotic import toy_regression
from metalearn.inner.unroll import Truncation
from metalearn.testing.battery import THETA, Case, build_problem
from metalearn.testing.subjects import Subject, unpack_estimate
from metalearn.types import Key

CHUNK = 512  # samples that run together
LOOPED, LARGER = 32, 128  # samples in a Python loop, and how many times more pairs each has
ALONE = 128  # samples in a Python loop of one pair


class Setting(NamedTuple):
    """How an estimator is made and called: its windows, σ, the number of pairs, and the number of estimates."""

    truncation: Truncation
    sigma: float
    num_pairs: int
    num_estimates: int


class Samples(NamedTuple):
    """Estimates.

    Attributes:
      gradients: `[cases, N, num_estimates, 2]`.
      traced: whether JAX could trace the estimator.
      pairs: the number of pairs of each sample.
    """

    gradients: np.ndarray
    traced: bool
    pairs: int


def sample_cases(subject: Subject, cases: Sequence[Case], setting: Setting, count: int, key: Key) -> Samples:
    """Run an estimator from `init` on several problems.

    Raises:
      RuntimeError: the estimator raised an error.
    """
    theta = jnp.asarray(THETA, jnp.float32)
    stacked = Case(*(np.stack([getattr(case, name) for case in cases]) for name in Case._fields))

    def make(setting, case, compiled=False):
        return subject.build(_compiled(case) if compiled else build_problem(case), *setting[:3])

    return _sample(subject, make, stacked, list(cases), theta, setting, count, key)


def sample_toy(subject: Subject, theta: Sequence[float], setting: Setting, count: int, key: Key) -> Samples:
    """Run an estimator on toy regression.

    Raises:
      RuntimeError: the estimator raised an error.
    """
    problem = toy_regression(setting.truncation.horizon, objective="sum")._replace(horizon=setting.truncation.horizon)

    def make(setting, _, compiled=False):
        given = (
            problem._replace(**{name: jax.jit(getattr(problem, name)) for name in FUNCTIONS}) if compiled else problem
        )
        return subject.build(given, *setting[:3])

    return _sample(subject, make, np.zeros(1), [0.0], jnp.asarray(theta, jnp.float32), setting, count, key)


FUNCTIONS = ("init", "step", "loss")
_RUN = {name: jax.jit(lambda case, *args, name=name: getattr(build_problem(case), name)(*args)) for name in FUNCTIONS}


def _compiled(case: Case) -> InnerProblem:
    """Return the problem of a case with compiled functions, for code that calls them one by one."""
    return build_problem(case)._replace(**{name: functools.partial(_RUN[name], case) for name in FUNCTIONS})


def _sample(subject, make, stacked, cases, theta, setting, count, key) -> Samples:
    keys = jax.random.split(key, count)

    @functools.partial(jit, name="the estimates that are verified", calls=1)
    def run(stacked, keys):
        one = lambda case, key: _episodes(make(setting, case), theta, setting.num_estimates, key)
        several = lambda key: jax.vmap(lambda case: one(case, key))(stacked)
        return jax.lax.map(several, keys, batch_size=min(count, CHUNK))

    try:
        return Samples(np.swapaxes(np.asarray(run(stacked, keys)), 0, 1), True, setting.num_pairs)
    except Exception as error:
        first = error
    return _loop(make, cases, theta, setting, keys[: LOOPED if subject.counts else ALONE], first)


def _episodes(functions, theta, num_estimates, key):
    init, estimate = functions
    key_init, key_estimates = jax.random.split(key)

    def body(state, key):
        gradient, state = unpack_estimate(estimate(theta, state, key), theta)
        return state, gradient

    return jax.lax.scan(body, init(theta, key_init), jax.random.split(key_estimates, num_estimates))[1]


def _loop(make, cases, theta, setting, keys, first) -> Samples:
    """Run the estimator in a Python loop. If the loop fails as well, raise its error, which is clearer."""
    larger = setting._replace(num_pairs=LARGER * setting.num_pairs)
    found = []
    try:
        for case in cases:
            init, estimate = make(larger, case, compiled=True)
            found.append([_loop_episodes(init, estimate, theta, setting.num_estimates, key) for key in keys])
    except Exception as error:
        raise RuntimeError(
            f"The estimator raised {type(error).__name__}: {summarize_error(error)} (under jax.jit and jax.vmap: "
            f"{summarize_error(first)})"
        ) from error
    return Samples(np.array(found, float), False, larger.num_pairs)


def _loop_episodes(init, estimate, theta, num_estimates, key):
    key_init, key_estimates = jax.random.split(key)
    state, found = init(theta, key_init), []
    for one in jax.random.split(key_estimates, num_estimates):
        gradient, state = unpack_estimate(estimate(theta, state, one), theta)
        found.append(np.asarray(gradient))
    return found
