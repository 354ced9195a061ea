"""Floor 2: gradients of the meta-loss, one method, one file.

A method is a function of one particle and one window (`particles.Method`); what all of them share (episodes, resets,
staggering, chunks, divergence) is written once in `particles`. Backprop, forward mode and persistent ES then differ in
a dozen lines each, which is what their pages in the papers say.
"""

from metalearn.estimators.artbp import artbp
from metalearn.estimators.backprop import backprop
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import over_devices
from metalearn.estimators.evolution_strategies import evolution_strategies
from metalearn.estimators.forward_gradient import forward_gradient
from metalearn.estimators.forward_mode import forward_mode
from metalearn.estimators.generalized_persistent_es import generalized_persistent_es
from metalearn.estimators.mixture import mixture
from metalearn.estimators.noise_reuse_es import noise_reuse_es
from metalearn.estimators.persistent_es import persistent_es
from metalearn.estimators.uoro import uoro
from metalearn.estimators.wrappers import clip_gradient, combine, normalise_gradient

__all__ = [
    "Description",
    "GradientEstimator",
    "artbp",
    "backprop",
    "clip_gradient",
    "combine",
    "evolution_strategies",
    "forward_gradient",
    "forward_mode",
    "generalized_persistent_es",
    "mixture",
    "noise_reuse_es",
    "normalise_gradient",
    "over_devices",
    "persistent_es",
    "uoro",
]
