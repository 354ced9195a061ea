"""ARTBP: backpropagation truncated at random steps and reweighted so that it is unbiased."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.backprop import differentiate_window, tape_memory
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.inner.checks import check_bool, check_count, check_number
from metalearn.inner.differentiable import REVERSE
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.types import Key

CUT = 0x6375  # folded into the step's key, so that drawing the cuts does not change the step's random numbers


@kept_estimator
def artbp(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    cut_probability: float,
    num_particles: int = 1,
    rematerialise: bool = False,
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator by anticipated reweighted truncated backpropagation.

    In the backward pass, the cotangent of the state is set to zero with probability c before each step. Otherwise it is
    multiplied by 1/(1−c):

        δ_t = ∂ℓ_t/∂s_t + X_t/(1−c) · δ_{t+1} ∂F/∂s_t,   X_t ~ Bernoulli(1−c).

    The estimate is unbiased for ∇L for every c. A path of h steps survives with weight (1−c)^{−h}, so the variance has
    heavy tails when the influence of a state decays more slowly than √(1−c) per step. The path to the initial state
    s_0, which may depend on θ, is cut and reweighted like the others.

    The whole episode is differentiated (length == horizon). The random cuts replace the windows.

    Args:
      problem: the inner problem; step and loss must be differentiable in reverse mode.
      truncation: a `Truncation` with length == horizon.
      cut_probability: c, the probability of a cut at each step, in [0, 1).
      num_particles: number of independent episodes to average, each with its own cuts.
      rematerialise: see `backprop`.
      chunk_size: particles advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, `cut_probability` is not a real
        number, or `num_particles` or `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, `truncation` has windows shorter than its horizon,
        `cut_probability` is outside [0, 1), or `num_particles` or `chunk_size` is below 1.

    References:
      Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time (arXiv 1705.08209).
    """
    check_common(problem, truncation, chunk_size)
    check_number("cut_probability", cut_probability, 0, 1, open_high=True)
    if truncation.num_windows != 1:
        raise ValueError(
            f"ARTBP draws its own truncations and needs length == horizon; horizon {truncation.horizon} and length "
            f"{truncation.length} were given."
        )

    check_count("num_particles", num_particles)
    check_bool("rematerialise", rematerialise)
    cut = cut_problem(problem, cut_probability)

    def window(run, theta, state, clock, key):
        with_cuts = lambda theta, state: run(WithCuts(theta, key), state)
        return differentiate_window(with_cuts, theta, state)

    method = Method(start=lambda theta, state: state, window=window, derivatives=REVERSE)
    memory = tape_memory(problem, truncation, num_particles, rematerialise)
    description = Description(problem, truncation, num_particles, memory, name="ARTBP")
    return from_method(method, cut, truncation, num_particles, chunk_size, description, rematerialise)


class WithCuts(NamedTuple):
    """θ with a key for the cuts, so that each particle has its own cuts even if particles share an episode's key."""

    theta: Any
    cuts: Key


def cut_problem(problem: InnerProblem, cut_probability: float) -> InnerProblem:
    """Return the problem with random cuts of the backward pass. Cuts are drawn from the step's key if θ has no key."""

    def bare(theta):
        return theta.theta if isinstance(theta, WithCuts) else theta

    def step(state, theta, key):
        source = jax.random.fold_in(key, CUT)
        if isinstance(theta, WithCuts):
            source = jax.random.fold_in(theta.cuts, jax.random.bits(source))
        keep = jax.random.bernoulli(source, 1 - cut_probability)
        weight = jnp.where(keep, 1 / (1 - cut_probability), 0.0)
        return problem.step(scale_cotangent(state, weight), bare(theta), key)

    return problem._replace(
        init=lambda theta, key: problem.init(bare(theta), key),
        step=step,
        loss=lambda state, theta, key: problem.loss(state, bare(theta), key),
    )


def scale_cotangent(state, weight):
    """Return the state unchanged, with a derivative of `weight` times the identity."""

    def scaled(leaf):
        if not trees.is_inexact(leaf):
            return leaf
        still = jax.lax.stop_gradient(leaf)
        return jnp.where(weight == 0, still, still + weight.astype(leaf.dtype) * (leaf - still))

    return jax.tree.map(scaled, state)
