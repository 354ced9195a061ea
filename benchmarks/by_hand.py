"""Persistent ES written by hand for one problem, as a baseline for the library's speed."""

import jax
import jax.numpy as jnp


def persistent_es_by_hand(problem, horizon, length, sigma, num_pairs):
    """Return `(begin, estimate)`; θ must be one array."""

    def begin(theta, key):
        states = jax.vmap(lambda key: problem.init(theta, key))(jax.random.split(key, num_pairs))
        pairs = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf], axis=1), states)
        return pairs, jnp.zeros((num_pairs, *theta.shape)), jnp.zeros((), jnp.int32)

    def member(state, theta, key):
        def step(state, key):
            state = problem.step(state, theta, key)
            return state, problem.loss(state, theta, key)

        state, losses = jax.lax.scan(step, state, jax.random.split(key, length))
        return jnp.mean(losses), state

    def estimate(theta, carry, key):
        states, accumulated, clock = carry
        key_noise, key_steps, key_start = jax.random.split(key, 3)
        fresh = begin(theta, key_start)
        states, accumulated = jax.tree.map(
            lambda old, new: jnp.where(clock == 0, new, old), (states, accumulated), fresh[:2]
        )
        noise = sigma * jax.random.normal(key_noise, (num_pairs, *theta.shape))
        accumulated = accumulated + noise
        both = jnp.stack([theta + noise, theta - noise], axis=1)
        keys = jax.random.split(key_steps, num_pairs)
        losses, states = jax.vmap(jax.vmap(member, in_axes=(0, 0, None)))(states, both, keys)
        slopes = (losses[:, 0] - losses[:, 1]) / (2 * sigma**2)
        gradient = jnp.mean(slopes.reshape(-1, *[1] * theta.ndim) * accumulated, axis=0)
        return gradient, (states, accumulated, (clock + 1) % (horizon // length))

    return begin, estimate
