"""Independent samples of an estimator: the windows of one particle's episode for many keys, and its random draws.

Compilation dominates the time of the tests. An estimator of one particle, mapped over keys, is one small program. It is
compiled without optimisation and without fusion emitters, which takes a third of the time and changes only rounding.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.estimators import Description, GradientEstimator
from metalearn.estimators.method import Method
from metalearn.estimators.particles import from_method
from metalearn.inner.divergence import Reading
from metalearn.inner.unroll import Truncation

QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}


def quick(estimator: GradientEstimator) -> GradientEstimator:
    """Return the same estimator, compiled with the least effort."""
    init = jax.jit(estimator.init, compiler_options=QUICK)
    return estimator._replace(init=init, estimate=jax.jit(estimator.estimate, compiler_options=QUICK))


def blank(estimator: GradientEstimator, theta):
    """Return a state of zeros at the start of an episode, where lockstep estimators reset everything."""
    shapes = jax.eval_shape(estimator.init, theta, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)


def sample(build: Callable, theta, count: int, *, num_samples: int, sigma=0.0, seed: int = 0) -> np.ndarray:
    """Sample `count` consecutive estimates of many particles from the start of an episode: `[num_samples, count, *θ]`.

    Args:
      build: `sigma -> estimator` with one particle; sigma is traced.
      theta: an array.
      count: the number of estimates; those of one episode are its windows.
      num_samples: independent particles.
      sigma: one number, or one for each sample.
      seed: of the keys.
    """
    theta = jnp.asarray(theta, jnp.float32)

    def one(sigma, keys):
        estimator = build(sigma)
        return _scan(estimator, theta, blank(estimator, theta), keys)[0]

    sigma = jnp.broadcast_to(jnp.asarray(sigma, jnp.float32), (num_samples,))
    return np.asarray(_map(one)(sigma, jax.random.split(jax.random.key(seed), (num_samples, count))))


def sample_staggered(build: Callable, theta, count: int, *, num_samples: int, sigma=0.0, seed: int = 0):
    """Sample from `init` on, and return `(gradients, clocks)`, `[num_samples, count]` each.

    A clock is the window seen.
    """
    theta = jnp.asarray(theta, jnp.float32)

    def one(keys):
        estimator = build(sigma)
        gradients, clocks = _scan(estimator, theta, estimator.init(theta, keys[0]), keys[1:])
        return gradients, clocks[:, 0]

    keys = jax.random.split(jax.random.key(seed), (num_samples, count + 1))
    gradients, clocks = _map(one)(keys)
    return np.asarray(gradients), np.asarray(clocks)


def probe(problem, truncation: Truncation, num_particles: int, draw: Callable) -> GradientEstimator:
    """An estimator whose `state.memory` is `draw(theta, key)` of each particle with the key that a window is given.

    It uses the same driver as all estimators, so its draws equal theirs if the keys of the estimates are equal.
    """

    def start(theta, state):
        return jax.tree.map(jnp.zeros_like, jax.eval_shape(draw, theta, jax.random.key(0)))

    def window(run, theta, memory, clock, key):
        fine = jnp.zeros((), bool)
        return theta, draw(theta, key), Reading(jnp.zeros(()), fine, fine)

    description = Description(problem, truncation, num_particles, lambda theta: 0)
    return from_method(Method(start, window), problem, truncation, num_particles, None, description)


def normal(sigma) -> Callable:
    """Draw the flat perturbation of evolution strategies, or direction of forward gradients; for `probe`."""
    return lambda theta, key: ravel_pytree(trees.normal_like(key, theta, sigma))[0]


def _scan(estimator, theta, state, keys):
    def body(state, key):
        gradient, after, _ = estimator.estimate(theta, state, key)
        return after, (gradient, state.clock)

    return jax.lax.scan(body, state, keys)[1]


def _map(one):
    return jax.jit(jax.vmap(one), compiler_options=QUICK)
