"""What the published experiments share: one outer loop mapped over seeds, and the meta-loss along it."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.inner import InnerProblem, meta_loss
from metalearn.outer import meta_train
from metalearn.outer.meta_train import Stages


def keys(seeds: Sequence[int]) -> jax.Array:
    """The random keys of seeds, `[seeds]`."""
    return jax.vmap(jax.random.key)(jnp.asarray(seeds))


def iterates(
    estimator: Stages,
    optimizer: optax.GradientTransformation,
    theta: Any,
    seeds: Sequence[int],
    num_steps: int,
) -> jax.Array:
    """θ before every outer step of `meta_train`, `[seeds, num_steps, ...]`; the seeds run side by side in one program."""
    theta = jnp.asarray(theta, jnp.float32)
    run = lambda key: meta_train(estimator, optimizer, theta, key, num_steps)[1].theta
    return jax.vmap(run)(keys(seeds))


def meta_losses(problem: InnerProblem, thetas: jax.Array, horizon: int, num_episodes: int = 1) -> np.ndarray:
    """L at `[seeds, count, ...]` meta-parameters, the mean over episodes that are the same for all: `[seeds, count]`."""
    episodes = keys(range(num_episodes))
    at = lambda theta: jnp.mean(jax.vmap(lambda key: meta_loss(problem, theta, key, horizon))(episodes))
    chunk = max(1, 512 // num_episodes)
    run = jax.jit(lambda thetas: jax.lax.map(at, thetas, batch_size=chunk))
    return np.asarray(run(thetas.reshape(-1, *thetas.shape[2:]))).reshape(thetas.shape[:2])
