"""Lanczos and Arnoldi against dense matrices, and the stability thresholds of training: 2/η and spectral radius 1."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.dynamics import sharpness, spectral_radius

KEY = jax.random.key(3)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def symmetric(size, seed):
    matrix = np.random.default_rng(seed).normal(size=(size, size))
    return matrix + matrix.T


def quadratic(matrix):
    return lambda params: 0.5 * params["w"] @ matrix @ params["w"]


@pytest.mark.parametrize("num_iterations", [12, 30, 60])
def test_both_ends_of_the_spectrum_are_within_their_residuals(num_iterations):
    matrix = symmetric(60, 0)
    found = sharpness(quadratic(matrix), {"w": jnp.zeros(60)}, KEY, num_iterations=num_iterations)
    values = np.linalg.eigvalsh(matrix)
    for value, residual in ((found.largest, found.largest_residual), (found.smallest, found.smallest_residual)):
        assert np.abs(values - value).min() <= residual + 1e-9
    assert found.largest <= values[-1] + 1e-9
    if num_iterations == 60:
        np.testing.assert_allclose([found.smallest, found.largest], values[[0, -1]], rtol=1e-10)


def test_the_largest_eigenvalue_is_found_although_a_negative_one_is_larger_in_size():
    """The eigenvalue of the largest absolute value is negative here."""
    matrix = np.diag([-5.0, 1.0, 2.0, 3.0])
    found = sharpness(quadratic(matrix), {"w": jnp.zeros(4)}, KEY)
    assert (float(found.smallest), float(found.largest)) == pytest.approx((-5, 3))
    assert np.abs(np.linalg.eigvals(matrix)).max() == 5


def test_a_repeated_eigenvalue_adds_no_spurious_eigenvalue():
    found = sharpness(quadratic(2 * np.eye(6)), {"w": jnp.zeros(6)}, KEY, num_iterations=10)
    assert (float(found.smallest), float(found.largest)) == pytest.approx((2, 2))


def test_learning_rates_of_layers_scale_the_hessian_as_in_the_step():
    matrix, rates = symmetric(8, 1), {"a": 0.1, "b": 3.0}
    loss = lambda params: 0.5 * (w := jnp.concatenate([params["a"], params["b"]])) @ matrix @ w
    found = sharpness(loss, {"a": jnp.zeros(3), "b": jnp.zeros(5)}, KEY, learning_rate=rates)
    values = np.linalg.eigvals(np.diag([0.1] * 3 + [3.0] * 5) @ matrix).real
    np.testing.assert_allclose([found.smallest, found.largest], [values.min(), values.max()], rtol=1e-9)


def test_the_spectral_radius_is_that_of_the_dense_jacobian():
    matrix = np.random.default_rng(2).normal(size=(20, 20))
    problem = ml.InnerProblem(lambda t, k: jnp.zeros(20), lambda s, t, k: t * (matrix @ s), lambda s, t, k: s @ s)
    found = spectral_radius(problem, jnp.zeros(20), 0.5, KEY, num_iterations=20)
    assert found.radius == pytest.approx(0.5 * np.abs(np.linalg.eigvals(matrix)).max(), rel=1e-9)
    assert found.residual < 1e-9


def test_heavy_ball_is_unstable_beyond_its_threshold_also_with_counters_in_the_state():
    """Heavy ball on a parabola of curvature h is stable for η h < 2(1 + β)."""
    beta, curvature = 0.9, 4.0
    task = ml.Task(lambda key: {"w": jnp.ones(3)}, lambda params, key: 0.5 * curvature * jnp.sum(params["w"] ** 2))
    problem = ml.training(task, lambda theta: optax.chain(optax.trace(beta), optax.scale_by_learning_rate(theta)))
    state = problem.init(0.1, KEY)

    def radius(product):
        return float(spectral_radius(problem, state, product / curvature, KEY).radius)

    threshold = 2 * (1 + beta)
    assert radius(0.999 * threshold) < 1 < radius(1.001 * threshold)
    assert radius(1.001 * 2) < 1  # the threshold of plain gradient descent is another


def test_sharpness_and_spectral_radius_are_layers_of_a_picture():
    def layer(theta):
        found = sharpness(lambda w: jnp.sum(jnp.cosh(theta[0] * w)), jnp.zeros(4), KEY, learning_rate=theta[1])
        return {"sharpness": found.largest, "residual": found.largest_residual}

    plane = ml.landscape.Plane(
        ml.landscape.Axis("a", 1, 2), ml.landscape.Axis("b", 0.5, 1), lambda x, y: jnp.stack([x, y])
    )
    layers = ml.landscape.render(layer, plane, 3, float64=True)
    x, y = np.meshgrid(plane.x.values(3), plane.y.values(3))
    np.testing.assert_allclose(layers["sharpness"], x**2 * y, rtol=1e-9)


def test_measures_of_a_diverged_run_are_nan():
    found = sharpness(lambda w: jnp.sum(w**2) * jnp.nan, jnp.zeros(3), KEY)
    assert np.all(np.isnan(found))
    problem = ml.InnerProblem(lambda t, k: jnp.ones(2), lambda s, t, k: s * jnp.nan, lambda s, t, k: s @ s)
    assert np.isnan(spectral_radius(problem, jnp.ones(2), 0.5, KEY).radius)


def test_invalid_arguments_raise_a_clear_error():
    with pytest.raises(ValueError, match="num_iterations must be at least 1"):
        sharpness(jnp.sum, jnp.zeros(3), KEY, num_iterations=0)
    with pytest.raises(ValueError, match="learning_rate must be one number or a tree"):
        sharpness(lambda p: jnp.sum(p["w"]), {"w": jnp.zeros(3)}, KEY, learning_rate={"v": 1.0})
