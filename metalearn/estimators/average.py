"""The average of the gradients of many particles, its variance, and the metrics of an estimate."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import debugging, trees
from metalearn.estimators.base import Metrics
from metalearn.inner.divergence import Reading
from metalearn.types import Theta


def average(gradients: Theta, readings: Reading) -> tuple[Theta, Theta, Metrics]:
    """Average the gradients of the particles whose gradient is finite.

    Args:
      gradients: the gradients, `[num_particles, ...]` in the structure of θ.
      readings: the readings of all runs of each particle, `[num_particles, ...]`.

    Returns:
      `(mean, variance, metrics)`. The variance of the mean is estimated from the spread of the particles. Mean and
      variance are in float32 or wider.
    """
    diverged, capped = (jnp.any(one.reshape(len(one), -1), axis=1) for one in readings[1:])
    losses = jnp.mean(readings.loss.reshape(len(diverged), -1), axis=1)
    gradients = trees.wide(gradients)
    one, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], gradients))
    kind = jnp.promote_types(one.dtype, losses.dtype)
    flat = [leaf.reshape(len(losses), -1).astype(kind) for leaf in jax.tree.leaves(gradients)]
    values = jnp.concatenate(
        [*flat, losses[:, None].astype(kind)], axis=1
    )  # one array, so that each operation is one kernel
    used = jnp.all(debugging.finite(values), axis=1)
    count = jnp.sum(used).astype(kind)
    over_used = lambda numbers: jnp.sum(jnp.where(used[:, None], numbers, 0), axis=0)
    mean = over_used(values) / jnp.maximum(count, 1)
    variance = over_used(jnp.square(values - mean[None])) / jnp.maximum(count, 1) / jnp.maximum(count - 1, 1)
    variance = jnp.where(count > 1, variance, debugging.unknown())
    metrics = {
        "loss": jnp.mean(losses),
        "absolute_loss": jnp.mean(jnp.abs(losses)),
        "worst_share": _worst_share(losses).astype(jnp.result_type(float)),
        "fraction_diverged": jnp.mean(diverged | ~used, dtype=jnp.result_type(float)),
        "fraction_capped": jnp.mean(capped, dtype=jnp.result_type(float)),
        "gradient_variance": jnp.sum(variance[:-1]).astype(jnp.result_type(float)),
    }
    back = lambda vector: unravel(vector[:-1].astype(one.dtype))
    return back(mean), back(variance), metrics


def joint_share(shares, sizes) -> jax.Array:
    """Combine the `worst_share` of several estimates, weighted with their `absolute_loss` where it is finite."""
    sizes = jnp.where(debugging.finite(sizes), sizes, 0)
    total = jnp.sum(sizes)
    return jnp.sum(jnp.where(sizes > 0, shares * sizes, 0)) / jnp.where(total > 0, total, 1)


def join_sizes(reports: list[Metrics], shares: Any = 1.0) -> Metrics:
    """Combine `absolute_loss` and `worst_share` of several estimates of which each makes up a share of the loss."""
    sizes = jnp.stack([trees.wide(one.get("absolute_loss", jnp.abs(one["loss"]))) for one in reports]) * shares
    worst = jnp.stack([one.get("worst_share", jnp.zeros(())) for one in reports])
    finite = debugging.finite(sizes)
    mean = jnp.sum(jnp.where(finite, sizes, 0)) / jnp.maximum(
        jnp.sum(jnp.where(finite, shares, 0)), jnp.finfo(sizes.dtype).tiny
    )
    return {"absolute_loss": mean, "worst_share": joint_share(worst, sizes)}


def _worst_share(losses):
    """Return the share of Σ|loss| of the worst 1 % of the particles, at least one; 0 if there is only one particle."""
    if len(losses) == 1:
        return jnp.zeros(())
    sizes, count = jnp.abs(losses), -(-len(losses) // 100)
    total, worst = jnp.sum(sizes), jnp.max(sizes) if count == 1 else jnp.sum(jax.lax.top_k(sizes, count)[0])
    return worst / jnp.maximum(total, jnp.finfo(losses.dtype).tiny)
