"""Lyapunov exponents and gradient growth of maps with known answers: docs/theory.md §9.4."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.dynamics import STATUS, gradient_growth, lyapunov, lyapunov_exponents
from tests.coverage import coverage, covers

KEY = jax.random.key(0)
LONG = {"num_steps": 40_000, "transient": 2_000}


def measured(problem, theta, **settings):
    with jax.enable_x64(True):
        theta = jnp.asarray(theta, jnp.float64)
        return jax.tree.map(np.asarray, jax.jit(lambda theta: lyapunov(problem, theta, KEY, **settings))(theta))


@pytest.mark.parametrize(
    ("problem", "theta", "exponent", "error"),
    [
        (ml.problems.logistic_map(), 2.5, np.log(0.5), 1e-8),
        (ml.problems.logistic_map(), 3.2, 0.5 * np.log(0.16), 1e-8),
        (ml.problems.logistic_map(), 3.5699456718709449, 0.0, 1e-3),
        (ml.problems.logistic_map(), 4.0, np.log(2), 2 / 38_000),
        (ml.problems.cubic_loss(), 3.0, np.log(2), 2 / 38_000),
        (ml.problems.double_well(), 2.0, np.log(3), 2 / 38_000),
        (ml.problems.double_well(), 0.9, np.log(0.8), 1e-6),
    ],
)
def test_exponents_equal_the_known_values(problem, theta, exponent, error):
    found = measured(problem, theta, **LONG)
    assert found.exponents.shape == (1,)
    assert abs(found.exponents[0] - exponent) < error
    assert found.log_determinant == pytest.approx(found.exponents[0], abs=1e-9)


@pytest.mark.parametrize(("theta", "exponent", "known_to"), [(3.8, 0.4321, 0.0002), (3.9, 0.4961, 0.0002)])
def test_chaotic_exponents_are_within_their_standard_errors(theta, exponent, known_to):
    found = measured(ml.problems.logistic_map(), theta, **LONG)
    assert 1e-4 < found.standard_errors[0] < 0.01
    assert abs(found.exponents[0] - exponent) < 5 * found.standard_errors[0] + known_to


def skew_tent(s, theta, key):
    """Slopes 1/θ and −1/(1 − θ) on intervals of lengths θ and 1 − θ: λ = −θ ln θ − (1 − θ) ln(1 − θ)."""
    return jnp.where(s < theta, s / theta, (1 - s) / (1 - theta))


def driven(s, theta, key):
    """x ← e^(θ + y) x, where y is an autoregressive process with a memory of five steps: λ = θ."""
    drive = jax.lax.stop_gradient(s[1])
    return jnp.stack([jnp.exp(theta + drive) * s[0], 0.8 * drive + 0.1 * jax.random.normal(key, (), s.dtype)])


def from_uniform(low, high, size=()):
    return lambda theta, key: jax.random.uniform(key, size, jnp.result_type(theta), low, high)


ORBITS = {
    "skew tent": (from_uniform(0.1, 0.9), skew_tent, 0.3, -0.3 * np.log(0.3) - 0.7 * np.log(0.7)),
    "driven": (from_uniform(0, 0, (2,)), driven, 0.3, 0.3),
    "Gaussian matrices": (  # Newman 1986
        from_uniform(0, 0, (2,)),
        lambda s, theta, key: jax.random.normal(key, (2, 2), s.dtype) @ s,
        0.0,
        (np.log(2) - np.euler_gamma) / 2,
    ),
    "constant slope": (from_uniform(0.1, 0.9), lambda s, theta, key: theta * s * (1 - s), 4.0, np.log(2)),
    "cat map": (
        from_uniform(0, 1, (2,)),
        lambda s, theta, key: jnp.mod(jnp.array([[2.0, 1.0], [1.0, 1.0]], s.dtype) @ s, 1.0),
        0.0,
        np.log((3 + 5**0.5) / 2),
    ),
}


def exponents(name, float64=True, **steps):
    """Return the largest exponents of 200 orbits, their errors, and the exact values."""
    begin, step, theta, truth = ORBITS[name]
    problem = ml.InnerProblem(begin, step, lambda s, theta, key: jnp.sum(s))
    with jax.enable_x64(float64):
        theta = jnp.asarray(theta, jnp.float64 if float64 else jnp.float32)
        found = jax.jit(jax.vmap(lambda key: lyapunov(problem, theta, key, **steps)))(jax.random.split(KEY, 200))
        return np.asarray(found.exponents[:, 0]), np.asarray(found.standard_errors[:, 0]), truth


@pytest.mark.parametrize("name", ["skew tent", "Gaussian matrices", pytest.param("driven", marks=pytest.mark.slow)])
def test_the_standard_errors_of_exponents_have_the_stated_coverage(name):
    assert covers(*exponents(name, num_steps=1100, transient=100))


def test_the_error_of_a_bounded_sum_is_smaller_than_that_of_a_random_walk():
    """At r = 4 the sum of logarithms stays within a constant of t ln 2. The spread of batches would overestimate it."""
    values, errors, truth = exponents("constant slope", num_steps=1100, transient=100)
    assert np.median(errors) < 2 * np.sqrt(np.mean((values - truth) ** 2))
    assert coverage(values, errors, truth).two > 0.95
    assert coverage(values, errors / 2, truth).one < 0.76


def test_constant_growth_has_the_error_of_rounding():
    """Sums of a constant in float32 are compensated, and the stated error is that of rounding."""
    values, errors, truth = exponents("cat map", float64=False, num_steps=4200, transient=200)
    np.testing.assert_allclose(values, truth, atol=5e-7)
    assert np.all(np.abs(values - truth) < 2 * errors)
    assert errors.max() < 1e-6


def two_trajectories(theta, distance, num_steps, every):
    """Benettin's method with a distance that is too large. The test must reject it."""
    x, total = 0.3, 0.0
    for _ in range(num_steps // every):
        y, z = x + distance, x
        for _ in range(every):
            y, z = theta * y * (1 - y), theta * z * (1 - z)
        total, x = total + np.log(abs(y - z) / distance), z
    return total / num_steps


def test_two_trajectories_at_a_finite_distance_are_rejected():
    assert abs(two_trajectories(4.0, 1e-4, 4_000, 20) - np.log(2)) > 0.1


def test_the_exponents_of_henon_sum_to_the_logarithm_of_b():
    found = measured(ml.problems.henon(), [1.4, 0.3], num_exponents=2, **LONG)
    np.testing.assert_allclose(found.exponents, [0.419217, -1.623190], atol=0.005)
    assert found.exponents.sum() == pytest.approx(np.log(0.3), abs=1e-12)
    assert found.log_determinant == pytest.approx(np.log(0.3), abs=1e-12)


def test_growth_along_exact_orbits_is_the_closed_form():
    """dx_T/dx_0 = 2^T sin(2^{T+1} φ)/sin 2φ for η = 3, and 3^T cos(3^T φ)/cos φ for the double well."""
    phi, steps = 0.7, 20
    found = measured(ml.problems.cubic_loss(1 - 4 / 3 * np.sin(phi) ** 2), 3.0, num_steps=steps)
    exact = 2**steps * np.sin(2 ** (steps + 1) * phi) / np.sin(2 * phi)
    assert np.exp(steps * found.exponents[0]) == pytest.approx(abs(exact), rel=1e-8)
    assert abs(exact) == pytest.approx(166121.667, rel=1e-8)
    found = measured(ml.problems.double_well(np.sqrt(2) * np.sin(phi)), 2.0, num_steps=12)
    exact = 3**12 * np.cos(3**12 * phi) / np.cos(phi)
    assert np.exp(12 * found.exponents[0]) == pytest.approx(abs(exact), rel=1e-8)


@pytest.mark.parametrize("theta", [2.0, 1 + 5**0.5])
def test_a_superstable_orbit_has_a_finite_exponent(theta):
    found = measured(ml.problems.logistic_map(), theta, num_steps=1000)
    assert found.exponents[0] < -10
    assert not any(np.any(np.isnan(field)) for field in found)
    exact = measured(ml.problems.logistic_map(0.5), 2.0, num_steps=50)
    assert exact.exponents[0] == -np.inf
    assert exact.standard_errors[0] == 0
    assert STATUS[int(exact.status)] == "underflow"


@pytest.mark.parametrize(
    ("problem", "theta", "status"),
    [
        (ml.problems.logistic_map(), 2.5, "converged"),
        (ml.problems.logistic_map(), 3.9, "bounded"),
        (ml.problems.logistic_map(), 4.5, "escaped"),
        (ml.InnerProblem(lambda t, k: t, lambda s, t, k: jnp.log(s), lambda s, t, k: s), 3.0, "non-finite"),
    ],
)
def test_the_status_describes_the_end_of_the_orbit(problem, theta, status):
    found = measured(problem, theta, num_steps=400)
    assert STATUS[int(found.status)] == status
    assert (found.escape >= 0) == (status in ("escaped", "non-finite"))
    assert np.all(np.isfinite(found.exponents))


def test_sign_flips_distinguish_an_oscillation_from_a_saddle():
    descent = lambda curvature: ml.InnerProblem(
        lambda theta, key: jnp.full_like(theta, 1e-12),
        lambda s, theta, key: s - theta * curvature * s,
        lambda s, t, k: s,
    )
    saddle, oscillation = (measured(descent(curvature), 0.3, num_steps=50) for curvature in (-1.0, 7.0))
    assert saddle.exponents[0] == pytest.approx(np.log(1.3))
    assert saddle.flip_fraction == 0
    assert oscillation.exponents[0] == pytest.approx(np.log(1.1))
    assert oscillation.flip_fraction == 1


def test_exponents_of_training_with_a_counter_in_the_state_and_under_vmap():
    """Adam's state holds an integer; a quadratic under momentum has the eigenvalues of its companion matrix."""
    task = ml.Task(lambda key: jnp.ones(2), lambda w, key: 0.5 * jnp.sum(jnp.array([1.0, 3.0]) * w**2))
    adam = ml.training(task, lambda theta: optax.adam(jnp.exp(theta)))
    rates = jnp.log(jnp.array([0.01, 0.1]))
    found = jax.vmap(lambda theta: lyapunov_exponents(adam, theta, KEY, num_steps=50, num_exponents=2))(rates)
    assert found.shape == (2, 2)
    assert np.all(np.isfinite(found))
    momentum = ml.training(task, lambda theta: optax.sgd(0.1 + 0 * theta, momentum=0.5))
    found = measured(momentum, 0.0, num_steps=4_000, transient=100, num_exponents=4)
    roots = [np.abs(np.roots([1, -(1.5 - 0.1 * h), 0.5])) for h in (1.0, 3.0)]
    np.testing.assert_allclose(np.sort(found.exponents), np.sort(np.log(np.concatenate(roots))), atol=2e-3)


def derivative(problem, theta, num_steps):
    start, steps = jax.random.split(KEY)
    final = lambda theta: ml.unroll(problem, problem.init(theta, start), theta, steps, num_steps)[0]
    return jax.jacfwd(final)(theta)


@pytest.mark.parametrize("problem", [ml.problems.logistic_map(), ml.problems.cubic_loss(log_learning_rate=False)])
def test_growth_is_the_logarithm_of_the_derivative(problem):
    with jax.enable_x64(True):
        theta = jnp.float64(2.9)
        growth = gradient_growth(problem, theta, KEY, num_steps=20)
        times = [1, 2, 7, 20]
        exact = [np.log(abs(float(derivative(problem, theta, t)))) for t in times]
    np.testing.assert_allclose(np.asarray(growth)[np.array(times) - 1], exact, atol=1e-9)


def test_growth_in_several_dimensions_and_along_a_direction_is_the_norm_of_the_jacobian():
    with jax.enable_x64(True):
        theta, u = jnp.array([1.3, 0.25]), jnp.array([0.6, -0.8])
        jacobian = np.asarray(derivative(ml.problems.henon(), theta, 15))
        whole = gradient_growth(ml.problems.henon(), theta, KEY, num_steps=15)[-1]
        along = gradient_growth(ml.problems.henon(), theta, KEY, num_steps=15, direction=u)[-1]
        whole, along = float(whole), float(along)
    assert whole == pytest.approx(np.log(np.linalg.norm(jacobian)), abs=1e-9)
    assert along == pytest.approx(np.log(np.linalg.norm(jacobian @ [0.6, -0.8])), abs=1e-9)


def test_growth_is_finite_where_the_derivative_overflows():
    with jax.enable_x64(True):
        growth = gradient_growth(ml.problems.cubic_loss(), jnp.float64(3.0), KEY, num_steps=2000)
        assert growth[-1] / 2000 == pytest.approx(np.log(2), abs=0.01)
        assert not np.isfinite(float(derivative(ml.problems.cubic_loss(), jnp.float64(3.0), 2000)))
    assert jnp.all(jnp.isfinite(gradient_growth(ml.problems.cubic_loss(), jnp.float32(2.99), KEY, num_steps=2000)))


def test_growth_decreases_if_the_fixed_point_does_not_depend_on_theta():
    with jax.enable_x64(True):
        growth = np.asarray(gradient_growth(ml.problems.cubic_loss(), jnp.float64(1.2), KEY, num_steps=300))
    assert (growth[-1] - growth[-101]) / 100 == pytest.approx(np.log(0.2), abs=0.02)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: lyapunov(ml.problems.henon(), jnp.ones(2), KEY, num_steps=0), "num_steps must be at least 1"),
        (
            lambda: lyapunov(ml.problems.henon(), jnp.ones(2), KEY, num_steps=5, num_exponents=3),
            "at most 2, the entries",
        ),
        (lambda: lyapunov(ml.problems.henon(), jnp.ones(2), KEY, num_steps=5, transient=5), "transient must be below"),
        (lambda: lyapunov(ml.problems.henon(), jnp.ones(2), KEY, num_steps=5, bound=0.0), "bound must be a number in"),
        (lambda: gradient_growth(ml.problems.henon(), jnp.ones(2), KEY, num_steps=0), "num_steps must be at least 1"),
        (
            lambda: gradient_growth(ml.problems.henon(), jnp.ones(2), KEY, num_steps=5, direction=jnp.ones(3)),
            "structure and shapes",
        ),
    ],
)
def test_invalid_arguments_raise_a_clear_error(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()
