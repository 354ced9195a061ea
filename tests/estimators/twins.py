"""Variants of persistent ES with one mistake each, run by the same driver as the real one.

A test of unbiasedness must reject biased estimators. The twins drop the accumulated noise at other times than
persistent ES, or do not reset the state. `faithful` has no mistake and must agree with the library.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators import Description, GradientEstimator, backprop
from metalearn.estimators.artbp import CUT, scale_cotangent
from metalearn.estimators.generalized_persistent_es import pair_gradient, run_pair
from metalearn.estimators.method import Method
from metalearn.estimators.particles import from_method
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation


def persistent(problem, truncation, sigma, num_pairs, drops: Callable) -> GradientEstimator:
    """Persistent ES that drops the accumulated noise before the windows where `drops(clock)` is true."""

    def start(theta, state):
        return trees.broadcast(state, 2), jax.tree.map(jnp.zeros_like, theta)

    def window(run, theta, memory, clock, key):
        states, accumulated = memory
        noise = trees.normal_like(key, theta, sigma)
        kept = trees.where(drops(clock), jax.tree.map(jnp.zeros_like, accumulated), accumulated)
        accumulated = trees.add(kept, noise)
        readings, states = run_pair(run, theta, noise, states)
        return pair_gradient(accumulated, readings.loss, sigma), (states, accumulated), readings

    description = Description(problem, truncation, num_pairs, lambda theta: 0, sigma, truncation.length)
    return from_method(Method(start, window, num_unrolls=2), problem, truncation, num_pairs, None, description)


def faithful(problem: InnerProblem, truncation: Truncation, *, sigma, num_pairs: int = 1) -> GradientEstimator:
    """The common part of the twins, without a mistake."""
    return persistent(problem, truncation, sigma, num_pairs, lambda clock: clock == 0)


def without_accumulator(
    problem: InnerProblem, truncation: Truncation, *, sigma, num_pairs: int = 1
) -> GradientEstimator:
    """Attribute each window to its own noise. The influence of earlier windows is lost, as in truncated ES."""
    return persistent(problem, truncation, sigma, num_pairs, lambda clock: clock >= 0)


def last_loss_to_newest(
    problem: InnerProblem, truncation: Truncation, *, sigma, num_pairs: int = 1
) -> GradientEstimator:
    """Drop the accumulator one window early. The last loss is attributed to the newest noise only."""
    last = truncation.num_windows - 1
    return persistent(problem, truncation, sigma, num_pairs, lambda clock: (clock == 0) | (clock == last))


def never_dropped(problem: InnerProblem, truncation: Truncation, *, sigma, num_pairs: int = 1) -> GradientEstimator:
    """Keep the noise of earlier episodes, which adds no bias but a variance that grows with each episode."""
    return persistent(problem, truncation, sigma, num_pairs, lambda clock: clock < 0)


def without_reset(
    problem: InnerProblem, truncation: Truncation, *, sigma, num_pairs: int = 1, num_episodes: int = 2
) -> GradientEstimator:
    """Drop the accumulator at the end of an episode but do not reset the state, which continues into the next."""
    endless = Truncation(num_episodes * truncation.horizon, truncation.length)
    return persistent(problem, endless, sigma, num_pairs, lambda clock: clock % truncation.num_windows == 0)


def unweighted_artbp(problem: InnerProblem, truncation: Truncation, *, cut_probability: float) -> GradientEstimator:
    """ARTBP without the factor 1/(1 − c): truncation at random places, which is biased."""

    def step(state, theta, key):
        keep = jax.random.bernoulli(jax.random.fold_in(key, CUT), 1 - cut_probability)
        return problem.step(scale_cotangent(state, jnp.where(keep, 1.0, 0.0)), theta, key)

    return backprop(problem._replace(step=step), truncation)
