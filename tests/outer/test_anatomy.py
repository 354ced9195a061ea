"""All measures on a plane against a map with known answers, and the law on numbers that obey it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.landscape import Axis, Plane

KEY = jax.random.key(0)
STEPS = 30
POWERS = ml.InnerProblem(
    lambda theta, key: jnp.ones(()), lambda s, theta, key: theta["a"] * theta["b"] * s, lambda s, theta, key: s * s
)
PLANE = Plane(Axis("a", -0.5, 0.5, "log10"), Axis("b", 0.2, 1.5), lambda x, y: {"a": x, "b": y})


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def found():
    with jax.enable_x64(True):
        return ml.diagnosis.anatomy(POWERS, PLANE, (7, 5), KEY, num_steps=STEPS)


def test_exponents_losses_and_labels_of_a_linear_map_are_the_closed_forms(found):
    a, b = np.meshgrid(10.0 ** np.linspace(-0.5, 0.5, 7), np.linspace(0.2, 1.5, 5))
    np.testing.assert_allclose(found.exponent, np.log(a * b), atol=1e-9)
    losses = (a * b) ** (2 * np.arange(1, STEPS + 1)[:, None, None])
    np.testing.assert_allclose(found.loss, losses.mean(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(found.converged, losses[-20:].mean(axis=0) < 1)
    growth = np.abs((a * b) ** STEPS * STEPS) * np.hypot(np.log(10), 1 / b)  # d/d log10 a and d/db
    inside = (a * b) ** STEPS < 1e8  # beyond the bound tangents stop
    assert 20 < inside.sum() < 35
    np.testing.assert_allclose(found.log_growth[inside], np.log(growth)[inside], rtol=1e-9)


def test_gradients_are_per_unit_of_the_axes(found):
    restricted, _ = ml.diagnosis.on_plane(POWERS, PLANE)
    value = lambda point: ml.meta_loss(restricted, point, KEY, STEPS)
    exact = np.asarray(jax.grad(value)(jnp.array([0.5, 0.2])))
    size = np.exp(found.log_gradient[0, -1])
    np.testing.assert_allclose(size * found.direction[0, -1], exact, rtol=1e-9)
    place = {"a": jnp.asarray(10**0.5), "b": jnp.asarray(0.2)}
    plain = jax.grad(lambda theta: ml.meta_loss(POWERS, theta, KEY, STEPS))(place)
    np.testing.assert_allclose(exact, [plain["a"] * 10**0.5 * np.log(10), plain["b"]], rtol=1e-9)


def test_the_law_is_fitted_to_points_that_train_chaotically(found):
    count = 400
    generator = np.random.default_rng(0)
    exponent = generator.uniform(-0.1, 0.5, (1, count))
    obeying = found._replace(
        exponent=exponent,
        converged=np.arange(count)[None] % 2 == 0,
        log_gradient=np.where(exponent > 0.02, 0.9 * exponent * STEPS + 3, 99.0),
        log_growth=np.where(np.arange(count) % 2 == 0, exponent * STEPS, 99.0),
    )
    laws = ml.diagnosis.lyapunov_law(obeying)
    assert laws["gradient"].slope == pytest.approx(0.9)
    assert laws["growth"].slope == pytest.approx(1)
    assert laws["growth"].correlation == pytest.approx(1)
    assert laws["gradient"].count == np.sum((exponent > 0.02)[0, ::2])
    assert np.isnan(ml.diagnosis.lyapunov_law(obeying, least=9.0)["gradient"].slope)


def test_outer_trajectories_are_meta_train_from_each_start():
    import optax

    problem, theta = ml.problems.phase_walk(), jnp.array([0.3, 0.5, 0.9])
    estimator = ml.persistent_es(problem, ml.Truncation(6, 2), sigma=0.1, num_pairs=4)
    settings = (estimator, optax.adam(0.05), theta, KEY, 6)
    thetas, metrics = ml.outer.outer_trajectories(*settings, low=jnp.asarray(0.25), high=jnp.asarray(0.8))
    assert thetas.shape == (3, 7)
    assert metrics["loss"].shape == (3, 6)
    np.testing.assert_array_equal(thetas[:, 0], theta)
    assert thetas[:, 1:].min() >= 0.25
    assert thetas[:, 1:].max() <= 0.8
    free, _ = ml.outer.outer_trajectories(*settings)
    alone, _ = ml.meta_train(estimator, optax.adam(0.05), theta[1], jax.random.split(KEY, 3)[1], 6)
    assert free[1, -1] == pytest.approx(float(alone), rel=1e-9)
