"""Learned optimisers, `ml.learned.*`, from `metalearn.inner.learned`."""

from metalearn.inner.learned import (
    LearnedOptimizer,
    factored_optimizer,
    mlp_optimizer,
    nominal_optimizer,
    recurrent_optimizer,
)

__all__ = ["LearnedOptimizer", "factored_optimizer", "mlp_optimizer", "nominal_optimizer", "recurrent_optimizer"]
