"""Estimators of the gradient of the meta-loss, one file for each, and the names for writing a new one.

A method is a function of one particle and one window (`Method`). `from_method` adds what all methods share: episodes,
resets, staggering, chunks and divergence. docs/writing_an_estimator.md writes an estimator with these names:

| names | use |
|---|---|
| `Method`, `from_method` | a function of one particle and one window; the conversion of a method to an estimator |
| `Description`, `Family` | what is estimated, for `ml.compare`; estimators that differ only in numbers |
| `Reading`, `unless_diverged` | losses and divergence of a window; a derivative, or NaN where the window diverged |
| `REVERSE`, `FORWARD`, `BOTH` | the modes in which a method differentiates `run`, checked in `init` |
| `check_common`, `check_sigma`, `check_count`, `check_number` | checks of arguments, for use at construction |
| `reset_accumulator`, `restart` | zeros, or another value, at the first window of an episode |
| `normal_like`, `state_bytes`, `residual_bytes` | perturbations in the structure of θ; terms of memory formulas |
| `score_function` | a loss of random choices whose derivative is a policy gradient, for `backprop` |
| `GradientEstimator`, `Particles`, `Theta`, `State`, `Key`, `Memory`, `Run`, `Metrics` | types |

`ml.testing.check_estimator` checks that an estimator meets the contract of `GradientEstimator`.
"""

from metalearn.estimators.accumulator import reset_accumulator, restart
from metalearn.estimators.adaptive_sigma import adaptive_sigma
from metalearn.estimators.artbp import artbp
from metalearn.estimators.backprop import backprop
from metalearn.estimators.base import Description, Family, GradientEstimator, Metrics
from metalearn.estimators.bootstrapped import bootstrapped
from metalearn.estimators.devices import over_devices
from metalearn.estimators.evolution_strategies import evolution_strategies
from metalearn.estimators.forward_gradient import forward_gradient
from metalearn.estimators.forward_mode import forward_mode
from metalearn.estimators.generalized_persistent_es import generalized_persistent_es
from metalearn.estimators.guided_es import guided_es
from metalearn.estimators.implicit_gradient import implicit_gradient
from metalearn.estimators.memory import residual_bytes, state_bytes
from metalearn.estimators.method import Memory, Method, Particles, Run
from metalearn.estimators.mixture import mixture
from metalearn.estimators.noise_reuse_es import noise_reuse_es
from metalearn.estimators.particles import check_common, check_sigma, from_method
from metalearn.estimators.persistent_es import persistent_es
from metalearn.estimators.uoro import uoro
from metalearn.estimators.wrappers import clip_gradient, combine, normalise_gradient
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.differentiable import BOTH, FORWARD, REVERSE
from metalearn.inner.divergence import Reading, unless_diverged
from metalearn.inner.problem import Key, State, Theta
from metalearn.inner.score_function import score_function
from metalearn.trees import normal_like

__all__ = [
    "BOTH",
    "FORWARD",
    "REVERSE",
    "Description",
    "Family",
    "GradientEstimator",
    "Key",
    "Memory",
    "Method",
    "Metrics",
    "Particles",
    "Reading",
    "Run",
    "State",
    "Theta",
    "adaptive_sigma",
    "artbp",
    "backprop",
    "bootstrapped",
    "check_common",
    "check_count",
    "check_number",
    "check_sigma",
    "clip_gradient",
    "combine",
    "evolution_strategies",
    "forward_gradient",
    "forward_mode",
    "from_method",
    "generalized_persistent_es",
    "guided_es",
    "implicit_gradient",
    "mixture",
    "noise_reuse_es",
    "normal_like",
    "normalise_gradient",
    "over_devices",
    "persistent_es",
    "reset_accumulator",
    "residual_bytes",
    "restart",
    "score_function",
    "state_bytes",
    "unless_diverged",
    "uoro",
]
