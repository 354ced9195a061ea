"""The meta-gradient in logarithms against reverse mode, and against long floats where reverse mode overflows."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.dynamics import gradient_growth, meta_gradient

KEY = jax.random.key(1)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def assembled(found):
    return jax.tree.map(lambda leaf: np.asarray(leaf * np.exp(found.log_length)), found.direction)


def test_meta_gradient_is_the_gradient_of_the_meta_loss_for_any_theta_and_state():
    """An Adam run with a dictionary θ, counters in the state, and θ in the step and in the loss."""
    task = lambda theta: ml.Task(
        lambda key: {"w": jax.random.normal(key, (4,))},
        lambda params, key: jnp.sum(jnp.cosh(params["w"] - jax.random.normal(key, (4,)))) + theta["decay"] ** 2,
    )
    problem = ml.training(task, lambda theta: optax.adam(jnp.exp(theta["rate"])))
    theta = {"rate": jnp.asarray(-1.0), "decay": jnp.asarray(0.3)}
    found = jax.jit(lambda theta: meta_gradient(problem, theta, KEY, num_steps=12))(theta)
    value, exact = jax.jit(jax.value_and_grad(lambda theta: ml.meta_loss(problem, theta, KEY, 12)))(theta)
    assert found.loss == pytest.approx(float(value), rel=1e-12)
    for name, part in assembled(found).items():
        np.testing.assert_allclose(part, exact[name], rtol=1e-9)
    size = np.sqrt(sum(np.sum(leaf**2) for leaf in jax.tree.leaves(found.direction)))
    assert size == pytest.approx(1)


def in_long_floats(rate, num_steps):
    """ln |dL/dη| of gradient descent on x²/2 − x³/3 along its float64 orbit, computed with 15 bits of exponent."""
    x, tangent, total = np.float64(0.5), np.longdouble(0), np.longdouble(0)
    for _ in range(num_steps):
        slope = x - x * x
        tangent = (1 - rate * (1 - 2 * np.longdouble(x))) * tangent - np.longdouble(slope)
        x = x - rate * slope
        total += (np.longdouble(x) - np.longdouble(x) ** 2) * tangent
    return np.log(abs(total)) - np.log(np.longdouble(num_steps)), np.sign(total)


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp < 5000, reason="long floats are no longer than float64 here")
@pytest.mark.parametrize(("rate", "num_steps"), [(2.9, 25), (3.0, 2000)])
def test_meta_gradient_is_finite_where_float64_overflows(rate, num_steps):
    """The reference is the derivative along the same orbit, because a second orbit would differ by chaos."""
    problem = ml.problems.cubic_loss(0.5)
    found = meta_gradient(problem, jnp.asarray(rate), KEY, num_steps=num_steps)
    log_length, sign = in_long_floats(rate, num_steps)
    orbits_agree = num_steps == 25
    assert found.log_length == pytest.approx(float(log_length), abs=1e-6 if orbits_agree else 25)
    plain = jax.jit(jax.grad(lambda theta: ml.meta_loss(problem, theta, KEY, num_steps)))(jnp.asarray(rate))
    if orbits_agree:
        assert float(found.direction) == sign
        assert float(found.direction * jnp.exp(found.log_length)) == pytest.approx(float(plain), rel=1e-9)
    else:
        assert found.log_length > 1300
        assert not np.isfinite(plain)


def test_the_growth_at_the_end_is_the_last_of_gradient_growth():
    problem = ml.problems.cubic_loss()
    found = meta_gradient(problem, jnp.asarray(2.9), KEY, num_steps=30)
    growth = gradient_growth(problem, jnp.asarray(2.9), KEY, num_steps=30)
    assert found.log_growth == pytest.approx(float(growth[-1]), rel=1e-8)


def test_theta_and_state_may_differ_in_precision():
    problem = ml.InnerProblem(lambda t, k: jnp.ones(2, float), lambda s, t, k: t * s, lambda s, t, k: jnp.sum(s * s))
    found = meta_gradient(problem, jnp.float32(0.5), KEY, num_steps=6)
    exact = jax.jit(jax.grad(lambda theta: ml.meta_loss(problem, theta, KEY, 6)))(jnp.asarray(0.5))
    assert float(found.direction * jnp.exp(found.log_length)) == pytest.approx(float(exact), rel=1e-5)
    assert np.isfinite(gradient_growth(problem, jnp.float32(0.5), KEY, num_steps=6)).all()


def test_an_escaping_orbit_is_constant_after_its_escape():
    problem, rate = ml.saturate(ml.problems.double_well(0.1), 5.0), jnp.asarray(2.05)
    found = meta_gradient(problem, rate, KEY, num_steps=50)
    exact = jax.jit(jax.grad(lambda theta: ml.meta_loss(problem, theta, KEY, 50)))(rate)
    assert 5 < found.escape < 45
    assert abs(exact) > 1e-3
    assert float(found.direction * jnp.exp(found.log_length)) == pytest.approx(float(exact), rel=1e-9, abs=1e-12)
    assert np.isfinite(found.loss)


def test_a_loss_that_does_not_depend_on_theta_has_no_gradient_direction():
    problem = ml.InnerProblem(lambda t, k: jnp.ones(2), lambda s, t, k: 0.5 * s, lambda s, t, k: jnp.sum(s))
    found = meta_gradient(problem, jnp.ones(3), KEY, num_steps=4)
    assert np.isneginf(found.log_length)
    np.testing.assert_array_equal(found.direction, 0)


def test_an_integer_valued_loss_has_a_zero_gradient_and_its_own_value():
    problem = ml.InnerProblem(
        lambda t, k: jnp.ones(()), lambda s, t, k: s * t, lambda s, t, k: (s > 0.3).astype(jnp.int32)
    )
    found = meta_gradient(problem, jnp.asarray(0.5), KEY, num_steps=4)
    assert np.isneginf(found.log_length)
    assert found.loss == pytest.approx(0.25)
