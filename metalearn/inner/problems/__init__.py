"""Ready-made inner problems: known and chaotic maps, classical fractals, and training runs on real data.

`ml.problems` lists the public names.
"""

# ruff: noqa: F401

from metalearn.inner.problems.chaotic import cubic_loss, double_well, henon, logistic_map, lorenz, toy_regression
from metalearn.inner.problems.fractals import burning_ship, julia, lyapunov_logistic, magnet, mandelbrot, newton
from metalearn.inner.problems.guided_walk import guided_walk, walker_weights
from metalearn.inner.problems.known import (
    influence_balancing,
    l2_tuning,
    linear_quadratic,
    noisy_linear_quadratic,
    phase_walk,
)
from metalearn.inner.problems.noisy_labels import noisy_labels
from metalearn.inner.problems.performative import performative, performative_gradient, performative_targets
from metalearn.inner.problems.predictions import coin_flip, expected_score, prediction_game, redeployment, self_play
from metalearn.inner.problems.random_features import random_features_risk
from metalearn.inner.problems.ready_made import benchmark_training, digits_training, fractal_training
from metalearn.inner.problems.ridge import ridge_regression
from metalearn.inner.problems.two_layer import two_layer_data, two_layer_training
