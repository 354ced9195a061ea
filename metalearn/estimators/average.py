"""One estimate of many particles, and what is known of its variance."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.estimators.base import Metrics
from metalearn.inner.problem import Theta


def average(gradients: Theta, losses: jax.Array) -> tuple[Theta, Theta, Metrics]:
    """The mean over the particles whose loss and gradient are finite, its variance from their spread, and the counts.

    Args:
      gradients: `[num_particles, ...]` in the structure of θ.
      losses: `[num_particles]`.

    Returns:
      `(mean, variance, metrics)`; the first two in float32 or wider, whatever the precision of the gradients.
    """
    gradients = trees.wide(gradients)
    one, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], gradients))
    kind = jnp.promote_types(one.dtype, losses.dtype)
    flat = [leaf.reshape(len(losses), -1).astype(kind) for leaf in jax.tree.leaves(gradients)]
    values = jnp.concatenate(
        [*flat, losses[:, None].astype(kind)], axis=1
    )  # in one array, each operation is one kernel
    used = jnp.all(jnp.isfinite(values), axis=1)
    count = jnp.sum(used).astype(kind)
    over_used = lambda numbers: jnp.sum(jnp.where(used[:, None], numbers, 0), axis=0)
    mean = over_used(values) / jnp.maximum(count, 1)
    freedom = jnp.where(count > 1, count - 1, jnp.nan)
    variance = over_used(jnp.square(values - mean[None])) / jnp.maximum(count, 1) / freedom
    metrics = {
        "loss": jnp.where(count > 0, mean[-1], jnp.nan).astype(losses.dtype),
        "fraction_diverged": ((len(used) - count) / len(used)).astype(jnp.result_type(float)),
        "gradient_variance": jnp.sum(variance[:-1]).astype(jnp.result_type(float)),
    }
    back = lambda vector: unravel(vector[:-1].astype(one.dtype))
    return back(mean), back(variance), metrics
