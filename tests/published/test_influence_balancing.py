"""Influence balancing, where the sign of the gradient comes from more than 40 steps ago: docs/theory.md §5.4.

Tallec and Ollivier 2017 (arXiv 1705.08209); Vicol, Metz and Sohl-Dickstein 2021 (arXiv 2112.13835).

n = 23, p = 10, θ_0 = ½, σ = 0.1, SGD 1e-4, 3000 outer steps of one episode that is never reset; the optimum is θ* =
−1/6. Methods that forget early steps increase the loss.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.reproductions.influence import HUNDREDS, NUM_STEPS, OPTIMUM, PROBLEM, RATE, SIGMA, STEPWISE, descend


def last_loss(problem, length):
    """A problem with the last loss of a window in place of its mean: length · ℓ_t at its end, zero elsewhere."""

    def step(state, theta, key):
        return problem.step(state[0], theta, key), state[1] + 1

    def loss(state, theta, key):
        return jnp.where(state[1] % length == 0, length * problem.loss(state[0], theta, key), 0.0)

    return ml.InnerProblem(lambda theta, key: (problem.init(theta, key), jnp.zeros((), jnp.int32)), step, loss)


def test_forward_mode_finds_the_optimum():
    np.testing.assert_allclose(descend(ml.forward_mode(PROBLEM, STEPWISE), seeds=(0,)), OPTIMUM, atol=1e-5)


@pytest.mark.parametrize("make", [ml.persistent_es, ml.noise_reuse_es])
def test_online_es_with_many_pairs_finds_the_optimum(make):
    np.testing.assert_allclose(descend(make(PROBLEM, STEPWISE, sigma=SIGMA, num_pairs=500)), OPTIMUM, atol=1e-5)


def test_noise_reuse_with_two_pairs_is_the_exact_gradient_at_a_random_rate():
    """In one episode of this linear-quadratic problem the estimate is the exact gradient times c = mean(ε²)/σ².

    c is drawn once. Every seed therefore ends where forward mode with the learning rate c · 1e-4 ends. The median seed
    ends at the optimum, in the published range −0.13 … −0.167. Seeds with a small c have not arrived, and one with c
    above 4 oscillates.
    """
    estimator, seeds = ml.noise_reuse_es(PROBLEM, STEPWISE, sigma=SIGMA, num_pairs=2), range(10)
    optimizer = optax.sgd(RATE)

    def noise_and_iterate(key):
        """Return the ε of the one episode of `ml.meta_train`, from the state after the first window, and the last θ."""
        key_init, key_steps = jax.random.split(key)
        theta = jnp.float32(0.5)
        _, state, _ = estimator.estimate(theta, estimator.init(theta, key_init), jax.random.fold_in(key_steps, 0))
        _, noise, _ = state.memory
        return noise, ml.meta_train(estimator, optimizer, theta, key, NUM_STEPS)[0]

    noise, ends = jax.jit(jax.vmap(noise_and_iterate))(jax.vmap(jax.random.key)(jnp.arange(len(seeds))))
    factors = jnp.mean(jnp.square(noise), axis=1) / SIGMA**2
    forward = ml.forward_mode(PROBLEM, STEPWISE)

    def exact(factor):
        return ml.meta_train(forward, optax.sgd(RATE * factor), jnp.float32(0.5), jax.random.key(0), NUM_STEPS)[0]

    calm = np.asarray(factors) < 2.5
    assert calm.sum() >= 7
    expected = np.asarray(jax.jit(jax.vmap(exact))(factors))
    np.testing.assert_allclose(np.asarray(ends)[calm], expected[calm], atol=2e-3)
    assert -0.17 <= np.median(ends) <= -0.13


def test_persistent_es_with_two_pairs_diverges():
    """Its accumulator is a random walk without a reset, so that the variance grows with the number of windows."""
    ends = descend(ml.persistent_es(PROBLEM, STEPWISE, sigma=SIGMA, num_pairs=2))
    assert np.all(~(np.abs(ends) < 1e3)), ends


def test_truncated_backprop_increases_the_loss():
    np.testing.assert_allclose(descend(ml.backprop(PROBLEM, STEPWISE), seeds=(0,)), 3.2597, atol=1e-3)


def test_truncated_es_increases_the_loss_to_the_point_of_truncated_backprop():
    ends = descend(ml.evolution_strategies(PROBLEM, STEPWISE, sigma=SIGMA, num_pairs=500))
    np.testing.assert_allclose(ends, 3.2597, rtol=0.01)


def test_the_mean_over_a_window_of_100_steps_increases_the_loss():
    np.testing.assert_allclose(descend(ml.backprop(PROBLEM, HUNDREDS), seeds=(0,)), 1.70, atol=0.01)


def test_the_last_loss_of_a_window_of_100_steps_converges():
    np.testing.assert_allclose(descend(ml.backprop(last_loss(PROBLEM, 100), HUNDREDS), seeds=(0,)), OPTIMUM, atol=1e-3)
