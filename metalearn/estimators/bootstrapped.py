"""Bootstrapped meta-gradients: the state of a window is moved towards one that later steps reach."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.memory import residual_bytes, state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.inner.checks import check_count
from metalearn.inner.differentiable import REVERSE
from metalearn.inner.divergence import unless_diverged
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation, unroll


def squared_distance(target: Any, state: Any) -> jax.Array:
    """Return ½ ‖s̃ − s‖² over all floating-point numbers of two states."""
    pairs = zip(trees.split_inexact(target)[0], trees.split_inexact(state)[0])
    squares = [jnp.sum(jnp.square(trees.wide(one) - trees.wide(other))) for one, other in pairs]
    return 0.5 * jnp.sum(jnp.stack(squares))


@kept_estimator
def bootstrapped(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    target_steps: int,
    distance: Callable[[Any, Any], jax.Array] = squared_distance,
    num_particles: int = 1,
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator that pulls the last state of a window to the state that further steps lead to.

        g = ∂/∂θ μ(s̃, s_W(θ)),   s̃ = the state after L further steps from s_W, held fixed,

    where s_W(θ) is differentiated within the window, as in truncated backprop. The target s̃ looks L steps beyond the
    window without a derivative through them. g is not the gradient of a meta-loss: θ is changed so that W steps reach
    what W + L steps reach. For μ = ½ ‖s̃ − s‖², and a target that is one step of gradient descent on ℓ with the rate η,
    it is η times the gradient of the last loss of the window. Its only variance is that of the keys. A window takes
    W + L inner steps, of which `inner_steps` counts W.

    Args:
      problem: the inner problem; its step must be differentiable in reverse mode.
      truncation: horizon and window.
      target_steps: L, the number of further steps.
      distance: μ, a function `(target, state) -> scalar`; by default ½ ‖s̃ − s‖² over all floating-point numbers.
      num_particles: independent episodes to average.
      chunk_size: particles advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, `distance` is not a function,
        or `target_steps`, `num_particles` or `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, or a count is below 1.

    References:
      Flennerhag, Schroecker, Zahavy, van Hasselt, Silver, Singh 2022, Bootstrapped meta-learning (arXiv 2109.04504).
    """
    check_common(problem, truncation, chunk_size)
    check_count("target_steps", target_steps)
    check_count("num_particles", num_particles)
    if not callable(distance):
        raise TypeError(f"distance must be a function (target, state) -> scalar; {distance!r} was given.")

    def window(run, theta, state, clock, key):
        def pull(theta):
            reading, after = run(theta, state)
            still = jax.lax.stop_gradient((after, theta))
            target, _ = unroll(problem, *still, key, target_steps)
            return distance(jax.lax.stop_gradient(target), after), (reading, after)

        gradient, (reading, after) = jax.grad(pull, has_aux=True)(theta)
        return unless_diverged(reading, trees.wide(gradient)), after, reading

    def memory(theta):
        return num_particles * (2 * state_bytes(problem, theta) + truncation.length * residual_bytes(problem, theta))

    method = Method(lambda theta, state: state, window, derivatives=REVERSE)
    about = Description(problem, truncation, num_particles, memory, name="a bootstrapped meta-gradient")
    return from_method(method, problem, truncation, num_particles, chunk_size, about)
