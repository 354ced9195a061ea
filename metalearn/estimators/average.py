"""One estimate of many particles, and what is known of its variance."""

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.base import Metrics
from metalearn.inner.problem import Theta


def average(gradients: Theta, losses: jax.Array) -> tuple[Theta, Theta, Metrics]:
    """The mean over the particles whose loss and gradient are finite, its variance from their spread, and the counts.

    Args:
      gradients: `[num_particles, ...]` in the structure of θ.
      losses: `[num_particles]`.
    """
    used = jnp.isfinite(losses) & jax.vmap(trees.all_finite)(gradients)
    count = jnp.sum(used)

    def mean(values):
        mask = used.reshape((-1,) + (1,) * (values.ndim - 1))
        total = jnp.sum(jnp.where(mask, values, 0), axis=0, dtype=values.dtype)
        return total / jnp.maximum(count, 1).astype(values.dtype)

    gradient = jax.tree.map(mean, gradients)
    squares = jax.tree.map(lambda g, m: mean(jnp.square(g - m[None])), gradients, gradient)
    freedom = jnp.where(count > 1, count - 1, jnp.nan)
    variance = jax.tree.map(lambda s: (s / freedom).astype(s.dtype), squares)
    total = sum((jnp.sum(leaf, dtype=jnp.float32) for leaf in jax.tree.leaves(variance)), start=jnp.zeros(()))
    metrics = {
        "loss": jnp.where(count > 0, mean(losses), jnp.nan),
        "fraction_diverged": (len(used) - count) / len(used),
        "gradient_variance": total,
    }
    return gradient, variance, metrics
