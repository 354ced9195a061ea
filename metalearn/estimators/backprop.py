"""Backpropagation through training, full and truncated, optionally perturbed and clipped."""

import math

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.memory import residual_bytes, state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, check_sigma, from_method
from metalearn.inner.checks import check_bool, check_count, check_number
from metalearn.inner.differentiable import REVERSE
from metalearn.inner.divergence import unless_diverged
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation


@kept_estimator
def backprop(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    num_particles: int = 1,
    sigma: float | None = None,
    clip_norm: float | None = None,
    rematerialise: bool = False,
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator by backpropagation through a window: g_t = ∂L_t/∂θ with the window's first state held fixed.

    * Full (length == horizon): exact ∇L, including the dependence of the initial state on θ. The variance is zero given
      the data. The gradient grows like e^{λT} where the map is chaotic.
    * Truncated: Σ_t g_{t,t}. The bias is −Σ_t Σ_{τ<t} g_{t,τ}, the missing contributions of earlier windows.
    * With `sigma`: the reparametrised gradient ∇L(θ+ε) with a new ε ~ N(0, σ²I) for each window. With length == horizon
      it is unbiased for ∇L_σ.
    * With `clip_norm`: each particle's gradient is shortened to this norm before the average. This bounds the variance
      and introduces a bias.

    Memory: length · R, where R is the residuals that reverse mode stores for one step. With `rematerialise`: about
    2√length states and √length · R, at the cost of one more forward pass; the gradient is the same.

    Args:
      problem: the inner problem; step and loss must be differentiable in reverse mode.
      truncation: horizon and window.
      num_particles: independent episodes to average.
      sigma: standard deviation of the perturbation of each particle's θ; None for no perturbation.
      clip_norm: the largest norm of one particle's gradient; None for no limit.
      rematerialise: recompute steps in the backward pass, so that the memory grows like √length.
      chunk_size: particles advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, `sigma` or `clip_norm` is not a
        real number, or `num_particles` or `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, `sigma` or `clip_norm` is not positive and finite, or
        `num_particles` or `chunk_size` is below 1.

    References:
      Werbos 1990, Backpropagation through time; Chen et al. 2016, Training deep nets with sublinear memory cost (arXiv
      1604.06174); Metz et al. 2018 (arXiv 1810.10180) for the reparametrised gradient.
    """
    check_common(problem, truncation, chunk_size)
    check_count("num_particles", num_particles)
    check_bool("rematerialise", rematerialise)
    if sigma is not None:
        check_sigma(sigma)
    if clip_norm is not None:
        check_number("clip_norm", clip_norm, 0, open_low=True)

    def window(run, theta, state, clock, key):
        place = theta if sigma is None else trees.add(theta, trees.normal_like(key, theta, sigma))
        gradient, state, reading = differentiate_window(run, place, state)
        return (gradient if clip_norm is None else clip(gradient, clip_norm)), state, reading

    memory = tape_memory(problem, truncation, num_particles, rematerialise)
    method = Method(start=lambda theta, state: state, window=window, derivatives=REVERSE)
    name = "backprop" if truncation.num_windows == 1 else "truncated backprop"
    smoothing = 0.0 if sigma is None else sigma
    description = Description(problem, truncation, num_particles, memory, smoothing, name=name)
    return from_method(method, problem, truncation, num_particles, chunk_size, description, rematerialise)


def tape_memory(problem: InnerProblem, truncation: Truncation, num_particles: int, rematerialise: bool):
    """Return the function `theta -> bytes`, the memory of the states and tapes of reverse mode through one window."""

    def memory(theta):
        states, residuals = state_bytes(problem, theta), residual_bytes(problem, theta)
        root = math.isqrt(truncation.length - 1) + 1
        tape = root * (states + residuals) if rematerialise else truncation.length * residuals
        return num_particles * (states + tape)

    return memory


def differentiate_window(run, theta, state):
    """Run one window and return `(gradient, state, reading)`, with the gradient of the loss with respect to θ."""

    def loss(theta):
        reading, after = run(theta, state)
        return reading.loss, (reading, after)

    gradient, (reading, after) = jax.grad(loss, has_aux=True)(theta)
    return unless_diverged(reading, gradient), after, reading


def clip(gradient, max_norm):
    """Shorten a gradient to at most `max_norm`. A non-finite gradient stays non-finite and is counted as diverged."""
    length = trees.norm(gradient)
    return trees.scale(jnp.where(length > max_norm, max_norm / length, 1.0), gradient)
