"""The outer loop: it descends, repeats itself, and does not depend on how it is cut into chunks."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml

PROBLEM = ml.linear_quadratic()
TRUNCATION = ml.Truncation(12, 3)
ESTIMATOR = ml.noise_reuse_es(PROBLEM, TRUNCATION, sigma=0.1, num_pairs=4)
START = jnp.float32(0.3)


def optimum():
    """θ at which Σ (s_t − y)² is least, by least squares: s_t = a^t s_0 + b θ (1 − a^t)/(1 − a)."""
    powers = 0.9 ** np.arange(1, 13)
    slopes = (1 - powers) / 0.1
    return -(powers @ slopes) / (slopes @ slopes)


def test_it_reaches_the_optimum_of_a_quadratic():
    theta, history = ml.meta_train(ESTIMATOR, optax.adam(0.02), START, jax.random.key(0), 800)
    assert float(theta) == pytest.approx(optimum(), abs=0.03)
    assert history.theta.shape == (800,)
    assert history.theta[0] == START
    assert set(history.metrics) >= {"loss", "fraction_diverged", "inner_steps"}


def test_chunks_change_no_bit_and_the_callback_sees_every_step():
    seen = []
    runs = [
        ml.meta_train(ESTIMATOR, optax.adam(0.02), START, jax.random.key(0), 20, chunk_length=length, callback=callback)
        for length, callback in (
            (None, None),
            (7, lambda step, theta, history: seen.append((step, len(history.theta)))),
        )
    ]
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1].theta, runs[1][1].theta)
    assert seen == [(7, 7), (14, 7), (20, 6)]


def test_it_maps_over_starts_and_respects_the_projection():
    def descend(start, key):
        return ml.meta_train(
            ESTIMATOR, optax.adam(0.05), start, key, 60, project=lambda theta: jnp.clip(theta, 0.1, 1.0)
        )[0]

    ends = jax.vmap(descend)(jnp.array([0.2, 0.9]), jax.random.split(jax.random.key(1), 2))
    np.testing.assert_allclose(ends, 0.1, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"chunk_length": 0}, "chunk_length must be at least 1"),
        ({"key": 1}, "typed key"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(change, sentence):
    arguments = {"theta": START, "key": jax.random.key(0), "num_steps": 3} | change
    with pytest.raises((TypeError, ValueError), match=sentence):
        ml.meta_train(ESTIMATOR, optax.sgd(0.1), **arguments)
