"""Ready-made inner problems, `ml.problems.*`. Each function returns an `InnerProblem` and documents its known results.

| group | problems |
|---|---|
| known gradients | `phase_walk`, `linear_quadratic`, `noisy_linear_quadratic`, `influence_balancing` |
| known optima | `l2_tuning`, `ridge_regression` |
| chaotic maps | `toy_regression`, `cubic_loss`, `double_well`, `logistic_map`, `henon`, `lorenz` |
| worlds that react | `performative`, `coin_flip`, `redeployment`, `prediction_game` |
| classical fractals | `mandelbrot`, `julia`, `burning_ship`, `magnet`, `newton`, `lyapunov_logistic` |
| training runs | `digits_training`, `benchmark_training`, `fractal_training`, `two_layer_training` |
| proxies of a goal | `noisy_labels`, `random_features_risk`, `guided_walk` |
| benchmarks of optimisers | `digits_benchmark`, `wine_benchmark`, `breast_cancer_benchmark`, `teacher_benchmark` |
| benchmarks with convolutions | `convolutional_benchmark`, `residual_benchmark` |
| benchmarks with text | `transformer_benchmark`, `lstm_benchmark` |

`performative_gradient` and `performative_targets` are exact means of estimators on `performative`, `expected_score` is
the score of a report in a `prediction_game`, and `self_play` makes both of its players equal.
"""

from metalearn.inner.problems import (
    benchmark_training,
    burning_ship,
    coin_flip,
    cubic_loss,
    digits_training,
    double_well,
    expected_score,
    fractal_training,
    guided_walk,
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
    noisy_labels,
    noisy_linear_quadratic,
    performative,
    performative_gradient,
    performative_targets,
    phase_walk,
    prediction_game,
    random_features_risk,
    redeployment,
    ridge_regression,
    self_play,
    toy_regression,
    two_layer_training,
    walker_weights,
)
from metalearn.inner.training import (
    Benchmark,
    breast_cancer_benchmark,
    convolutional_benchmark,
    digits_benchmark,
    lstm_benchmark,
    residual_benchmark,
    teacher_benchmark,
    transformer_benchmark,
    wine_benchmark,
)

__all__ = [
    "Benchmark",
    "benchmark_training",
    "breast_cancer_benchmark",
    "burning_ship",
    "coin_flip",
    "convolutional_benchmark",
    "cubic_loss",
    "digits_benchmark",
    "digits_training",
    "double_well",
    "expected_score",
    "fractal_training",
    "guided_walk",
    "henon",
    "influence_balancing",
    "julia",
    "l2_tuning",
    "linear_quadratic",
    "logistic_map",
    "lorenz",
    "lstm_benchmark",
    "lyapunov_logistic",
    "magnet",
    "mandelbrot",
    "newton",
    "noisy_labels",
    "noisy_linear_quadratic",
    "performative",
    "performative_gradient",
    "performative_targets",
    "phase_walk",
    "prediction_game",
    "random_features_risk",
    "redeployment",
    "residual_benchmark",
    "ridge_regression",
    "self_play",
    "teacher_benchmark",
    "toy_regression",
    "transformer_benchmark",
    "two_layer_training",
    "walker_weights",
    "wine_benchmark",
]
