"""Learned optimisers: θ holds the weights of a network that maps features of the gradients to updates.

Each is a `LearnedOptimizer`. `learned.init(key)` draws θ. `learned(theta)` is an optax transformation for parameters of
any shapes, which works in any training loop, in `optax.chain` and in `optax.partition`. `ml.training(task, learned)` is
the inner problem for meta-training it.
"""

from metalearn.inner.learned.base import LearnedOptimizer
from metalearn.inner.learned.factored import factored_optimizer
from metalearn.inner.learned.per_parameter import mlp_optimizer, nominal_optimizer
from metalearn.inner.learned.recurrent import recurrent_optimizer

__all__ = [
    "LearnedOptimizer",
    "factored_optimizer",
    "mlp_optimizer",
    "nominal_optimizer",
    "recurrent_optimizer",
]
