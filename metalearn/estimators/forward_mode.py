"""Forward mode (real-time recurrent learning): the exact online gradient, for few meta-parameters."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.memory import state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.inner.checks import check_count
from metalearn.inner.differentiable import FORWARD
from metalearn.inner.divergence import unless_diverged
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation


@kept_estimator
def forward_mode(
    problem: InnerProblem, truncation: Truncation, *, num_particles: int = 1, chunk_size: int | None = None
) -> GradientEstimator:
    """Return an estimator that carries the Jacobian J_t = ds_t/dθ forward (real-time recurrent learning, RTRL).

        J_t = F_s J_{t−1} + F_θ,   g_t = ∂L_t/∂s · J + ∂L_t/∂θ.

    With θ frozen the gradient is exact, and its variance is zero given the data. No past states are stored: the memory
    is S·(d+1), and each step propagates d tangents. If θ changes, J mixes derivatives at different θ. In chaos the
    gradient explodes like that of backpropagation.

    Args:
      problem: the inner problem; step and loss must be differentiable in forward mode.
      truncation: horizon and window.
      num_particles: independent episodes to average.
      chunk_size: particles advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, or `num_particles` or
        `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, or `num_particles` or `chunk_size` is below 1.

    References:
      Williams & Zipser 1989, A learning algorithm for continually running fully recurrent neural networks.
    """
    check_common(problem, truncation, chunk_size)
    check_count("num_particles", num_particles)

    def start(theta, state):
        count = trees.size(theta)
        return state, trees.broadcast(jax.tree.map(jnp.zeros_like, trees.split_inexact(state)[0]), count)

    def window(run, theta, memory, clock, key):
        state, jacobian = memory
        flat, unravel = ravel_pytree(theta)
        push = lambda direction, tangent: push_forward(run, theta, state, unravel(direction), tangent)
        reading, state, slopes, jacobian = jax.vmap(push, out_axes=(None, None, 0, 0))(
            jnp.eye(len(flat), dtype=flat.dtype), jacobian
        )
        point, restore = ravel_pytree(trees.wide(theta))
        return restore(slopes.astype(point.dtype)), (state, jacobian), reading

    def memory(theta):
        return num_particles * state_bytes(problem, theta) * (trees.size(theta) + 1)

    return from_method(
        Method(start, window, derivatives=FORWARD),
        problem,
        truncation,
        num_particles,
        chunk_size,
        Description(problem, truncation, num_particles, memory, name="forward mode"),
    )


def push_forward(run, theta, state, direction, tangent):
    """Run one window and its JVP along a direction in θ and a tangent of the state.

    Returns `(reading, state, slope, tangent)`, where `slope` is the derivative of the window's loss.
    """
    inexact, rest = trees.split_inexact(state)

    def advance(theta, inexact):
        reading, state = run(theta, trees.merge_inexact(inexact, rest))
        inexact, rest_after = trees.split_inexact(state)
        return (reading.loss, inexact), (reading, rest_after[-1])

    (_, inexact), (slope, tangent), (reading, others) = jax.jvp(
        advance, (theta, inexact), (direction, tangent), has_aux=True
    )
    return reading, trees.merge_inexact(inexact, (*rest[:-1], others)), unless_diverged(reading, slope), tangent
