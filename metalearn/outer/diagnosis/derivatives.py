"""Diagnose the meta-gradient from the derivatives of one training run, before any estimator is run."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import dynamics
from metalearn.compilation import jit
from metalearn.inner.differentiable import without_derivative
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation, meta_loss
from metalearn.memoization import memoize
from metalearn.outer.comparison.report import Measurement
from metalearn.outer.diagnosis.window_jacobians import (
    Spectrum,
    predicted_variance,
    truncation_spectrum,
    window_jacobians,
)
from metalearn.types import Key, Theta

EPISODES = 8  # the number of episodes whose gradients are averaged


class Derivatives(NamedTuple):
    """Derivatives of an orbit by forward and reverse mode. Values that cannot be computed are NaN; `left_out` says why.

    Attributes:
      exponent, flip_fraction: as in `ml.dynamics.lyapunov`.
      log_gradient, log_growth: ln ‖∇L‖ of the mean over the episodes, and ln ‖ds_T/dθ‖ of the first episode.
      gradients: ∇L of each episode in units of the length of their mean, `[num_episodes, d]`; None if the gradient is
        zero or cannot be computed.
      predicted: method -> signal-to-noise ratio per 10⁶ inner steps from `predicted_variance`.
      spectrum: the truncation spectrum of truncated backprop.
      left_out: what could not be computed and why, a sentence each.
    """

    exponent: Measurement = Measurement(math.nan, math.nan)
    flip_fraction: float = math.nan
    log_gradient: float = math.nan
    log_growth: float = math.nan
    gradients: np.ndarray | None = None
    predicted: dict[str, float] = {}  # noqa: RUF012
    spectrum: Spectrum | None = None
    left_out: tuple[str, ...] = ()


@memoize
def _orbit(problem, horizon):
    """Return a program for the exponents of the episode of the first key, and for the gradients of all episodes."""
    exponents = lambda theta, key: dynamics.lyapunov(problem, theta, key, num_steps=horizon)
    gradient = lambda theta, key: dynamics.meta_gradient(problem, theta, key, num_steps=horizon)
    gradients = lambda theta, keys: jax.lax.map(lambda key: gradient(theta, key), keys)
    return jit(
        lambda theta, keys: (exponents(theta, keys[0]), gradients(theta, keys)), "exponents and gradients", calls=1
    )


@memoize
def _gradients(problem, horizon):
    one = lambda theta, key: ravel_pytree(jax.grad(lambda theta: meta_loss(problem, theta, key, horizon))(theta))[0]
    return jit(lambda theta, keys: jax.lax.map(lambda key: one(theta, key), keys), "gradients of episodes", calls=1)


@memoize
def _jacobians(problem, truncation):
    return jit(lambda theta, key: window_jacobians(problem, theta, truncation, key), "Jacobians of windows", calls=1)


def measure_derivatives(problem: InnerProblem, theta: Theta, truncation: Truncation, key: Key) -> Derivatives:
    """Measure the Lyapunov exponent, the gradient and the Jacobians of the windows at θ.

    All are of one episode. If episodes differ, the gradient is also measured for further episodes.
    """
    orbit, windows = _orbit(problem, truncation.horizon), _jacobians(problem, truncation)
    keys = key[None] if truncation.key is not None else jnp.stack([key, *jax.random.split(key, EPISODES - 1)])
    forward, reverse = without_derivative(orbit, theta, keys), without_derivative(windows, theta, key)
    if forward and reverse:
        return Derivatives(
            left_out=(f"exponents, raw gradients and predictions: the problem cannot be differentiated. {forward}",)
        )
    if forward:
        part = Derivatives(left_out=(f"exponents and the growth of tangents: {forward}",))
    else:
        part = _from_orbit(*orbit(theta, keys))
        if part.gradients is None:
            return part
    if reverse:
        return part._replace(left_out=(*part.left_out, f"predictions and backprop: {reverse}"))
    if forward:
        part = _add_gradients(part, _gradients(problem, truncation.horizon)(theta, keys))
    return _add_windows(part, windows(theta, key), truncation)


def _from_orbit(found, gradient) -> Derivatives:
    left_out, escaped = (), np.asarray(gradient.escape)
    if np.any(escaped >= 0):
        left_out += (
            f"derivatives after step {np.min(escaped[escaped >= 0])}, where an orbit escaped; the derivatives above stop there.",
        )
    directions = np.asarray(jax.vmap(lambda tree: ravel_pytree(tree)[0])(gradient.direction), np.float64)
    logs = np.asarray(gradient.log_length, np.float64)
    shares = np.exp(logs - np.max(logs)) if np.isfinite(np.max(logs)) else np.ones(len(logs))
    gradients = directions * shares[:, None]  # in units of the longest gradient
    length = float(np.linalg.norm(gradients.mean(axis=0)))
    part = Derivatives(
        Measurement(float(found.exponents[0]), float(found.standard_errors[0])),
        float(found.flip_fraction),
        float(np.max(logs)) + (math.log(length) if length > 0 else 0.0),
        float(gradient.log_growth[0]),
    )
    if not length > 0:
        flat = "raw gradients and predictions: the gradient is exactly zero, because the loss is piecewise constant."
        return part._replace(left_out=left_out or (flat,))
    return part._replace(gradients=gradients / length, left_out=left_out)


def _add_gradients(part, gradients) -> Derivatives:
    """Add ∇L of several episodes in reverse mode, for problems without forward mode."""
    gradients = np.asarray(gradients, np.float64)
    with np.errstate(all="ignore"):
        length = float(np.linalg.norm(gradients.mean(axis=0)))
    if not (math.isfinite(length) and length > 0):
        return part
    return part._replace(gradients=gradients / length, log_gradient=math.log(length))


def _add_windows(part, jacobians, truncation) -> Derivatives:
    """Add the predictions and the truncations of reverse mode."""
    predicted, horizon = {}, truncation.horizon
    for name, period in {"PES": 1, "NRES": truncation.num_windows}.items():
        square, variance = predicted_variance(jacobians, period)
        predicted[name] = square / variance * 1e6 / (2 * horizon) if variance > 0 else math.nan
    spectrum = truncation_spectrum(jacobians, truncation)
    return part._replace(predicted=predicted, spectrum=spectrum)
