"""Floor 2: measures of the map itself.

Training is s ← F(s, θ). What is measured here are derivatives along an orbit of this map: exponents of its Jacobians, and
the growth of ds_t/dθ, which is what backpropagation through training multiplies up.
"""

from metalearn.dynamics.growth import gradient_growth
from metalearn.dynamics.lyapunov import STATUS, Lyapunov, lyapunov, lyapunov_exponents

__all__ = ["STATUS", "Lyapunov", "gradient_growth", "lyapunov", "lyapunov_exponents"]
