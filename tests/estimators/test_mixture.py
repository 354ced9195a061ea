"""Several problems with one θ: the mean of a mixture is the weighted mean, that of a distribution the average."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from tests.statistics import rejects, within

NEAR, FAR = ml.problems.linear_quadratic(target=0.0), ml.problems.linear_quadratic(target=3.0)
THETA, KEY, HORIZON = jnp.float32(0.3), jax.random.key(0), 12


def gradient(problem, theta=THETA):
    return jax.grad(lambda theta: ml.meta_loss(problem, theta, KEY, HORIZON))(theta)


def whole(problem):
    return ml.backprop(problem, ml.Truncation(HORIZON, HORIZON), num_particles=1)


def test_a_mixture_of_exact_estimators_is_the_exact_weighted_mean():
    mixed = ml.mixture({"near": whole(NEAR), "far": whole(FAR)}, {"near": 3.0, "far": 1.0})
    found, _, metrics = mixed.estimate(THETA, mixed.init(THETA, KEY), KEY)
    assert found == pytest.approx(float(0.75 * gradient(NEAR) + 0.25 * gradient(FAR)), rel=1e-5)
    losses = [float(ml.meta_loss(problem, THETA, KEY, HORIZON)) for problem in (NEAR, FAR)]
    assert metrics["loss"] == pytest.approx(0.75 * losses[0] + 0.25 * losses[1], rel=1e-5)
    assert [metrics["loss/near"], metrics["loss/far"]] == pytest.approx(losses, rel=1e-5)
    assert metrics["inner_steps"] == 2 * HORIZON


def test_a_noisy_mixture_is_unbiased_and_reports_its_variance():
    """Persistent ES of two problems with different windows. The smoothed gradient of a quadratic is its gradient."""
    parts = {
        "near": ml.persistent_es(NEAR, ml.Truncation(HORIZON, 4), sigma=0.3, num_pairs=8),
        "far": ml.persistent_es(FAR, ml.Truncation(2 * HORIZON, 8), sigma=0.3, num_pairs=8),
    }
    estimator = ml.mixture(parts, {"near": 1.0, "far": 0.5})
    estimates, variances = sample_with_variance(estimator, 600)
    far = jax.grad(lambda theta: ml.meta_loss(FAR, theta, KEY, 2 * HORIZON))(THETA)
    means = estimates.mean(axis=1)
    assert within(means, float((gradient(NEAR) + 0.5 * far) / 1.5))
    assert rejects(means, float((gradient(NEAR) + far) / 2))
    np.testing.assert_allclose(variances.mean(axis=0), estimates.var(axis=0, ddof=1), rtol=0.3)


def sample_with_variance(estimator, count):
    """Sample three consecutive windows, which are an episode of both parts, `[count, 3]`."""

    def one(key):
        def window(state, key):
            found, state, _ = estimator.estimate(THETA, state, key)
            return state, (found, state.variance)

        return jax.lax.scan(window, estimator.init(THETA, key), jax.random.split(jax.random.fold_in(key, 1), 3))[1]

    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(KEY, count)))


def test_a_diverged_part_does_not_change_the_losses_of_the_others():
    lost = ml.InnerProblem(
        lambda theta, key: jnp.zeros(()), lambda state, theta, key: state, lambda state, theta, key: theta * jnp.inf
    )
    mixed = ml.mixture({"near": whole(NEAR), "lost": whole(lost)})
    found, _, metrics = mixed.estimate(THETA, mixed.init(THETA, KEY), KEY)
    assert found == pytest.approx(float(gradient(NEAR)) / 2, rel=1e-5)
    assert metrics["loss"] == pytest.approx(float(ml.meta_loss(NEAR, THETA, KEY, HORIZON)), rel=1e-5)
    assert metrics["fraction_diverged"] == 0.5


def test_meta_training_on_a_mixture_finds_the_weighted_optimum():
    import optax

    mixed = ml.mixture({"near": whole(NEAR), "far": whole(FAR)}, {"near": 3.0, "far": 1.0})
    theta, history = ml.meta_train(mixed, optax.adam(0.03), THETA, KEY, 500)
    assert 0.75 * gradient(NEAR, theta) + 0.25 * gradient(FAR, theta) == pytest.approx(0, abs=1e-2)
    assert history.metrics["loss/far"].shape == (500,)


# --- A distribution of tasks ---


def drawn_target(key):
    return 1.0 + 2.0 * jax.random.bernoulli(key, 0.25)


def towards(target):
    """The linear quadratic problem with a target that may be traced."""
    base = ml.problems.linear_quadratic()
    return base._replace(loss=lambda state, theta, key: 0.5 * (state - target) ** 2)


TASKS = ml.task_distribution(towards, drawn_target)


@pytest.mark.parametrize("length", [HORIZON, 3])
def test_a_distribution_has_the_average_gradient(length):
    """With targets 1 and 3 and weights 3 and 1, the mean of persistent ES is the weighted mean of the two gradients."""
    estimator = ml.persistent_es(TASKS, ml.Truncation(HORIZON, length), sigma=0.3, num_pairs=4)

    @jax.jit
    @jax.vmap
    def episode(key):
        state, found = estimator.init(THETA, key), []
        for index in range(HORIZON // length):
            estimate, state, _ = estimator.estimate(THETA, state, jax.random.fold_in(key, index))
            found.append(estimate)
        return jnp.mean(jnp.stack(found))

    means = episode(jax.random.split(KEY, 2000))
    one, three = (float(gradient(ml.problems.linear_quadratic(target=target))) for target in (1.0, 3.0))
    assert within(means, 0.75 * one + 0.25 * three)
    assert rejects(means, (one + three) / 2)


def test_the_task_is_constant_during_an_episode():
    theta = jnp.float32(0.3)
    for index in range(8):
        key = jax.random.key(index)
        state = TASKS.init(theta, key)
        target = drawn_target(jax.random.wrap_key_data(state[0]))
        after, losses = ml.unroll(TASKS, state, theta, key, 5)
        assert after[0].tolist() == state[0].tolist()
        alone = towards(target)
        np.testing.assert_allclose(losses, ml.unroll(alone, state[1], theta, key, 5)[1], rtol=1e-6)


def test_drawn_numbers_add_no_direction_to_the_state():
    """The exponent of a contraction by 0.8 is log 0.8 for any number that the episode drew."""
    drawn = ml.task_distribution(lambda number: ml.problems.linear_quadratic(0.8, 0.5), jax.random.normal)
    found = ml.dynamics.lyapunov_exponents(drawn, THETA, KEY, num_steps=400)
    assert float(found[0]) == pytest.approx(np.log(0.8), rel=1e-3)


@pytest.mark.parametrize(("impl", "wrap"), [("threefry2x32", lambda problem: ml.in_windows(problem, 2)), ("rbg", None)])
def test_losses_at_the_cap_of_each_task_are_counted(impl, wrap):
    """The cap is u + 1/2 with u uniform in [0, 1], so that losses of 1 are at the cap in half of the episodes."""
    still = ml.InnerProblem(
        lambda theta, key: theta, lambda state, theta, key: state, lambda state, theta, key: 1 + 0 * jnp.sum(state)
    )
    drawn = ml.task_distribution(lambda u: ml.saturate(still, 0.5 + u), jax.random.uniform)
    problem, theta = (wrap(drawn), THETA[None]) if wrap else (drawn, THETA)
    estimator, key = (
        ml.evolution_strategies(problem, ml.Truncation(2, 2), sigma=0.1, num_pairs=400),
        jax.random.key(0, impl=impl),
    )
    metrics = estimator.estimate(theta, estimator.init(theta, key), key)[2]
    assert metrics["fraction_capped"] == pytest.approx(0.5, abs=0.1)
    assert ml.task_distribution(lambda u: still, jax.random.uniform).cap is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: ml.mixture({}), TypeError, "estimators must map at least one name"),
        (lambda: ml.mixture({"a": 3}), TypeError, "Every one of estimators must be a GradientEstimator such as"),
        (lambda: ml.mixture({"a": whole(NEAR)}, 3.0), TypeError, "weights must map the names"),
        (lambda: ml.mixture({"a": whole(NEAR)}, {"b": 1.0}), ValueError, "weights must have the names"),
        (lambda: ml.mixture({"a": whole(NEAR)}, {"a": -1.0}), ValueError, "The weight of a must be a number"),
        (lambda: ml.task_distribution(3, drawn_target), TypeError, "make must be a function"),
        (
            lambda: ml.task_distribution(lambda drawn: 3, drawn_target).init(THETA, KEY),
            TypeError,
            "make must return an InnerProblem; it returned a int",
        ),
    ],
)
def test_invalid_arguments_raise_a_clear_error(call, error, message):
    with pytest.raises(error, match=message):
        call()
