"""Outer trajectories: the same descent from several starts at once."""

import jax
import jax.numpy as jnp
import optax

from metalearn.compilation import jit
from metalearn.estimators import GradientEstimator
from metalearn.outer.meta_train import meta_train
from metalearn.types import Key, Theta


def outer_trajectories(
    estimator: GradientEstimator,
    optimizer: optax.GradientTransformation,
    starts: Theta,
    key: Key,
    num_steps: int,
    *,
    low: Theta | None = None,
    high: Theta | None = None,
) -> tuple[Theta, dict[str, jax.Array]]:
    """`meta_train` from every start, mapped in one program.

    Args:
      estimator, optimizer, num_steps: as in `meta_train`.
      starts: θ with one leading axis, `[num_starts, ...]`.
      key: each start has its own randomness.
      low, high: the corners of the box that θ is kept in; none by default.

    Returns:
      `(thetas, metrics)`: θ before each step and at the end, `[num_starts, num_steps + 1, ...]`, and the estimator's
      metrics, `[num_starts, num_steps]` each.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
    """
    bounded = None if low is None and high is None else lambda theta: _clip(theta, low, high)

    def descend(start, key):
        theta, history = meta_train(estimator, optimizer, start, key, num_steps, project=bounded)
        return jax.tree.map(lambda past, end: jnp.concatenate([past, end[None]]), history.theta, theta), history.metrics

    count = len(jax.tree.leaves(starts)[0])
    descents = jit(jax.vmap(descend), "outer trajectories", calls=1)
    return descents(starts, jax.random.split(key, count))


def _clip(theta, low, high):
    for bound, choose in ((low, jnp.maximum), (high, jnp.minimum)):
        if bound is not None:
            theta = jax.tree.map(
                lambda leaf, end, choose=choose: choose(leaf, jnp.asarray(end, leaf.dtype)), theta, bound
            )
    return theta
