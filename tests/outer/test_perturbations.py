"""Descriptions with noise of their own: the target is that of the noise, and noise that is not standardised is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.outer.comparison.perturbations import check_perturbation

THETA, SIGMA, PAIRS, HORIZON = jnp.array([0.5, -0.3]), 0.6, 16, 4
QUARTIC = ml.InnerProblem(
    lambda theta, key: jnp.zeros(2), lambda s, theta, key: s + theta, lambda s, theta, key: jnp.sum(s**4)
)


def signs(key, theta):
    return jax.tree.map(jnp.sign, ml.estimators.normal_like(key, theta))


def spsa(perturbation, length=2):
    """g_t = δ (L_t⁺ − L_t⁻) / (2σ²) with δ = ±σ, kept for an episode; only the description differs between twins."""
    windows = ml.Truncation(HORIZON, length)

    def start(theta, state):
        return jnp.stack([state, state]), jnp.zeros_like(theta)

    def window(run, theta, memory, clock, key):
        states, kept = memory
        delta = jnp.where(clock == 0, SIGMA * signs(key, theta), kept)
        readings, states = jax.vmap(lambda sign, s: run(theta + sign * delta, s))(jnp.array([1.0, -1.0]), states)
        return delta * (readings.loss[0] - readings.loss[1]) / (2 * SIGMA**2), (states, delta), readings

    about = ml.estimators.Description(QUARTIC, windows, PAIRS, lambda theta: 0, SIGMA, perturbation=perturbation)
    method = ml.estimators.Method(start, window, num_unrolls=2)
    return ml.estimators.from_method(method, QUARTIC, windows, PAIRS, None, about)


def exact(fourth_moment):
    """For s_t = t (θ + σ ε) and Σ s⁴, E ε (L⁺ − L⁻) / (2σ) is mean(t⁴) (4 θ³ + 4 m₄ σ² θ) in each coordinate."""
    theta = np.asarray(THETA, float)
    return np.mean(np.arange(1, HORIZON + 1) ** 4.0) * (4 * theta**3 + 4 * fourth_moment * SIGMA**2 * theta)


def described(estimator, **changed):
    return estimator._replace(description=dataclasses.replace(estimator.description, **changed))


@pytest.fixture(scope="module")
def found():
    """One estimator, described in three ways."""
    one = spsa(signs)
    estimators = {"own": one, "twin": described(one, perturbation=None), "blocks": described(one, noise_period=2)}
    settings = {"num_episodes": 400, "reference_pairs": 50_000, "unsmoothed": False, "timed": False}
    return ml.compare(estimators, THETA, jax.random.key(0), **settings)


def test_rademacher_noise_is_unbiased_for_its_own_target_and_biased_for_the_gaussian_one(found):
    own, twin = found["own"], found["twin"]
    np.testing.assert_allclose(own.target, exact(1.0), rtol=0.05)
    np.testing.assert_allclose(twin.target, exact(3.0), rtol=0.1)
    assert own.bias.value < 5 * own.bias.error < 0.15
    gap = np.linalg.norm(exact(1.0) - exact(3.0)) / np.linalg.norm(exact(3.0))
    assert twin.bias.value > 10 * twin.bias.error
    assert twin.bias.value == pytest.approx(gap, abs=0.05)


def test_the_noise_of_each_block_of_an_episode_is_independent(found):
    """With s_t = Σ_b n_b (θ + σ ε_b) the fourth moments enter as Σ_b (m₄ n_b³ + 3 n_b n_c²), c the other block."""
    theta, total = np.asarray(THETA, float), np.zeros(2)
    for t in range(1, HORIZON + 1):
        first, second = min(t, 2), max(t - 2, 0)
        moments = first**3 + second**3 + 3 * first * second * t
        total += 4 * (t * theta) ** 3 * t + 4 * t * theta * SIGMA**2 * moments
    np.testing.assert_allclose(found["blocks"].target, total / HORIZON, rtol=0.05)


STANDARD = {
    "normal": ml.estimators.normal_like,
    "signs": signs,
    "sphere": lambda key, theta: jax.tree.map(
        lambda e: e * jnp.sqrt(e.size) / jnp.linalg.norm(e), ml.estimators.normal_like(key, theta)
    ),
    "one coordinate": lambda key, theta: (
        jnp.sqrt(theta.size) * jax.nn.one_hot(jax.random.randint(key, (), 0, theta.size), theta.size)
        * jax.random.rademacher(jax.random.fold_in(key, 1), (), float)
    ),
    "uniform": lambda key, theta: jax.random.uniform(key, theta.shape, minval=-(3**0.5), maxval=3**0.5),
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 500])
@pytest.mark.parametrize("name", STANDARD)
def test_standardised_noise_is_accepted(name, size):
    check_perturbation("mine", STANDARD[name], jnp.zeros(size))


WRONG = {
    "sigma included": (lambda key, theta: 0.1 * signs(key, theta), "mean square is 0.01, not 1"),
    "one in all coordinates": (
        lambda key, theta: jnp.full(theta.shape, jax.random.normal(key)),
        "mean square is [^\n]*, not 1",
    ),
    "a mean": (lambda key, theta: jnp.abs(signs(key, theta)), "mean is -?[^\n]*, not 0"),
    "two scales": (
        lambda key, theta: signs(key, theta) * jnp.sqrt(jnp.where(jnp.arange(theta.size) % 2, 0.5, 1.5)),
        "mean square",
    ),
    "the unit sphere": (lambda key, theta: STANDARD["sphere"](key, theta) / jnp.sqrt(theta.size), "mean square"),
    "not finite": (lambda key, theta: jnp.full(theta.shape, jnp.nan), "mean is nan"),
    "another shape": (lambda key, theta: jnp.ones(3), "structure and shapes of theta"),
    "a key only": (lambda key: jnp.ones(2), "calling it failed"),
}


@pytest.mark.parametrize("name", WRONG)
def test_noise_that_is_not_standardised_raises_a_clear_error(name):
    draw, words = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=f"^The perturbation in the description of 'mine' [^\n]*{words}"):
        ml.compare({"mine": spsa(draw)}, THETA, jax.random.key(0), num_episodes=2)


def test_a_description_is_checked_at_construction():
    known = spsa(signs).description
    with pytest.raises(TypeError, match="perturbation must be a function"):
        dataclasses.replace(known, perturbation="signs")
    with pytest.raises(ValueError, match="needs the sigma"):
        dataclasses.replace(known, sigma=0.0)
    with pytest.raises(ValueError, match="different functions"):
        ml.combine([spsa(signs), spsa(None)])
