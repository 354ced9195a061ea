"""Hyperparameters as functions of θ, `ml.hyperparameters.*`.

θ is unconstrained. A transform reads an entry of θ and maps it to a hyperparameter. A schedule takes numbers or
transforms and returns a function `theta -> optax schedule`. A `Tuning` holds a set of hyperparameters and its starting
point.

| group | functions |
|---|---|
| transforms of an entry of θ | `value`, `exp`, `exp10`, `sigmoid` |
| schedules between two values | `linear_schedule`, `log_linear_schedule`, `cosine_schedule` |
| other schedules | `inverse_time_schedule`, `piecewise_schedule` |
| wrappers of optimisers | `clipped`, `per_layer`, `averaged` and `averaged_params` |
| sets of hyperparameters | `all_hyperparameters`, `per_tensor_adam`, `learned_tuning`, `Tuning` |

    optimizer = ml.sgd(ml.hyperparameters.cosine_schedule(ml.hyperparameters.exp("log_rate"), 0.0, 1000))
"""

from metalearn.inner.training import (
    Tuning,
    all_hyperparameters,
    averaged,
    averaged_params,
    clipped,
    cosine_schedule,
    exp,
    exp10,
    inverse_time_schedule,
    learned_tuning,
    linear_schedule,
    log_linear_schedule,
    per_layer,
    per_tensor_adam,
    piecewise_schedule,
    sigmoid,
    value,
)

__all__ = [
    "Tuning",
    "all_hyperparameters",
    "averaged",
    "averaged_params",
    "clipped",
    "cosine_schedule",
    "exp",
    "exp10",
    "inverse_time_schedule",
    "learned_tuning",
    "linear_schedule",
    "log_linear_schedule",
    "per_layer",
    "per_tensor_adam",
    "piecewise_schedule",
    "sigmoid",
    "value",
]
