"""The directions and standard deviations of ES perturbations against closed forms: docs/theory.md §2.11 and §4.7."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import metalearn as ml
from metalearn.estimators import evolution_strategies, generalized_persistent_es, noise_reuse_es, persistent_es
from metalearn.estimators.directions import DIRECTIONS, draw_orthogonal
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import linear_quadratic, phase_walk
from metalearn.inner.unroll import Truncation
from tests import reference_numpy as ref
from tests.estimators.sampling import quick, sample
from tests.statistics import rejects, squared_distances, within

kinds = pytest.mark.parametrize("directions", DIRECTIONS)
KEY = jax.random.key(0)
ONE, CUTS, SLOPE, PLACE = Truncation(1, 1), Truncation(6, 2), np.array([0.9, -1.3, 0.5]), np.array([0.3, 0.2, -0.4])


def wave(dim=3):
    """L = sin(p · θ), read after one step."""
    slope = jnp.asarray(SLOPE[:dim], jnp.float32)
    return InnerProblem(lambda theta, key: theta, lambda s, theta, key: s, lambda s, theta, key: jnp.sin(slope @ s))


def full_es(problem, **settings):
    return lambda sigma: evolution_strategies(problem, ONE, sigma=sigma, **settings)


# --- Variance ---

VARIANCES = {"gaussian": 4 / 5, "orthogonal": (5 * 5 - 9 - 4) / 25, "sphere": 2 / 5, "rademacher": 2 / 5}


@kinds
def test_the_variance_of_five_pairs_on_a_quadratic_loss_is_exact(directions):
    """In units of ‖∇L‖², d = 3: (d+1)/N, (N(d+2) − Σ m²)/N² with blocks of m = 3 and 2 pairs, and (d−1)/N."""
    problem, start = linear_quadratic(a=0.5, b=1.0, start=1.0, target=0.2), np.array([0.3, -0.2, 0.6])
    found = sample(full_es(problem, num_pairs=5, directions=directions), start, 1, num_samples=40_000, sigma=0.7)[:, 0]
    slope, others = start + 0.3, [value for value in VARIANCES.values() if value != VARIANCES[directions]]
    assert within(found, slope, twin=1.1 * slope)
    distances = squared_distances(found, slope) / (slope @ slope)
    assert within(distances, VARIANCES[directions], twin=min(others, key=lambda v: abs(v - VARIANCES[directions])))
    assert all(rejects(distances, other) for other in others)


def test_orthogonal_directions_are_orthogonal_within_blocks_and_each_is_normal():
    theta = {"a": jnp.zeros(2), "b": jnp.zeros(())}
    draw = jax.jit(jax.vmap(lambda key: jax.vmap(lambda z: ravel_pytree(z)[0])(draw_orthogonal(theta, key, 5))))
    found = np.asarray(draw(jax.random.split(KEY, 20_000)), np.float64)
    products = found @ np.swapaxes(found, 1, 2)
    for block in (products[:, :3, :3], products[:, 3:, 3:]):
        np.testing.assert_allclose(block * (1 - np.eye(block.shape[1])), 0, atol=1e-5)
    assert np.min(np.max(np.abs(products[:, :3, 3:]), axis=(1, 2))) > 1e-5
    for pair in range(5):
        each = found[:, pair]
        assert within(each, np.zeros(3), twin=np.full(3, 0.2))
        assert within(each[:, :, None] * each[:, None, :], np.eye(3), twin=1.2 * np.eye(3))
        assert within(each**4, np.full(3, 3.0), twin=np.full(3, 1.8))  # 1.8: on the sphere
        assert within(np.sum(each**2, axis=1) ** 2, 15.0, twin=9.0)


# --- Means ---


def wave_means(sigma):
    """The means on sin(p · θ): smoothed by N(0, σ²I), by the ball of radius σ√d, and coordinate by coordinate."""
    length, radius = np.linalg.norm(SLOPE), sigma * np.sqrt(3)
    k, c, s = radius * length, np.cos(sigma * SLOPE), np.sin(sigma * SLOPE)
    normal = SLOPE * np.exp(-((sigma * length) ** 2) / 2)
    ball = SLOPE / length * radius * (np.sin(k) - k * np.cos(k)) / (k * sigma) ** 2
    signs = s * np.prod(c) / c / sigma
    each = {"gaussian": normal, "orthogonal": normal, "sphere": ball, "rademacher": signs}
    return {name: np.cos(SLOPE @ PLACE) * mean for name, mean in each.items()}


@kinds
def test_the_mean_on_a_wave_is_smoothed_by_the_distribution_of_the_directions(directions):
    means = wave_means(1.0)
    exact, twin = means[directions], means["gaussian" if directions in ("sphere", "rademacher") else "sphere"]
    found = sample(full_es(wave(), num_pairs=2, directions=directions), PLACE, 1, num_samples=80_000, sigma=1.0)[:, 0]
    assert within(found, exact, twin=twin)
    assert rejects(found, twin)


def sign_walk(period):
    """The means of the windows of the phase walk with signs, over all signs of the blocks."""
    weights, t = ref.phase_walk_noise(6, 2, period), np.arange(1, 7)
    terms = []
    for signs in itertools.product([1.0, -1.0], repeat=weights[0].shape[1]):
        credit, shift = (one @ np.array(signs) for one in weights)
        terms.append(credit * np.cos(0.3 * t) * np.sin(0.4 * shift) / 0.4)
    return np.mean(terms, axis=0).reshape(3, 2).mean(axis=1)


@pytest.mark.parametrize(("build", "period"), [(persistent_es, 2), (noise_reuse_es, 6)])
def test_rademacher_directions_in_windows_have_the_mean_over_all_signs(build, period):
    make = lambda sigma: build(phase_walk(), CUTS, sigma=sigma, num_pairs=1, directions="rademacher")
    found = sample(make, 0.3, 3, num_samples=40_000, sigma=0.4)
    normal = ref.phase_walk_gradients(1.0, 0.3, 0.4, *ref.phase_walk_noise(6, 2, period), 2)
    assert within(found, sign_walk(period), twin=normal)
    assert rejects(found, normal)


def test_compare_measures_the_target_with_the_directions_and_the_sigmas_of_the_estimator():
    """Its program has no windows and no accumulator. A target that is smoothed by normal noise is far away."""
    sigma = np.array([1.5, 0.5, 2.0])
    made = noise_reuse_es(wave(), ONE, sigma=sigma, num_pairs=8, directions="rademacher")
    found = ml.compare({"signs": made}, jnp.asarray(PLACE, jnp.float32), KEY, num_episodes=500, reference_pairs=20_000)
    c, s = np.cos(sigma * SLOPE), np.sin(sigma * SLOPE)
    exact = np.cos(SLOPE @ PLACE) * s * np.prod(c) / c / sigma
    normal = np.cos(SLOPE @ PLACE) * SLOPE * np.exp(-np.sum((sigma * SLOPE) ** 2) / 2)
    np.testing.assert_allclose(found["signs"].target, exact, atol=0.02)
    assert np.max(np.abs(normal - exact)) > 0.1
    assert np.all(np.abs(found["signs"].mean - exact) < 5 * found["signs"].mean_error + 1e-6)


# --- A standard deviation for every coordinate ---

START = {"a": jnp.array([0.3, -0.2]), "b": jnp.array(0.5)}
SIGMAS = {"a": np.array([0.1, 0.4]), "b": 0.2}
PERSISTENT = {"num_pairs": 3, "directions": "sphere"}
FAMILY = {
    "full": lambda p, s: evolution_strategies(p, Truncation(6, 6), sigma=s, num_pairs=3, directions="orthogonal"),
    "truncated": lambda p, s: evolution_strategies(p, CUTS, sigma=s, num_pairs=3, antithetic=False),
    "persistent": lambda p, s: persistent_es(p, CUTS, sigma=s, **PERSISTENT),
    "noise reuse": lambda p, s: noise_reuse_es(p, CUTS, sigma=s, num_pairs=3, directions="rademacher"),
    "generalised": lambda p, s: generalized_persistent_es(p, CUTS, sigma=s, num_pairs=3, noise_period=4),
}


def scaled_walk(sizes):
    """A nonlinear map whose θ is in units of `sizes`."""
    moved = lambda s, theta: jnp.tanh(0.9 * s + jnp.sum(theta["a"] * sizes["a"]) + jnp.sin(3 * theta["b"] * sizes["b"]))
    return InnerProblem(
        lambda theta, key: theta["b"] * sizes["b"], lambda s, theta, key: moved(s, theta), lambda s, theta, key: s**2
    )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", FAMILY)
def test_a_sigma_per_coordinate_equals_one_sigma_in_rescaled_coordinates(name):
    """The estimate at θ with σ is D⁻¹ times the estimate at D⁻¹θ with 1, D = diag σ, for the same keys."""
    start, units = (jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree) for tree in (START, SIGMAS))
    plain = quick(FAMILY[name](scaled_walk(jax.tree.map(jnp.ones_like, units)), SIGMAS))
    scaled = quick(FAMILY[name](scaled_walk(units), 1.0))
    other = jax.tree.map(lambda leaf, size: leaf / size, start, units)
    one, two = plain.init(start, KEY), scaled.init(other, KEY)
    for window in range(4):
        first, one, _ = plain.estimate(start, one, jax.random.key(window))
        second, two, _ = scaled.estimate(other, two, jax.random.key(window))
        for leaf, expected, size in zip(*map(jax.tree.leaves, (first, second, units)), strict=True):
            np.testing.assert_allclose(leaf, expected / size, rtol=1e-9, atol=1e-12)
            assert np.all(np.abs(np.asarray(leaf)) > 1e-6)


@pytest.mark.parametrize(
    ("sigma", "sentence"),
    [
        ({"a": 0.1}, "have the structure of theta"),
        ({"a": np.ones(3), "b": 0.1}, "have the structure of theta"),
        (np.array([0.1, 0.2]), "have the structure of theta"),
        ({"a": np.array([0.1, 0.0]), "b": 0.1}, "sigma must be positive and finite"),
        ({"a": "big", "b": 0.1}, "sigma must be one number"),
        (None, "sigma must be one number"),
        ({}, "sigma must be one number"),
    ],
)
def test_a_sigma_of_the_wrong_structure_raises_a_clear_error(sigma, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence) as caught:
        noise_reuse_es(scaled_walk(SIGMAS), CUTS, sigma=sigma, num_pairs=2).init(START, KEY)
    assert str(caught.value).endswith(".")


def test_unknown_directions_raise_a_clear_error():
    for build in (evolution_strategies, persistent_es, noise_reuse_es):
        with pytest.raises(ValueError, match="directions must be one of gaussian, orthogonal, rademacher, sphere"):
            build(wave(), ONE, sigma=0.1, num_pairs=2, directions="uniform")


def test_combine_rejects_estimators_with_different_distributions():
    normal, signs = (noise_reuse_es(wave(), ONE, sigma=0.1, num_pairs=2, directions=d) for d in ("gaussian", "sphere"))
    with pytest.raises(ValueError, match="perturbations of their descriptions are different"):
        ml.combine([normal, signs])
