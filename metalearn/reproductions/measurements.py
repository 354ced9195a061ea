"""Measurements shared by the published experiments: outer loops over seeds, meta-losses, and estimates of episodes."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.compilation import jit
from metalearn.estimators import GradientEstimator
from metalearn.inner.checks import check_seed
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import meta_loss
from metalearn.outer.meta_train import meta_train
from metalearn.outer.meta_train_checks import Stages


def keys(seeds: Sequence[int]) -> jax.Array:
    """Return the random keys of seeds, `[seeds]`."""
    return jax.vmap(jax.random.key)(jnp.asarray([check_seed("Every one of seeds", seed) for seed in seeds], jnp.uint32))


def iterates(
    estimator: Stages,
    optimizer: optax.GradientTransformation,
    theta: Any,
    seeds: Sequence[int],
    num_steps: int,
) -> jax.Array:
    """Return θ before every outer step of `meta_train`, `[seeds, num_steps, ...]`; one program runs all seeds."""
    theta = jnp.asarray(theta, jnp.float32)
    run = lambda key: meta_train(estimator, optimizer, theta, key, num_steps)[1].theta
    return jax.vmap(run)(keys(seeds))


def meta_losses(problem: InnerProblem, thetas: jax.Array, horizon: int, num_episodes: int = 1) -> np.ndarray:
    """Return L at `[seeds, count, ...]` meta-parameters, the mean over the same episodes for all: `[seeds, count]`."""
    episodes = keys(range(num_episodes))
    at = lambda theta: jnp.mean(jax.vmap(lambda key: meta_loss(problem, theta, key, horizon))(episodes))
    chunk = max(1, 512 // num_episodes)
    run = jit(lambda thetas: jax.lax.map(at, thetas, batch_size=chunk), "meta-losses", calls=1)
    return np.asarray(run(thetas.reshape(-1, *thetas.shape[2:]))).reshape(thetas.shape[:2])


def episode_means(
    estimator: GradientEstimator, keys: jax.Array, num_windows: int, batch_size: int | None = None
) -> Callable[[Any], np.ndarray]:
    """Return a function of θ: the mean estimate over the episode of each key at this fixed θ, `[episodes, ...]`."""

    def one(theta, key):
        def body(state, key):
            gradient, state, _ = estimator.estimate(theta, state, key)
            return state, gradient

        key_init, key_windows = jax.random.split(key)
        state = estimator.init(theta, key_init)
        return jnp.mean(jax.lax.scan(body, state, jax.random.split(key_windows, num_windows))[1], axis=0)

    run = jit(lambda theta: jax.lax.map(lambda key: one(theta, key), keys, batch_size=batch_size), "episodes")
    return lambda theta: np.asarray(run(theta))
