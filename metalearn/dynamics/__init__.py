"""Measures of training as a dynamical system.

Training is a map s ← F(s, θ). This package measures derivatives along its orbits: the Lyapunov exponents of its
Jacobians, the growth of ds_t/dθ, which determines the size of the meta-gradient, and curvature.
"""

from metalearn.dynamics.exponents import STATUS, Lyapunov
from metalearn.dynamics.growth import MetaGradient, gradient_growth, meta_gradient
from metalearn.dynamics.lyapunov import lyapunov, lyapunov_exponents
from metalearn.dynamics.sharpness import Sharpness, SpectralRadius, sharpness, spectral_radius

__all__ = [
    "STATUS",
    "Lyapunov",
    "MetaGradient",
    "Sharpness",
    "SpectralRadius",
    "gradient_growth",
    "lyapunov",
    "lyapunov_exponents",
    "meta_gradient",
    "sharpness",
    "spectral_radius",
]
