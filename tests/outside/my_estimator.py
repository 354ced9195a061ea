"""An estimator as somebody else would write it: public names only."""

import jax
import jax.numpy as jnp

import metalearn as ml


def my_evolution_strategies(problem, truncation, *, sigma, num_pairs, chunk_size=None):
    """Antithetic evolution strategies on windows, with one perturbation for the whole episode."""
    ml.estimators.check_common(problem, truncation, chunk_size)
    ml.estimators.check_sigma(sigma)
    ml.estimators.check_count("num_pairs", num_pairs)

    def start(theta, state):
        states = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
        return states, jax.tree.map(jnp.zeros_like, theta)

    def window(run, theta, memory, clock, key):
        states, noise = memory
        fresh = ml.estimators.normal_like(key, theta, sigma)
        noise = jax.tree.map(lambda new, old: jnp.where(clock == 0, new, old), fresh, noise)
        member = lambda sign, state: run(jax.tree.map(lambda t, e: t + (sign * e).astype(t.dtype), theta, noise), state)
        readings, states = jax.vmap(member)(jnp.array([1.0, -1.0]), states)
        slope = (readings.loss[0] - readings.loss[1]) / (2 * sigma**2)
        return jax.tree.map(lambda e: slope * e.astype(jnp.float32), noise), (states, noise), readings

    def memory(theta):
        return (
            2
            * num_pairs
            * (ml.estimators.state_bytes(problem, theta) + sum(leaf.nbytes for leaf in jax.tree.leaves(theta)))
        )

    return ml.estimators.from_method(
        ml.estimators.Method(start, window, num_unrolls=2),
        problem,
        truncation,
        num_pairs,
        chunk_size,
        ml.estimators.Description(problem, truncation, num_pairs, memory, sigma, name="my ES"),
    )
