"""Ready-made inner problems: known and chaotic maps, classical fractals, and training runs on real data."""

from metalearn.inner.problems.chaotic import cubic_loss, double_well, henon, logistic_map, lorenz, toy_regression
from metalearn.inner.problems.fractals import burning_ship, julia, lyapunov_logistic, magnet, mandelbrot, newton
from metalearn.inner.problems.known import (
    influence_balancing,
    l2_tuning,
    linear_quadratic,
    noisy_linear_quadratic,
    phase_walk,
)
from metalearn.inner.problems.ready_made import benchmark_training, digits_training, fractal_training
from metalearn.inner.problems.ridge import ridge_regression
from metalearn.inner.problems.two_layer import two_layer_data, two_layer_training

__all__ = [
    "benchmark_training",
    "burning_ship",
    "cubic_loss",
    "digits_training",
    "double_well",
    "fractal_training",
    "henon",
    "influence_balancing",
    "julia",
    "l2_tuning",
    "linear_quadratic",
    "logistic_map",
    "lorenz",
    "lyapunov_logistic",
    "magnet",
    "mandelbrot",
    "newton",
    "noisy_linear_quadratic",
    "phase_walk",
    "ridge_regression",
    "toy_regression",
    "two_layer_data",
    "two_layer_training",
]
