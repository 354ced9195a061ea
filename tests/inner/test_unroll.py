"""`unroll` against a loop in Python: losses after each step, the key of each step, and finite derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.inner.unroll import segment_length, unroll

KEY = jax.random.key(3)


def noisy():
    """A map whose steps and losses draw different numbers, with a counter and a key in its state."""

    def init(theta, key):
        return {"x": theta * jax.random.normal(key), "count": jnp.zeros((), jnp.int32), "key": key}

    def step(state, theta, key):
        x = jnp.sin(state["x"] + theta) + 0.1 * jax.random.normal(key)
        return {"x": x, "count": state["count"] + 1, "key": jax.random.fold_in(state["key"], state["count"])}

    def loss(state, theta, key):
        return state["x"] ** 2 + theta * jax.random.uniform(key) + 0.01 * state["count"]

    return ml.InnerProblem(init, step, loss)


def by_hand(problem, state, theta, num_steps, start):
    losses = []
    for index in range(start, start + num_steps):
        state = problem.step(state, theta, jax.random.fold_in(KEY, index))
        losses.append(problem.loss(state, theta, jax.random.fold_in(KEY, index + 1)))
    return state, jnp.stack(losses)


@pytest.mark.parametrize(("num_steps", "start"), [(1, 0), (2, 5), (7, 0), (12, 4)])
@pytest.mark.parametrize("rematerialise", [False, True])
def test_unroll_equals_a_python_loop(num_steps, start, rematerialise):
    problem, theta = noisy(), jnp.float32(0.7)
    state = problem.init(theta, KEY)
    final, losses = unroll(problem, state, theta, KEY, num_steps, start=start, rematerialise=rematerialise)
    expected, read = by_hand(problem, state, theta, num_steps, start)
    np.testing.assert_allclose(losses, read, rtol=1e-5)
    assert int(final["count"]) == num_steps
    np.testing.assert_allclose(final["x"], expected["x"], rtol=1e-5)
    np.testing.assert_array_equal(jax.random.key_data(final["key"]), jax.random.key_data(expected["key"]))
    mean = lambda run: lambda theta: jnp.mean(run(theta)[1])
    ours = mean(lambda t: unroll(problem, state, t, KEY, num_steps, start=start, rematerialise=rematerialise))
    hand = mean(lambda t: by_hand(problem, state, t, num_steps, start))
    slope = jax.grad(hand)(theta)
    np.testing.assert_allclose(jax.grad(ours)(theta), slope, rtol=1e-4)
    np.testing.assert_allclose(jax.jvp(ours, (theta,), (jnp.float32(1.0),))[1], slope, rtol=1e-4)


def test_the_gradient_is_finite_if_the_loss_has_no_derivative_at_the_initial_state():
    """ℓ is evaluated at s_1, s_2, …, but not at s_0 = 0, where its derivatives with respect to s and θ are infinite."""
    start = 0.5
    problem = ml.InnerProblem(
        lambda theta, key: jnp.zeros(()),
        lambda state, theta, key: state + theta,
        lambda state, theta, key: jnp.sqrt(state) + jnp.sqrt(theta - start + state),
    )
    theta, steps = jnp.float32(start), np.arange(1, 5)
    objective = lambda theta: jnp.mean(unroll(problem, jnp.zeros(()), theta, KEY, 4)[1])
    exact = np.mean(0.5 * np.sqrt(steps / start) + 0.5 * (1 + steps) / np.sqrt(steps * start))
    assert jax.grad(objective)(theta) == pytest.approx(exact, rel=1e-5)
    assert jax.jvp(objective, (theta,), (jnp.float32(1.0),))[1] == pytest.approx(exact, rel=1e-5)
    estimator = ml.backprop(problem, ml.Truncation(4, 4))
    gradient, _, metrics = estimator.estimate(theta, estimator.init(theta, KEY), KEY)
    assert metrics["fraction_diverged"] == 0
    assert gradient == pytest.approx(exact, rel=1e-5)


def test_a_step_is_traced_once_for_all_programs():
    traces = []

    def step(state, theta, key):
        traces.append(1)
        return state - 0.1 * theta * state

    problem = ml.InnerProblem(lambda theta, key: jnp.ones(3), step, lambda state, theta, key: jnp.sum(state))
    theta, windows = jnp.float32(0.3), ml.Truncation(8, 4)
    for estimator in (
        ml.persistent_es(problem, windows, sigma=0.1, num_pairs=2),
        ml.evolution_strategies(problem, windows, sigma=0.1, num_pairs=2),
        ml.backprop(problem, windows),
    ):
        estimator.estimate(theta, estimator.init(theta, KEY), KEY)
    assert len(traces) <= 2, "once to be looked at by shape, once for the programs"


@pytest.mark.parametrize(("count", "length"), [(1, 1), (3, 1), (4, 2), (12, 3), (200, 10), (199, 14), (40, 5), (7, 2)])
def test_segments_are_equal_if_a_divisor_is_near(count, length):
    assert segment_length(count) == length
