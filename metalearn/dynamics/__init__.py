"""Floor 2: measures of the map itself.

Training is s ← F(s, θ). What is measured here are derivatives along an orbit of this map: exponents of its Jacobians,
and the growth of ds_t/dθ, which is what backpropagation through training multiplies up.
"""

from metalearn.dynamics.exponent_rows import STATUS
from metalearn.dynamics.growth import MetaGradient, gradient_growth, meta_gradient
from metalearn.dynamics.lyapunov import Lyapunov, lyapunov, lyapunov_exponents
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
