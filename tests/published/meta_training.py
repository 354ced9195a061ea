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


def meta_losses(problem, thetas, horizon, key=None):
    """L(θ) for every one of `[..., d]` or scalar θ, mapped in chunks; one key for all."""
    key = jax.random.key(0) if key is None else key
    at = lambda theta: ml.meta_loss(problem, theta, key, horizon)
    return np.asarray(jax.jit(lambda thetas: jax.lax.map(at, thetas, batch_size=256))(thetas))
