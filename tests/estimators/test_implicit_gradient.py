"""Implicit differentiation against closed forms and against backpropagation at the fixed point: docs/theory.md §2.13."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.estimators.spectral_radius import estimate_spectral_radius
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import l2_tuning, linear_quadratic, noisy_linear_quadratic
from metalearn.inner.unroll import Truncation
from tests.estimators.family import THETA, noisy_map

pytestmark = pytest.mark.usefixtures("float64")

KEY = jax.random.key(0)
MAP = np.array([[0.5, 0.3, 0.0, 0.1], [-0.2, 0.4, 0.2, 0.0], [0.0, 0.1, -0.3, 0.2], [0.3, 0.0, 0.1, 0.2]])
INPUT, TARGET, PLACE = np.arange(8.0).reshape(4, 2) / 5, np.array([1.0, 0.0, -1.0, 0.5]), np.array([0.4, -0.3])


def mapped(bend=lambda x: x, start=0.0):
    """s ← bend(A s + B θ), ℓ = ½ ‖s − y‖² + ½ ‖θ‖², with A that is not symmetric."""
    return InnerProblem(
        lambda theta, key: jnp.zeros(4) + start,
        lambda s, theta, key: bend(MAP @ s + INPUT @ theta),
        lambda s, theta, key: 0.5 * jnp.sum((s - TARGET) ** 2) + 0.5 * jnp.sum(theta**2),
    )


def estimate(problem, horizon, theta, **settings):
    estimator, theta = ml.implicit_gradient(problem, Truncation(horizon, horizon), **settings), jnp.asarray(theta)
    gradient, _, metrics = estimator.estimate(theta, estimator.init(theta, KEY), KEY)
    return np.asarray(gradient), metrics


@pytest.mark.parametrize(("solver", "num_terms"), [("neumann", 120), ("cg", 12), ("gmres", 4), ("nystrom", 4)])
def test_the_gradient_of_a_linear_quadratic_problem_is_exact(solver, num_terms):
    inverse = np.linalg.inv(np.eye(4) - MAP)
    fixed = inverse @ INPUT @ PLACE
    exact = INPUT.T @ inverse.T @ (fixed - TARGET) + PLACE
    one_step = INPUT.T @ (fixed - TARGET) + PLACE
    found, metrics = estimate(mapped(), 120, PLACE, solver=solver, num_terms=num_terms)
    np.testing.assert_allclose(found, exact, rtol=1e-9)
    assert np.max(np.abs(one_step - exact)) > 0.1
    assert metrics["solve_residual"] < 1e-9
    assert metrics["fixed_point_distance"] < 1e-9
    assert metrics["fraction_unconverged"] == 0
    assert metrics["spectral_radius"] == pytest.approx(np.max(np.abs(np.linalg.eigvals(MAP))), abs=0.05)


def test_a_neumann_series_of_k_terms_equals_backpropagation_through_the_last_k_steps():
    settled = np.zeros(4)
    for _ in range(400):
        settled = np.tanh(MAP @ settled + INPUT @ PLACE)
    problem = mapped(jnp.tanh, settled)
    for count in (1, 3, 7):
        found, metrics = estimate(problem, 1, PLACE, num_terms=count)
        unrolled = ml.backprop(ml.final_loss(problem, count), Truncation(count, count))
        exact, _, _ = unrolled.estimate(PLACE, unrolled.init(PLACE, KEY), KEY)
        np.testing.assert_allclose(found, exact, rtol=1e-12)
        assert metrics["solve_residual"] > 1e-5


def test_the_gradient_of_the_weight_decay_of_ridge_regression_is_the_closed_form():
    draw = np.random.default_rng(0).normal
    x, y, x_val, y_val, theta = draw(size=(12, 3)), draw(size=12), draw(size=(6, 3)), draw(size=6), 0.7
    matrix = x.T @ x + np.exp(theta) * np.eye(3)
    weights = np.linalg.solve(matrix, x.T @ y)
    slope = -np.exp(theta) * np.linalg.solve(matrix, weights)
    exact = 2 / 6 * (x_val @ weights - y_val) @ x_val @ slope
    problem = l2_tuning(x, y, x_val, y_val, learning_rate=0.03)
    found, metrics = estimate(problem, 400, theta, solver="cg", num_terms=10)
    np.testing.assert_allclose(found, exact, rtol=1e-8)
    truncated = 2 / 6 * (x_val @ weights - y_val) @ x_val @ (-0.03 * np.exp(theta) * weights)
    assert abs(truncated - exact) > 0.1 * abs(exact)
    assert metrics["fraction_unconverged"] == 0


@pytest.mark.parametrize(("rate", "horizon", "share"), [(0.9, 3, 1.0), (1.05, 5, 1.0)])
def test_a_map_that_has_not_converged_or_does_not_contract_causes_a_warning(rate, horizon, share):
    with pytest.warns(UserWarning, match="not a fixed point"):
        _, metrics = estimate(linear_quadratic(a=rate), horizon, 0.3)
    assert metrics["fraction_unconverged"] == share
    assert metrics["spectral_radius"] == pytest.approx(rate)
    assert metrics["fixed_point_distance"] > 1e-3


def test_the_warning_is_also_issued_inside_a_compiled_loop():
    estimator = ml.implicit_gradient(linear_quadratic(a=0.9), Truncation(3, 3))
    run = jax.jit(lambda theta, key: estimator.estimate(theta, estimator.init(theta, key), key)[0])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        jax.block_until_ready(run(jnp.asarray(0.3), KEY))
        jax.effects_barrier()
    assert ["not a fixed point" in str(one.message) for one in seen] == [True]


def test_the_estimator_fulfils_the_contract_and_compare_measures_its_target():
    """The target of the description is the final loss; compare measures it by backpropagation."""
    estimator, theta = ml.implicit_gradient(mapped(jnp.tanh), Truncation(60, 60), num_terms=60), jnp.asarray(PLACE)
    ml.testing.check_estimator(estimator, theta)
    found = ml.compare({"implicit": estimator}, theta, KEY, num_episodes=2)["implicit"]
    np.testing.assert_allclose(found.target, found.mean, rtol=1e-8)


@pytest.mark.parametrize(
    ("build", "theta", "sentence"),
    [
        (
            lambda: ml.implicit_gradient(mapped(), Truncation(4, 4), solver="lu"),
            PLACE,
            "solver must be one of cg, gmres",
        ),
        (lambda: ml.implicit_gradient(mapped(), Truncation(4, 4), num_terms=0), PLACE, "num_terms must be at least 1"),
        (lambda: ml.implicit_gradient(noisy_map(), Truncation(4, 4)), THETA, "a state of floating-point numbers"),
        (lambda: ml.implicit_gradient(noisy_linear_quadratic(), Truncation(4, 4)), 0.3, "the same for every key"),
        (lambda: ml.implicit_gradient(ml.final_loss(mapped(), 4), Truncation(4, 4)), PLACE, "without ml.final_loss"),
    ],
)
def test_problems_without_a_fixed_point_and_invalid_settings_raise_a_clear_error(build, theta, sentence):
    with warnings.catch_warnings(), pytest.raises((TypeError, ValueError), match=sentence) as caught:
        build().init(jax.tree.map(jnp.asarray, theta), KEY)
    assert str(caught.value).endswith(".")


def test_a_cap_hides_neither_a_map_nor_its_noise():
    """For s ← s/2 + θ and ℓ = s² the derivative is 8θ; a cap above the losses does not change it."""
    fixed = ml.InnerProblem(lambda t, k: t, lambda s, t, k: 0.5 * s + t, lambda s, t, k: s**2)
    estimator = ml.implicit_gradient(ml.saturate(fixed, 1e3), ml.Truncation(40, 40))
    theta = jnp.float32(1.0)
    found = estimator.estimate(theta, estimator.init(theta, jax.random.key(0)), jax.random.key(1))[0]
    assert abs(float(found) - 8.0) < 1e-4
    noisy = fixed._replace(step=lambda s, t, k: 0.5 * s + t + jax.random.normal(k, dtype=s.dtype))
    with pytest.raises(ValueError, match="the same for every key"):
        ml.implicit_gradient(ml.saturate(noisy, 1e3), ml.Truncation(40, 40)).init(theta, jax.random.key(0))


@pytest.mark.parametrize("radius", [0.99, 1.01])
def test_the_spectral_radius_of_a_complex_pair_is_exact_and_a_power_iteration_is_not(radius):
    """A rotation of ellipses, in a space in which all other directions contract by .3."""
    cosine, sine = np.cos(0.3), np.sin(0.3)
    matrix = np.eye(20) * 0.3
    matrix[:2, :2] = radius * np.array([[cosine, -5 * sine], [sine / 5, cosine]])
    product = lambda vector: jnp.asarray(matrix, jnp.float32) @ vector
    found = jax.jit(lambda key: estimate_spectral_radius(product, jnp.zeros(20), key))(jax.random.key(0))
    assert found == pytest.approx(radius, abs=1e-4)
    vector = np.random.default_rng(0).normal(size=20)
    growth = [np.linalg.norm(vector := matrix @ vector) for _ in range(24)]
    assert abs((growth[-1] / growth[11]) ** (1 / 12) - radius) > 1e-2
