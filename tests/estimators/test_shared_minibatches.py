"""Minibatches shared by all particles: the mean is unchanged, and every particle sees the same minibatches."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.estimators import backprop, noise_reuse_es, persistent_es
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from tests.estimators.sampling import sample
from tests.statistics import rejects, within

NOISE, THETA = 0.5, 0.3
TRUNCATION = Truncation(4, 2, shared_minibatches=True)


def shaken():
    """s ← (0.9 + ε_t) s + θ, ε_t = ±NOISE, ℓ = s²."""

    def step(state, theta, key):
        return (0.9 + NOISE * jax.random.rademacher(key, (), jnp.float32)) * state + theta

    return InnerProblem(lambda theta, key: jnp.ones(()), step, lambda state, theta, key: state**2)


def expected(sequences):
    """Return the gradient of each window's mean loss, averaged over all sequences of signs."""
    gradients = []
    for signs in sequences:
        s, tangent, windows = 1.0, 0.0, []
        for sign in signs:
            factor = 0.9 + NOISE * sign
            s, tangent = factor * s + THETA, factor * tangent + 1
            windows.append(2 * s * tangent)
        gradients.append(np.reshape(windows, (2, 2)).mean(axis=1))
    return np.mean(gradients, axis=0)


FRESH = expected(itertools.product([-1, 1], repeat=4))
REPEATED = expected((a, b, a, b) for a, b in itertools.product([-1, 1], repeat=2))  # one minibatch for both windows


@pytest.mark.parametrize(
    "build",
    [
        lambda sigma: persistent_es(shaken(), TRUNCATION, sigma=sigma, num_pairs=1),
        lambda sigma: noise_reuse_es(shaken(), TRUNCATION, sigma=sigma, num_pairs=1),
    ],
    ids=["PES", "NRES"],
)
def test_the_mean_is_the_same_as_with_a_new_minibatch_per_step(build):
    found = sample(build, THETA, 2, num_samples=100_000, sigma=0.1)
    assert within(found, FRESH, twin=REPEATED)
    assert rejects(found, REPEATED)


@pytest.mark.parametrize("stagger", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_all_particles_use_the_same_minibatches_and_different_initial_states(shared, stagger):
    """The state of each particle stores its start and the noise of the last step."""

    def init(theta, key):
        return jnp.stack([jax.random.normal(key), jnp.zeros(())])

    walk = InnerProblem(
        init,
        lambda s, theta, key: jnp.stack([s[0], theta + jax.random.normal(key)]),
        lambda s, theta, key: s[1] ** 2,
    )
    estimator = backprop(walk, Truncation(4, 2, stagger=stagger, shared_minibatches=shared), num_particles=8)
    theta = jnp.float32(0.0)
    _, state, _ = estimator.estimate(theta, estimator.init(theta, jax.random.key(0)), jax.random.key(1))
    starts, ends = np.asarray(jax.tree.leaves(state.memory)[0]).reshape(8, 2).T
    assert len(set(starts)) == 8
    assert len(set(ends)) == (1 if shared else 8)
