"""Training as an inner problem: tasks, networks, data, and optimisers whose hyperparameters are functions of θ."""

from metalearn.inner.training.averages import averaged, averaged_params
from metalearn.inner.training.benchmark import (
    Benchmark,
    breast_cancer_benchmark,
    digits_benchmark,
    teacher_benchmark,
    wine_benchmark,
)
from metalearn.inner.training.datasets import Data, breast_cancer, digits, gaussian_regression, split, teacher, wine
from metalearn.inner.training.examples import Examples, MemoryMapped, memory_mapped
from metalearn.inner.training.flax_wrappers import from_linen, from_nnx
from metalearn.inner.training.hyperparameter_sets import Tuning, all_hyperparameters, learned_tuning, per_tensor_adam
from metalearn.inner.training.metrics import cross_entropy, error_rate, mean_squared_error
from metalearn.inner.training.minibatches import gaussian_noise
from metalearn.inner.training.module_wrappers import from_equinox, from_haiku
from metalearn.inner.training.network_benchmarks import (
    convolutional_benchmark,
    lstm_benchmark,
    residual_benchmark,
    transformer_benchmark,
)
from metalearn.inner.training.networks import Network, convolutional, mlp
from metalearn.inner.training.optimizers import adam, adamw, clipped, per_layer, sgd
from metalearn.inner.training.schedules import (
    cosine_schedule,
    inverse_time_schedule,
    linear_schedule,
    log_linear_schedule,
    piecewise_schedule,
)
from metalearn.inner.training.task import Task, classification, metric_loss, regression
from metalearn.inner.training.text import characters
from metalearn.inner.training.training import TrainingState, training
from metalearn.inner.training.transforms import exp, exp10, sigmoid, value

__all__ = [
    "Benchmark",
    "Data",
    "Examples",
    "MemoryMapped",
    "Network",
    "Task",
    "TrainingState",
    "Tuning",
    "adam",
    "adamw",
    "all_hyperparameters",
    "averaged",
    "averaged_params",
    "breast_cancer",
    "breast_cancer_benchmark",
    "characters",
    "classification",
    "clipped",
    "convolutional",
    "convolutional_benchmark",
    "cosine_schedule",
    "cross_entropy",
    "digits",
    "digits_benchmark",
    "error_rate",
    "exp",
    "exp10",
    "from_equinox",
    "from_haiku",
    "from_linen",
    "from_nnx",
    "gaussian_noise",
    "gaussian_regression",
    "inverse_time_schedule",
    "learned_tuning",
    "linear_schedule",
    "log_linear_schedule",
    "lstm_benchmark",
    "mean_squared_error",
    "memory_mapped",
    "metric_loss",
    "mlp",
    "per_layer",
    "per_tensor_adam",
    "piecewise_schedule",
    "regression",
    "residual_benchmark",
    "sgd",
    "sigmoid",
    "split",
    "teacher",
    "teacher_benchmark",
    "training",
    "transformer_benchmark",
    "value",
    "wine",
    "wine_benchmark",
]
