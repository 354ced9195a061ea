"""Floor 1: what is iterated.

Everything metalearn studies is one map s ← F(s, θ) with an observable ℓ(s, θ). This floor makes such maps: a training
run is a task, an optimiser and the three functions that tie them together; the logistic map, Lorenz and a quadratic are
three functions written by hand.
"""

from metalearn.inner import learned as learned
from metalearn.inner.derived import final_loss, in_windows, strided
from metalearn.inner.differentiable import check_problem
from metalearn.inner.distribution import task_distribution
from metalearn.inner.divergence import saturate
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.chaotic import cubic_loss, double_well, henon, logistic_map, lorenz, toy_regression
from metalearn.inner.problems.fractals import burning_ship, julia, lyapunov_logistic, magnet, mandelbrot, newton
from metalearn.inner.problems.known import (
    influence_balancing,
    l2_tuning,
    linear_quadratic,
    noisy_linear_quadratic,
    phase_walk,
)
from metalearn.inner.problems.ready_made import digits_training, fractal_training
from metalearn.inner.problems.two_layer import two_layer_data, two_layer_training
from metalearn.inner.training.benchmark import (
    Benchmark,
    breast_cancer_benchmark,
    digits_benchmark,
    teacher_benchmark,
    wine_benchmark,
)
from metalearn.inner.training.datasets import Data, breast_cancer, digits, gaussian_regression, split, teacher, wine
from metalearn.inner.training.flax_wrappers import from_linen, from_nnx
from metalearn.inner.training.hyperparameters import (
    cosine_schedule,
    exp,
    exp10,
    inverse_time_schedule,
    linear_schedule,
    log_linear_schedule,
    piecewise_schedule,
    sigmoid,
    value,
)
from metalearn.inner.training.metrics import cross_entropy, error_rate, mean_squared_error
from metalearn.inner.training.minibatches import gaussian_noise
from metalearn.inner.training.networks import Network, convolutional, mlp
from metalearn.inner.training.optimizers import adam, adamw, clipped, per_layer, sgd
from metalearn.inner.training.task import Task, classification, metric_loss, regression
from metalearn.inner.training.training import TrainingState, training
from metalearn.inner.training.tuning import Tuning, all_hyperparameters, learned_tuning, per_tensor_adam
from metalearn.inner.unroll import Truncation, meta_loss, unroll

__all__ = [
    "Benchmark",
    "Data",
    "InnerProblem",
    "Network",
    "Task",
    "TrainingState",
    "Truncation",
    "Tuning",
    "adam",
    "adamw",
    "all_hyperparameters",
    "breast_cancer",
    "breast_cancer_benchmark",
    "burning_ship",
    "check_problem",
    "classification",
    "clipped",
    "convolutional",
    "cosine_schedule",
    "cross_entropy",
    "cubic_loss",
    "digits",
    "digits_benchmark",
    "digits_training",
    "double_well",
    "error_rate",
    "exp",
    "exp10",
    "final_loss",
    "fractal_training",
    "from_linen",
    "from_nnx",
    "gaussian_noise",
    "gaussian_regression",
    "henon",
    "in_windows",
    "influence_balancing",
    "inverse_time_schedule",
    "julia",
    "l2_tuning",
    "learned",
    "learned_tuning",
    "linear_quadratic",
    "linear_schedule",
    "log_linear_schedule",
    "logistic_map",
    "lorenz",
    "lyapunov_logistic",
    "magnet",
    "mandelbrot",
    "mean_squared_error",
    "meta_loss",
    "metric_loss",
    "mlp",
    "newton",
    "noisy_linear_quadratic",
    "per_layer",
    "per_tensor_adam",
    "phase_walk",
    "piecewise_schedule",
    "regression",
    "saturate",
    "sgd",
    "sigmoid",
    "split",
    "strided",
    "task_distribution",
    "teacher",
    "teacher_benchmark",
    "toy_regression",
    "training",
    "two_layer_data",
    "two_layer_training",
    "unroll",
    "value",
    "wine",
    "wine_benchmark",
]
