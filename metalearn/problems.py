"""Ready-made inner problems, `ml.problems.*`. Each function returns an `InnerProblem` and documents its known results.

| group | problems |
|---|---|
| known gradients | `phase_walk`, `linear_quadratic`, `noisy_linear_quadratic`, `influence_balancing`, `l2_tuning`, `ridge_regression` |
| chaotic maps | `toy_regression`, `cubic_loss`, `double_well`, `logistic_map`, `henon`, `lorenz` |
| classical fractals | `mandelbrot`, `julia`, `burning_ship`, `magnet`, `newton`, `lyapunov_logistic` |
| training runs | `digits_training`, `benchmark_training`, `fractal_training`, `two_layer_training` |
| benchmarks of optimisers | `digits_benchmark`, `wine_benchmark`, `breast_cancer_benchmark`, `teacher_benchmark` |
"""

from metalearn.inner.problems import (
    benchmark_training,
    burning_ship,
    cubic_loss,
    digits_training,
    double_well,
    fractal_training,
    henon,
    influence_balancing,
    julia,
    l2_tuning,
    linear_quadratic,
    logistic_map,
    lorenz,
    lyapunov_logistic,
    magnet,
    mandelbrot,
    newton,
    noisy_linear_quadratic,
    phase_walk,
    ridge_regression,
    toy_regression,
    two_layer_training,
)
from metalearn.inner.training import (
    Benchmark,
    breast_cancer_benchmark,
    digits_benchmark,
    teacher_benchmark,
    wine_benchmark,
)

__all__ = [
    "Benchmark",
    "benchmark_training",
    "breast_cancer_benchmark",
    "burning_ship",
    "cubic_loss",
    "digits_benchmark",
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
    "teacher_benchmark",
    "toy_regression",
    "two_layer_training",
    "wine_benchmark",
]
