"""Floor 1: what is iterated.

Everything metalearn studies is one map s ← F(s, θ) with an observable ℓ(s, θ). This floor makes such maps: a training
run is a task, an optimiser and the three functions that tie them together; the logistic map, Lorenz and a quadratic are
three functions written by hand.
"""

from metalearn.inner import learned as learned
from metalearn.inner.benchmark import (
    Benchmark,
    breast_cancer_benchmark,
    digits_benchmark,
    teacher_benchmark,
    wine_benchmark,
)
from metalearn.inner.chaotic import cubic_loss, double_well, henon, logistic_map, lorenz, toy_regression
from metalearn.inner.classic import influence_balancing, l2_tuning, linear_quadratic, noisy_linear_quadratic, phase_walk
from metalearn.inner.data import Data, breast_cancer, digits, gaussian_regression, split, teacher, wine
from metalearn.inner.derived import every, final_loss, in_windows
from metalearn.inner.differentiable import check_problem
from metalearn.inner.distribution import task_distribution
from metalearn.inner.divergence import saturate
from metalearn.inner.fractals import burning_ship, julia, lyapunov_logistic, magnet, mandelbrot, newton
from metalearn.inner.hyperparameters import (
    cosine,
    inverse_time,
    linear,
    log,
    log10,
    log_linear,
    logit,
    piecewise,
    value,
)
from metalearn.inner.metrics import cross_entropy, error_rate, mean_squared_error
from metalearn.inner.minibatches import gaussian_noise
from metalearn.inner.networks import Network, convolutional, mlp
from metalearn.inner.optimizers import adam, adamw, clipped, per_layer, sgd
from metalearn.inner.problem import InnerProblem
from metalearn.inner.ready import digits_training, fractal_training
from metalearn.inner.task import Task, classification, evaluation, regression
from metalearn.inner.trainability import trainability_data, two_layer_training
from metalearn.inner.training import TrainingState, training
from metalearn.inner.tuning import Tuning, everything, learned_tuning, per_tensor_adam
from metalearn.inner.unroll import Truncation, meta_loss, unroll
from metalearn.inner.wrapped import from_linen, from_nnx

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
    "breast_cancer",
    "breast_cancer_benchmark",
    "burning_ship",
    "check_problem",
    "classification",
    "clipped",
    "convolutional",
    "cosine",
    "cross_entropy",
    "cubic_loss",
    "digits",
    "digits_benchmark",
    "digits_training",
    "double_well",
    "error_rate",
    "evaluation",
    "every",
    "everything",
    "final_loss",
    "fractal_training",
    "from_linen",
    "from_nnx",
    "gaussian_noise",
    "gaussian_regression",
    "henon",
    "in_windows",
    "influence_balancing",
    "inverse_time",
    "julia",
    "l2_tuning",
    "learned",
    "learned_tuning",
    "linear",
    "linear_quadratic",
    "log",
    "log10",
    "log_linear",
    "logistic_map",
    "logit",
    "lorenz",
    "lyapunov_logistic",
    "magnet",
    "mandelbrot",
    "mean_squared_error",
    "meta_loss",
    "mlp",
    "newton",
    "noisy_linear_quadratic",
    "per_layer",
    "per_tensor_adam",
    "phase_walk",
    "piecewise",
    "regression",
    "saturate",
    "sgd",
    "split",
    "task_distribution",
    "teacher",
    "teacher_benchmark",
    "toy_regression",
    "trainability_data",
    "training",
    "two_layer_training",
    "unroll",
    "value",
    "wine",
    "wine_benchmark",
]
