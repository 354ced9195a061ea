"""A σ that follows the signal to noise: the estimate given σ, the σ that it finds, and its bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import phase_walk

KEY = jax.random.key(0)
SLOW, RIPPLE, FREQUENCY = 3.0, 0.3, 20.0


def rippled():
    """L(θ) = sin 3θ + 0.3 sin 20θ: where the ripple's slope cancels the other, a small σ sees no signal."""
    value = lambda theta: jnp.sin(SLOW * theta) + RIPPLE * jnp.sin(FREQUENCY * theta)
    return InnerProblem(lambda t, key: t, lambda s, t, key: t, lambda s, t, key: value(s))


def signal_to_noise(theta, sigma):
    grid = np.linspace(-7, 7, 20_001) * sigma
    weights = np.exp(-0.5 * (grid / sigma) ** 2)
    weights /= weights.sum()
    value = lambda t: np.sin(SLOW * t) + RIPPLE * np.sin(FREQUENCY * t)
    pair = grid * (value(theta + grid) - value(theta - grid)) / (2 * sigma**2)
    mean = weights @ pair
    return mean**2 / (weights @ pair**2 - mean**2)


def run(estimator, theta, count):
    def body(state, key):
        gradient, state, metrics = estimator.estimate(theta, state, key)
        return state, (gradient, metrics["sigma"])

    return jax.lax.scan(body, estimator.init(theta, KEY), jax.random.split(KEY, count))[1]


def test_sigma_moves_to_the_largest_signal_to_noise_ratio():
    flat = np.linspace(0.1, 0.2, 4001)
    theta = float(flat[np.argmin(np.abs(SLOW * np.cos(SLOW * flat) + RIPPLE * FREQUENCY * np.cos(FREQUENCY * flat)))])
    sizes = np.geomspace(0.01, 1.0, 100)
    best = sizes[np.argmax([signal_to_noise(theta, size) for size in sizes])]
    one = ml.Truncation(1, 1)
    make = lambda sigma: ml.evolution_strategies(rippled(), one, sigma=sigma, num_pairs=64)
    estimator = ml.adaptive_sigma(make, 0.1)
    _, found = run(estimator, jnp.asarray(theta), 800)
    settled = np.exp(np.mean(np.log(found[-400:])))
    assert best / 1.5 < settled < best * 1.5
    assert best > 3 * 0.1


def test_the_estimate_at_a_given_sigma_is_the_average_of_four():
    windows = ml.Truncation(6, 2)
    make = lambda sigma: ml.persistent_es(phase_walk(), windows, sigma=sigma, num_pairs=3)
    estimator, theta = ml.adaptive_sigma(make, 0.4, trust=1.0), jnp.asarray(0.3)
    state, states = estimator.init(theta, KEY), None
    states = [make(0.4).init(theta, key) for key in jax.random.split(KEY, 4)]
    for call in range(4):
        key = jax.random.fold_in(KEY, call)
        gradient, state, metrics = estimator.estimate(theta, state, key)
        parts = [
            make(0.4 * size).estimate(theta, one, own)
            for size, one, own in zip((1.25, 1.25, 0.8, 0.8), states, jax.random.split(key, 4))
        ]
        states = [part[1] for part in parts]
        np.testing.assert_allclose(gradient, np.mean([part[0] for part in parts]), rtol=1e-4)
        np.testing.assert_allclose(metrics["sigma"], 0.4, rtol=1e-6)
        assert metrics["inner_steps"] == sum(part[2]["inner_steps"] for part in parts)


def test_sigma_is_constant_during_an_episode_and_stays_in_its_bounds():
    make = lambda sigma: ml.noise_reuse_es(phase_walk(), ml.Truncation(6, 2), sigma=sigma, num_pairs=2)
    _, sizes = run(ml.adaptive_sigma(make, 0.4, rate=0.5, trust=1.5), jnp.asarray(0.3), 90)
    episodes = np.asarray(sizes).reshape(30, 3)
    assert np.all(episodes == episodes[:, :1])
    assert len(np.unique(episodes)) > 1
    assert 0.4 / 1.5 - 1e-6 <= episodes.min() <= episodes.max() <= 0.4 * 1.5 + 1e-6


def test_the_estimator_fulfils_the_contract():
    make = lambda sigma: ml.persistent_es(phase_walk(), ml.Truncation(6, 2), sigma=sigma, num_pairs=2)
    ml.testing.check_estimator(ml.adaptive_sigma(make, 0.1), jnp.asarray(0.3))


def phase_es(sigma):
    return ml.persistent_es(phase_walk(), ml.Truncation(6, 2), sigma=sigma, num_pairs=2)


def staggered(sigma):
    return ml.persistent_es(phase_walk(), ml.Truncation(6, 2, stagger=True), sigma=sigma, num_pairs=2)


@pytest.mark.parametrize(
    ("make", "settings", "sentence"),
    [
        (staggered, {"sigma": 0.1}, "particles are in lockstep"),
        (lambda sigma: 3, {"sigma": 0.1}, "must be a GradientEstimator"),
        (4, {"sigma": 0.1}, "make must be a function"),
        (lambda: staggered(0.1), {"sigma": 0.1}, "make must be a function of one argument"),
        (lambda sigma: phase_es(float(sigma)), {"sigma": 0.1}, "make must accept a traced sigma"),
        (lambda sigma: phase_es(0.2 if sigma > 1 else sigma), {"sigma": 0.1}, "make must accept a traced sigma"),
        (
            lambda sigma: ml.backprop(phase_walk(), ml.Truncation(6, 2)),
            {"sigma": 0.1},
            "uses sigma; truncated backprop",
        ),
        (lambda sigma: ml.uoro(phase_walk(), ml.Truncation(6, 2)), {"sigma": 0.1}, "uses sigma; UORO has none"),
        (staggered, {"sigma": 0.0}, "sigma must be a number in"),
        (staggered, {"sigma": 0.1, "spacing": 1.0}, "spacing must be a number in"),
        (staggered, {"sigma": 0.1, "trust": 0.5}, "trust must be a number in"),
        (staggered, {"sigma": 0.1, "decay": 1.0}, "decay must be a number in"),
        (staggered, {"sigma": 0.1, "rate": -1.0}, "rate must be a number in"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, settings, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        ml.adaptive_sigma(make, **settings)
