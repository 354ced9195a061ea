"""What the published experiments share: one outer loop mapped over seeds, and the meta-loss along it."""

import jax
import jax.numpy as jnp
import numpy as np

import metalearn as ml


def keys(seeds):
    return jax.vmap(jax.random.key)(jnp.asarray(seeds))


def iterates(estimator, optimizer, theta, seeds, num_steps):
    """θ before every outer step of `ml.meta_train`, `[seeds, num_steps, ...]`; the seeds run side by side in one program."""
    theta = jnp.asarray(theta, jnp.float32)
    run = lambda key: ml.meta_train(estimator, optimizer, theta, key, num_steps)[1].theta
    return jax.vmap(run)(keys(seeds))


def meta_losses(problem, thetas, horizon, num_episodes=1):
    """L at `[seeds, count, ...]` meta-parameters, the mean over episodes that are the same for all: `[seeds, count]`."""
    episodes = keys(range(num_episodes))
    at = lambda theta: jnp.mean(jax.vmap(lambda key: ml.meta_loss(problem, theta, key, horizon))(episodes))
    chunk = max(1, 512 // num_episodes)
    run = jax.jit(lambda thetas: jax.lax.map(at, thetas, batch_size=chunk))
    return np.asarray(run(thetas.reshape(-1, *thetas.shape[2:]))).reshape(thetas.shape[:2])
