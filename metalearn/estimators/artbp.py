"""ARTBP: truncation at random places, reweighted so that it is unbiased."""

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.backprop import backprop
from metalearn.estimators.base import GradientEstimator
from metalearn.estimators.particles import check_common
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation

CUT = 0x6375  # folded into the step's key, so that the cuts are drawn beside the step's own numbers and change none of them


def artbp(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    cut_probability: float,
    num_particles: int = 1,
    rematerialise: bool = False,
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Anticipated reweighted truncated backpropagation.

    Before each step the way back is cut with probability c; where it is not, the cotangent of the state is multiplied
    by 1/(1−c):
        δ_t = ∂ℓ_t/∂s_t + X_t/(1−c) · δ_{t+1} ∂F/∂s_t,   X_t ~ Bernoulli(1−c).
    Unbiased for ∇L whatever c is; a path of h steps survives with weight (1−c)^{−h}, so the variance has heavy tails
    when influence decays more slowly than √(1−c) a step. The way from the start s_0, where it depends on θ, is cut and
    reweighted like any other.

    The whole episode is differentiated (length == horizon): random cuts inside it replace the windows.

    Args:
      problem: the inner problem; step and loss must be differentiable.
      truncation: horizon == length.
      cut_probability: c, the chance of a cut at each step, in [0, 1).
      num_particles: independent episodes, each with its own cuts.
      rematerialise: see `backprop`.
      chunk_size: particles advanced together; by default as many as fit the cache.

    Raises:
      ValueError: c outside [0, 1), or windows shorter than the horizon.

    References:
      Tallec & Ollivier 2017, Unbiasing truncated backpropagation through time (arXiv 1705.08209).
    """
    check_common(problem, truncation, chunk_size)
    if not 0 <= cut_probability < 1:
        raise ValueError(
            f"cut_probability must lie in [0, 1), the chance of a cut at each step; {cut_probability} was given."
        )
    if truncation.num_windows != 1:
        raise ValueError(
            f"ARTBP chooses its own truncations and needs length == horizon; horizon {truncation.horizon} and length "
            f"{truncation.length} were given."
        )

    def step(state, theta, key):
        keep = jax.random.bernoulli(jax.random.fold_in(key, CUT), 1 - cut_probability)
        return problem.step(scale_cotangent(state, jnp.where(keep, 1 / (1 - cut_probability), 0.0)), theta, key)

    cut = problem._replace(step=step)
    return backprop(cut, truncation, num_particles=num_particles, rematerialise=rematerialise, chunk_size=chunk_size)


def scale_cotangent(state, weight):
    """The identity on the state, whose derivative is `weight` times the identity."""

    def scaled(leaf):
        if not trees.is_inexact(leaf):
            return leaf
        still = jax.lax.stop_gradient(leaf)
        return jnp.where(weight == 0, still, still + weight.astype(leaf.dtype) * (leaf - still))

    return jax.tree.map(scaled, state)
