"""Guided ES against the closed forms of docs/theory.md §2.12: exact means and variances for known surrogates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.estimators.guided_es import orthonormal
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import linear_quadratic
from metalearn.inner.unroll import Truncation, meta_loss
from tests.estimators.sampling import sample
from tests.statistics import rejects, squared_distances, within

SLOPE, ALPHA, KEY = np.array([1.0, -0.5, 0.3, 0.8]), 0.3, jax.random.key(0)
SURROGATES = np.array([[1.0, 0.0, 0.0, 1.0], [1.0, -1.0, 0.0, 0.0]])
SETTINGS = {"num_pairs": 1, "alpha": ALPHA, "rank": 2}


def sloped():
    slope = jnp.asarray(SLOPE, jnp.float32)
    return InnerProblem(lambda theta, key: theta, lambda s, theta, key: s, lambda s, theta, key: slope @ s)


def covariance(rows, alpha=ALPHA):
    """Σ = (α/d) I + ((1−α)/k) U Uᵀ by projection on the rows."""
    rows = np.atleast_2d(rows)
    count, size = rows.shape
    return alpha / size * np.eye(size) + (1 - alpha) / count * np.linalg.pinv(rows) @ rows


def moments(matrix, slope=SLOPE):
    """The mean Σp and the variance pᵀΣp + pᵀΣ²p of one pair."""
    return matrix @ slope, slope @ matrix @ slope + slope @ matrix @ matrix @ slope


@pytest.mark.parametrize("sigma", [0.2, "units"])
def test_the_mean_and_the_variance_on_a_linear_loss_are_exact(sigma):
    units = np.array([0.1, 0.4, 0.2, 0.5]) if sigma == "units" else np.full(4, sigma)
    given = (lambda scale: scale * jnp.asarray(units)) if sigma == "units" else (lambda scale: scale * sigma)
    surrogate = lambda theta, key: [jnp.asarray(row, jnp.float32) for row in SURROGATES]
    build = lambda s: ml.guided_es(sloped(), Truncation(1, 1), sigma=given(s), surrogate=surrogate, **SETTINGS)
    found = sample(build, np.zeros(4), 1, num_samples=40_000, sigma=1.0)[:, 0] * units
    mean, variance = moments(covariance(SURROGATES * units), units * SLOPE)
    assert within(found, mean, twin=units * SLOPE / 4)
    assert within(squared_distances(found, mean), variance, twin=5 / 16 * np.sum((units * SLOPE) ** 2))
    assert rejects(found, units * SLOPE)


def test_the_default_surrogate_is_the_gradient_of_the_previous_episode():
    """In the first episode the direction is random, with the mean p/d; in the second it is that of p."""
    build = lambda sigma: ml.guided_es(
        sloped(), Truncation(1, 1), sigma=sigma, num_pairs=1, alpha=ALPHA, rank=1, surrogate=None
    )
    found = sample(build, np.zeros(4), 2, num_samples=40_000, sigma=0.2)
    mean, variance = moments(covariance(SLOPE))
    assert within(found[:, 0], SLOPE / 4, twin=mean)
    assert within(found[:, 1], mean, twin=SLOPE / 4)
    assert within(squared_distances(found[:, 1], mean), variance, twin=1.3 * variance)


@pytest.mark.parametrize("form", ["noise_reuse", "persistent", "truncated"])
def test_the_mean_in_windows_is_the_covariance_times_the_full_or_the_truncated_gradient(form):
    problem, theta, rows = linear_quadratic(a=0.9, start=1.0), np.array([0.3, -0.6, 0.2]), SURROGATES[:, :3]
    surrogate = lambda theta, key: jnp.asarray(rows, jnp.float32)
    build = lambda s: ml.guided_es(problem, Truncation(4, 2), sigma=s, surrogate=surrogate, form=form, **SETTINGS)
    found = sample(build, theta, 2, num_samples=40_000, sigma=0.4).mean(axis=1)
    full = np.asarray(jax.grad(lambda theta: meta_loss(problem, theta, KEY, 4))(jnp.asarray(theta, jnp.float32)))
    cut = sample(lambda s: ml.backprop(problem, Truncation(4, 2)), theta, 2, num_samples=1).mean(axis=1)[0]
    exact, twin = (cut, full) if form == "truncated" else (full, cut)
    matrix = covariance(rows)
    assert within(found, matrix @ exact, twin=matrix @ twin)
    assert rejects(found, matrix @ twin)
    assert rejects(found, exact / 3)


@pytest.mark.parametrize("kind", [jnp.int32, jnp.float16, jnp.bool_])
def test_surrogates_of_other_types_are_not_rounded_by_sigma(kind):
    surrogate = lambda theta, key: jnp.array([[1, 0, 1, 0]], kind)
    build = lambda sigma: ml.guided_es(
        sloped(), Truncation(1, 1), sigma=sigma, num_pairs=1, alpha=0.0, rank=1, surrogate=surrogate
    )
    found = sample(build, np.zeros(4), 1, num_samples=200, sigma=0.01)[:, 0]
    np.testing.assert_allclose(found[:, [1, 3]], 0, atol=1e-5)
    np.testing.assert_allclose(found[:, 0], found[:, 2], rtol=1e-4)


def test_vectors_that_add_no_direction_are_replaced_by_random_ones():
    first, other = jnp.array([3e25, 4e25, 0.0]), jnp.array([0.0, 0.0, 1e-25])
    for rows in ([first, 2 * first], [first, other], [jnp.full(3, jnp.nan), first], [0 * first, 0 * first]):
        one, two = (np.asarray(orthonormal(jnp.stack(rows), jax.random.key(seed))) for seed in (0, 1))
        np.testing.assert_allclose(one @ one.T, np.eye(2), atol=1e-6)
        if any(row is first for row in rows):
            np.testing.assert_allclose(np.linalg.norm(one @ np.array([0.6, 0.8, 0])), 1, atol=1e-6)
        assert np.allclose(np.abs(one), np.abs(two)) == (rows[1] is other)


@pytest.mark.parametrize(
    "rows",
    [(None, 0), (0, 0, 1), (0, 0, 1, 2), (3, 3, 2), (None, None, 0), (None, 1, 1, 0), (2, None, 2, 3, 0)],
)
def test_no_surrogate_is_lost_after_one_that_adds_no_direction(rows):
    """Rows are unit vectors of R⁶ by their index, or zero: sparse gradients, where Householder vectors are unit too."""
    vectors = np.array([np.zeros(6) if row is None else (row + 1) * np.eye(6)[row] for row in rows])
    basis = np.asarray(orthonormal(jnp.asarray(vectors, jnp.float32), jax.random.key(1)))
    np.testing.assert_allclose(basis @ basis.T, np.eye(len(rows)), atol=1e-6)
    np.testing.assert_allclose(vectors @ basis.T @ basis, vectors, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"alpha": 1.2}, "alpha must be a number in"),
        ({"alpha": -0.1}, "alpha must be a number in"),
        ({"rank": 5}, "rank must be at most the number of parameters, 4"),
        ({"rank": 0}, "rank must be at least 1"),
        ({"form": "full"}, "form must be one of noise_reuse, persistent, truncated"),
        ({"surrogate": 3}, "surrogate must be a function"),
        ({"surrogate": lambda theta: [theta, theta]}, "surrogate must be a function .*missing|too many"),
        ({"surrogate": lambda theta, key: [theta, 1j * theta]}, "gradients of real numbers"),
        ({"surrogate": lambda theta, key: [theta]}, "must return 2 gradients"),
        ({"surrogate": lambda theta, key: [theta, theta[:2]]}, "must return 2 gradients"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(settings, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence) as caught:
        ml.guided_es(sloped(), Truncation(1, 1), sigma=0.1, **SETTINGS | settings).init(jnp.zeros(4), KEY)
    assert str(caught.value).endswith(".")
