"""Bootstrapped meta-gradients in closed form, and hypergradient descent as truncated backprop of one step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import linear_quadratic

KEY = jax.random.key(0)
CURVATURE = np.array([1.0, 0.3])


def descent():
    """Gradient descent on f(x) = ½ Σ_i h_i x_i² with the learning rate θ; the loss is f."""
    value = lambda x: 0.5 * jnp.sum(jnp.asarray(CURVATURE, x.dtype) * x**2)
    return InnerProblem(
        lambda theta, key: jnp.array([1.0, -2.0], theta.dtype),
        lambda x, theta, key: x - theta * jax.grad(value)(x),
        lambda x, theta, key: value(x),
    )


def episode(estimator, theta, count):
    theta, found = jnp.asarray(theta), []
    state = estimator.init(theta, KEY)
    for _ in range(count):
        gradient, state, _ = estimator.estimate(theta, state, KEY)
        found.append(gradient)
    return np.array(found)


@pytest.mark.parametrize("steps", [1, 5])
def test_the_pull_towards_the_target_of_a_linear_map_is_the_closed_form(steps, float64):
    """(s_W − s̃) G(W), G(h) = b (1 − a^h)/(1 − a), in every window from its own first state."""
    a, b, theta = 0.9, 1.0, 0.3
    found = episode(ml.bootstrapped(linear_quadratic(a, b), ml.Truncation(12, 4), target_steps=steps), theta, 3)
    influence = lambda h: b * (1 - a**h) / (1 - a)
    state, exact = 1.0, []
    for _ in range(3):
        state = a**4 * state + theta * influence(4)
        target = a**steps * state + theta * influence(steps)
        exact.append((state - target) * influence(4))
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    full = episode(ml.backprop(linear_quadratic(a, b), ml.Truncation(12, 4)), theta, 3)
    assert np.all(np.abs(found - full) > 0.1 * np.abs(full))


def test_a_target_of_one_descent_step_is_the_rate_times_the_gradient_of_the_last_loss(float64):
    rate = 0.4
    pull = episode(ml.bootstrapped(descent(), ml.Truncation(3, 3), target_steps=1), rate, 1)
    last = episode(ml.backprop(ml.final_loss(descent(), 3), ml.Truncation(3, 3)), rate, 1)
    np.testing.assert_allclose(pull, rate * last, rtol=1e-12)


def test_a_user_defined_distance_is_differentiated(float64):
    distance = lambda target, state: jnp.sum(CURVATURE * (state - target) ** 2)
    plain = episode(ml.bootstrapped(descent(), ml.Truncation(2, 2), target_steps=2), 0.4, 1)
    other = episode(ml.bootstrapped(descent(), ml.Truncation(2, 2), target_steps=2, distance=distance), 0.4, 1)
    states = [np.array([1.0, -2.0])]
    for _ in range(4):
        states.append(states[-1] * (1 - 0.4 * CURVATURE))
    slope = -2 * CURVATURE * (1 - 0.4 * CURVATURE) * states[0]
    np.testing.assert_allclose(plain, [np.sum((states[2] - states[4]) * slope)], rtol=1e-12)
    np.testing.assert_allclose(other, [np.sum(2 * CURVATURE * (states[2] - states[4]) * slope)], rtol=1e-12)


def test_the_estimator_fulfils_the_contract():
    ml.testing.check_estimator(ml.bootstrapped(descent(), ml.Truncation(6, 3), target_steps=2), jnp.asarray(0.4))


def test_hypergradient_descent_is_truncated_backprop_of_one_step(float64):
    """Baydin et al. 2018: α ← α + β ∇f(x_t)·∇f(x_{t−1}), which is descent along −∇f(x_t)·∇f(x_{t−1}) = ∂f(x_t)/∂α."""
    beta, alpha, count = 0.02, 0.1, 8
    estimator = ml.backprop(descent(), ml.Truncation(count, 1))
    found, _ = ml.meta_train(estimator, optax.sgd(beta), jnp.asarray(alpha), KEY, num_steps=count)
    x, rates = np.array([1.0, -2.0]), []
    for _ in range(count):
        before = CURVATURE * x
        x = x - alpha * before
        alpha = alpha + beta * np.sum(CURVATURE * x * before)
        rates.append(alpha)
    np.testing.assert_allclose(found, rates[-1], rtol=1e-12)
    assert abs(rates[-1] - 0.1) > 0.05


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"target_steps": 0}, "target_steps must be at least 1"),
        ({"target_steps": 1, "distance": 3}, "distance must be a function"),
        ({"target_steps": 1, "num_particles": 0}, "num_particles must be at least 1"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(settings, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        ml.bootstrapped(descent(), ml.Truncation(4, 2), **settings)
