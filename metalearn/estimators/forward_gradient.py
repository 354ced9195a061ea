"""Forward gradients along one direction per episode (DODGE): the limit of noise-reuse ES as sigma goes to zero."""

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.forward_mode import push_forward
from metalearn.estimators.memory import state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.inner.checks import check_count
from metalearn.inner.differentiable import FORWARD
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation


@kept_estimator
def forward_gradient(
    problem: InnerProblem, truncation: Truncation, *, num_directions: int, chunk_size: int | None = None
) -> GradientEstimator:
    """Return an estimator by directional derivatives, g_t = u (∂L_t · u), with one u ~ N(0, I) per episode.

    The direction u is drawn at the start of an episode, and the tangent of the state along u is carried from window to
    window. The estimate is unbiased for ∇L. The variance over an episode is (d+1)‖∇L‖² per direction, which explodes
    with ∇L in chaos. Memory 2S.

    Args:
      problem: the inner problem; step and loss must be differentiable in forward mode.
      truncation: horizon and window.
      num_directions: number of independent directions to average, each with its own episode.
      chunk_size: directions advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, or `num_directions` or
        `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, or `num_directions` or `chunk_size` is below 1.

    References:
      Silver et al. 2022, Learning by directional gradient descent; Baydin et al. 2022, Gradients without
      backpropagation (arXiv 2202.08587).
    """
    check_common(problem, truncation, chunk_size)
    check_count("num_directions", num_directions)

    def start(theta, state):
        return state, jax.tree.map(jnp.zeros_like, trees.split_inexact(state)[0]), jax.tree.map(jnp.zeros_like, theta)

    def window(run, theta, memory, clock, key):
        state, tangent, direction = memory
        direction = trees.where(clock == 0, trees.normal_like(key, theta), direction)
        reading, state, slope, tangent = push_forward(run, theta, state, direction, tangent)
        return trees.scale(slope, trees.wide(direction)), (state, tangent, direction), reading

    def memory(theta):
        return num_directions * (2 * state_bytes(problem, theta) + trees.num_bytes(theta))

    return from_method(
        Method(start, window, derivatives=FORWARD),
        problem,
        truncation,
        num_directions,
        chunk_size,
        Description(problem, truncation, num_directions, memory, name="forward gradients"),
    )
