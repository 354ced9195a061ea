"""What the derivatives of one training run say about its meta-gradient, before any estimator is run."""

import math
from typing import NamedTuple

import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import dynamics
from metalearn.compilation import jit
from metalearn.inner.differentiable import without_derivative
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.memoization import memoize
from metalearn.outer.comparison.report import Measurement
from metalearn.outer.diagnosis.window_jacobians import (
    Spectrum,
    predicted_variance,
    truncation_spectrum,
    window_jacobians,
)
from metalearn.types import Key, Theta


class Derivatives(NamedTuple):
    """What forward and reverse mode say of one orbit; NaN and a sentence in `left_out` for what there is not.

    Attributes:
      exponent, flip_fraction: as in `ml.dynamics.lyapunov`.
      log_gradient, log_growth: ln ‖∇L‖ and ln ‖ds_T/dθ‖.
      direction: ∇L / ‖∇L‖, `[d]`; None where there is no gradient to follow.
      predicted: method -> signal to noise per 10⁶ inner steps by `predicted_variance`.
      spectrum: of truncated backprop.
      left_out: sentences.
    """

    exponent: Measurement = Measurement(math.nan, math.nan)
    flip_fraction: float = math.nan
    log_gradient: float = math.nan
    log_growth: float = math.nan
    direction: np.ndarray | None = None
    predicted: dict[str, float] = {}  # noqa: RUF012
    spectrum: Spectrum | None = None
    left_out: tuple[str, ...] = ()


@memoize
def _orbit(problem, horizon):
    """What forward and reverse mode say of one orbit."""
    exponents = lambda theta, key: dynamics.lyapunov(problem, theta, key, num_steps=horizon)
    gradient = lambda theta, key: dynamics.meta_gradient(problem, theta, key, num_steps=horizon)
    return jit(lambda theta, key: (exponents(theta, key), gradient(theta, key)), "exponents and gradients", calls=1)


@memoize
def _jacobians(problem, truncation):
    return jit(lambda theta, key: window_jacobians(problem, theta, truncation, key), "Jacobians of windows", calls=1)


def measure_derivatives(problem: InnerProblem, theta: Theta, truncation: Truncation, key: Key) -> Derivatives:
    """One episode at θ: its exponent, its raw gradient, and the Jacobians of its windows."""
    orbit, windows = _orbit(problem, truncation.horizon), _jacobians(problem, truncation)
    forward, reverse = (without_derivative(one, theta, key) for one in (orbit, windows))
    if forward and reverse:
        return Derivatives(
            left_out=(f"exponents, raw gradients and predictions: the problem cannot be differentiated. {forward}",)
        )
    if forward:
        part = Derivatives(left_out=(f"exponents and the growth of tangents: {forward}",))
    else:
        part = _of_orbit(*orbit(theta, key))
        if part.direction is None:
            return part
    if reverse:
        return part._replace(left_out=(*part.left_out, f"predictions and backprop: {reverse}"))
    return _of_windows(part, windows(theta, key), truncation)


def _of_orbit(found, gradient) -> Derivatives:
    left_out = ()
    if gradient.escape >= 0:
        left_out += (
            f"derivatives after step {int(gradient.escape)}, at which the orbit escaped; those above stop there.",
        )
    part = Derivatives(
        Measurement(float(found.exponents[0]), float(found.standard_errors[0])),
        float(found.flip_fraction),
        float(gradient.log_length),
        float(gradient.log_growth),
    )
    direction = np.asarray(ravel_pytree(gradient.direction)[0], np.float64)
    if not np.any(direction):
        flat = "raw gradients and predictions: the gradient is exactly zero, the loss is piecewise constant."
        return part._replace(left_out=left_out if gradient.escape >= 0 else (*left_out, flat))
    return part._replace(direction=direction, left_out=left_out)


def _of_windows(part, jacobians, truncation) -> Derivatives:
    """What reverse mode adds to the rest; ∇L as well, where forward mode does not exist."""
    predicted, horizon = {}, truncation.horizon
    for name, period in {"PES": 1, "NRES": truncation.num_windows}.items():
        square, variance = predicted_variance(jacobians, period)
        predicted[name] = square / variance * 1e6 / (2 * horizon) if variance > 0 else math.nan
    spectrum = truncation_spectrum(jacobians, truncation)
    if part.direction is None:
        gradient = spectrum.gradients[-1]
        length = float(np.linalg.norm(gradient))
        if math.isfinite(length) and length > 0:
            part = part._replace(direction=gradient / length, log_gradient=math.log(length))
    return part._replace(predicted=predicted, spectrum=spectrum)
