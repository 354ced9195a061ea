"""Fitness shaping against closed forms, which show that it is biased: docs/theory.md §2.14."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.estimators import evolution_strategies, noise_reuse_es
from metalearn.estimators.fitness import centred_ranks, normalised
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from tests.estimators.sampling import sample
from tests.statistics import rejects, squared_distances, within

SLOPE, ONE = np.array([1.0, -0.5, 0.3]), Truncation(1, 1)


def sloped(read=lambda loss: loss):
    slope = jnp.asarray(SLOPE, jnp.float32)
    return InnerProblem(lambda theta, key: theta, lambda s, theta, key: s, lambda s, theta, key: read(slope @ s))


def test_ranks_and_normalised_losses_are_their_formulas():
    losses = jnp.array([[3.0, 1.0], [1e19, 1.0], [1e19, -2.0]])
    np.testing.assert_allclose(centred_ranks(losses), np.array([[3, 1.5], [4.5, 1.5], [4.5, 0]]) / 5 - 0.5, rtol=1e-6)
    for numbers in (np.array([[3.0, 1.0], [2.0, -7.0]]), np.array([1.0, 2.0, 5.0])):
        expected = (numbers - numbers.mean()) / numbers.std()
        np.testing.assert_allclose(normalised(jnp.asarray(1e30 * numbers, jnp.float32)), expected, rtol=1e-5)
    for shape in (centred_ranks, normalised):
        np.testing.assert_array_equal(shape(jnp.full((3, 2), 7.0)), 0)
        np.testing.assert_array_equal(shape(jnp.full(1, 7.0)), 0)


@pytest.mark.parametrize("count", [3, 5, 7, 24])
def test_equal_losses_give_no_gradient_and_a_common_part_changes_nothing(count):
    for number in np.random.default_rng(0).normal(size=40) * 10.0 ** np.arange(-20, 20):
        np.testing.assert_array_equal(normalised(jnp.full(count, number, jnp.float32)), 0)
    steps = 8 * np.arange(count) ** 2
    expected = (steps - steps.mean()) / steps.std()
    np.testing.assert_allclose(normalised(jnp.asarray(1e8 + steps, jnp.float32)), expected, rtol=1e-4, atol=1e-5)
    single = evolution_strategies(
        sloped(lambda loss: 0 * loss + 0.1), ONE, sigma=0.1, num_pairs=count, fitness="normalised", antithetic=False
    )
    theta, key = jnp.zeros(3), jax.random.key(2)
    np.testing.assert_array_equal(single.estimate(theta, single.init(theta, key), key)[0], 0)


@pytest.mark.parametrize("build", [evolution_strategies, noise_reuse_es])
@pytest.mark.parametrize(("fitness", "factor"), [("ranks", 1 / np.sqrt(2 * np.pi)), ("normalised", np.sqrt(2 / np.pi))])
def test_the_mean_with_fitness_shaping_is_the_closed_form_and_not_the_gradient(fitness, factor, build):
    make = lambda sigma: build(sloped(), ONE, sigma=sigma, num_pairs=1, fitness=fitness)
    found = sample(make, np.zeros(3), 1, num_samples=20_000, sigma=0.5)[:, 0]
    exact = factor * SLOPE / np.linalg.norm(SLOPE) / 0.5
    assert within(found, exact, twin=SLOPE)
    assert rejects(found, SLOPE)


def test_ranks_have_a_finite_variance_for_heavy_tailed_losses_and_raw_losses_do_not():
    """The losses are e^{12 p·ε}, up to e^40; the ranks are those of p·ε, for any number of pairs."""
    heavy, sound = sloped(lambda loss: jnp.exp(12 * loss)), sloped()
    make = lambda problem, **kind: lambda s: evolution_strategies(problem, ONE, sigma=s, num_pairs=4, **kind)
    ranks, same = (
        sample(make(problem, fitness="ranks"), np.zeros(3), 1, num_samples=2000, sigma=1.0)[:, 0]
        for problem in (heavy, sound)
    )
    np.testing.assert_allclose(ranks, same, rtol=1e-5)
    assert squared_distances(ranks, np.zeros(3)).mean() < 3 / 4
    raw = sample(make(heavy), np.zeros(3), 1, num_samples=2000, sigma=1.0)[:, 0]
    assert squared_distances(raw, np.zeros(3)).mean() > 1e12


def test_an_unknown_fitness_raises_a_clear_error():
    for build in (evolution_strategies, noise_reuse_es):
        with pytest.raises(ValueError, match="fitness must be one of normalised, ranks, raw"):
            build(sloped(), ONE, sigma=0.1, num_pairs=2, fitness="z-score")
