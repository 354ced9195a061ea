"""Diverged runs count the same in every estimator: a closed form at 1, 5 and 20 % of diverged runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.inner.divergence import bounded, largest
from tests.estimators.sampling import QUICK

SIGMA, STEEP, THETA, CAP, BATCHES, PAIRS = 0.2, 2.0, 0.5, 3.0, 40, 2000
LOCKSTEP, STAGGERED, WHOLE = ml.Truncation(4, 2), ml.Truncation(4, 2, stagger=True), ml.Truncation(4, 4)
ESTIMATORS = {
    "full ES": functools.partial(ml.evolution_strategies, truncation=WHOLE),
    "NRES": functools.partial(ml.noise_reuse_es, truncation=LOCKSTEP),
    "staggered NRES": functools.partial(ml.noise_reuse_es, truncation=STAGGERED),
    "staggered whole GPES": functools.partial(
        ml.generalized_persistent_es, truncation=ml.Truncation(4, 1, stagger=True), noise_period=4
    ),
}


def fragile(share, diverged=jnp.nan) -> ml.InnerProblem:
    """The loss is θ², and `diverged` from the third of four steps on with probability share · exp(2 (θ − 1/2))."""

    def init(theta, key):
        return {"luck": jax.random.uniform(key), "count": jnp.zeros((), jnp.int32), "ill": jnp.zeros(())}

    def step(state, theta, key):
        count = state["count"] + 1
        ill = (count >= 3) & (state["luck"] < share * jnp.exp(STEEP * (theta - THETA)))
        return state | {"count": count, "ill": jnp.where(ill, diverged, 0.0)}

    return ml.InnerProblem(init, step, lambda state, theta, key: theta**2 + state["ill"])


def exact(share, cap):
    """d/dθ E[θ² (1 − p/2) + p cap / 2] under N(θ, σ²), by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    place = THETA + SIGMA * nodes
    chance = np.minimum(share * np.exp(STEEP * SIGMA * nodes), 1)
    values = place**2 * (1 - chance / 2) + chance * cap / 2
    return float(np.sum(weights * nodes * values) / np.sum(weights) / SIGMA)


@functools.cache
def episodes_of(name, capped):
    """Return `(share, keys) -> (estimates, counted shares)`, an episode for each key. All shares use one program."""

    def episode(share, key):
        problem = ml.saturate(fragile(share), CAP) if capped else fragile(share)
        estimator = ESTIMATORS[name](problem, sigma=SIGMA, num_pairs=PAIRS)
        windows = 4 // estimator.description.truncation.length
        start, steps = jax.random.split(key)

        def window(state, key):
            gradient, state, metrics = estimator.estimate(jnp.float32(THETA), state, key)
            return state, (gradient, metrics["fraction_capped" if capped else "fraction_diverged"])

        _, found = jax.lax.scan(window, estimator.init(jnp.float32(THETA), start), jax.random.split(steps, windows))
        return jax.tree.map(jnp.mean, found)

    return jax.jit(jax.vmap(episode, (None, 0)), compiler_options=QUICK)


@functools.cache
def measured(name, share, capped):
    """Return the mean estimate of an episode, its standard error, and the counted share of diverged runs."""
    means, shares = episodes_of(name, capped)(share, jax.random.split(jax.random.key(0), BATCHES))
    means = np.asarray(means, np.float64)
    return means.mean(), means.std(ddof=1) / np.sqrt(BATCHES), float(shares.mean())


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("capped", [True, False])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_of_one_target_agree_with_its_closed_form(name, capped, share):
    mean, error, _ = measured(name, share, capped)
    unit = 1.0 if capped else largest(jnp.float32)
    assert abs(mean - exact(share, CAP if capped else unit)) < 5 * error
    assert error < (0.05 if capped else 0.1) * unit


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_the_twin_that_leaves_out_diverged_runs_is_rejected(share):
    """The gradient of the loss of the surviving runs is that of θ²."""
    mean, error, _ = measured("full ES", share, True)
    assert abs(mean - 2 * THETA) > 5 * error


@pytest.mark.parametrize("capped", [True, False])
def test_fraction_diverged_counts_pairs_with_a_diverged_member(capped):
    """A pair diverges if its larger member does: E max over ± of p(θ ± ε), at the ends of the windows after step 3."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    pair = float(np.sum(weights * 0.05 * np.exp(STEEP * SIGMA * np.abs(nodes))) / np.sum(weights))
    assert measured("full ES", 0.05, capped)[2] == pytest.approx(pair, rel=0.05)
    assert measured("NRES", 0.05, capped)[2] == pytest.approx(pair / 2, rel=0.05)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_a_non_finite_loss_is_replaced_by_a_number_with_a_finite_mean(dtype):
    read = bounded(jnp.asarray([1.0, jnp.nan, jnp.inf, -jnp.inf, jnp.finfo(dtype).max], dtype))
    np.testing.assert_array_equal(np.asarray(read[1:], np.float32), np.float32(jnp.asarray(largest(dtype), dtype)))
    assert read[0] == 1
    assert jnp.isfinite(jnp.mean(read))


def test_a_cap_adds_no_direction_to_the_state():
    """Gradient descent on w² / 2 at a rate of 1/2 has one Lyapunov exponent, ln 1/2; the cap adds none."""
    task = ml.Task(lambda key: jnp.ones(1), lambda params, key: jnp.sum(params**2) / 2)
    problem = ml.training(task, lambda theta: optax.sgd(theta))
    found = ml.dynamics.lyapunov(problem, jnp.asarray(0.5), jax.random.key(0), num_steps=20)
    assert found.exponents == pytest.approx(np.log(0.5), rel=1e-5)
    with pytest.raises(ValueError, match="at most 1"):
        ml.dynamics.lyapunov(problem, jnp.asarray(0.5), jax.random.key(0), num_steps=20, num_exponents=2)


def test_training_caps_losses_by_default():
    task = ml.Task(lambda key: jnp.ones(()), lambda params, key: 2 * params**2)
    explode = ml.sgd(ml.hyperparameters.exp("rate"))
    rate = {"rate": jnp.asarray(3.0)}

    def last(**settings):
        problem = ml.training(task, explode, **settings)
        return float(ml.unroll(problem, problem.init(rate, jax.random.key(0)), rate, jax.random.key(0), 60)[1][-1])

    assert last() == 2 + 10 * 2
    assert last(cap=7.0) == 7
    assert not np.isfinite(last(cap=None))
    for wrong, error in ((jnp.inf, ValueError), ("best", ValueError), (True, TypeError)):
        with pytest.raises(error, match="cap"):
            ml.training(task, explode, cap=wrong)


def test_a_cap_around_differences_of_losses_raises_an_error():
    last = ml.final_loss(fragile(0.1), 4)
    with pytest.raises(ValueError, match=r"ml\.final_loss\(ml\.saturate\(problem, cap\), 4\)"):
        ml.saturate(last, 1.0)
    capped = ml.final_loss(ml.saturate(fragile(1.0), CAP), 4)
    assert ml.meta_loss(capped, jnp.float32(THETA), jax.random.key(0), 4) == pytest.approx(CAP)


def explosive(dtype=jnp.float32) -> ml.InnerProblem:
    """Gradient descent on s² / 2 + s⁴ with a rate of e^θ from s = 2."""

    def step(state, theta, key):
        return (state - jnp.exp(theta).astype(dtype) * (state + 4 * state**3)).astype(dtype)

    return ml.InnerProblem(lambda theta, key: jnp.asarray(2, dtype), step, lambda state, theta, key: state * state)


@pytest.mark.parametrize(
    "problem",
    [
        ml.saturate(explosive(jnp.bfloat16), 2.3),  # not representable in bfloat16
        ml.saturate(explosive(jnp.float16), 1e5),  # above the largest float16
        ml.final_loss(ml.saturate(explosive(), 2.3), 8),
    ],
)
def test_losses_at_the_cap_are_counted_in_every_precision_and_wrapper(problem):
    estimator = ml.evolution_strategies(problem, ml.Truncation(8, 8), sigma=0.01, num_pairs=2)
    for theta, share in ((jnp.float32(0.5), 1), (jnp.float32(-4.0), 0)):
        metrics = estimator.estimate(theta, estimator.init(theta, jax.random.key(0)), jax.random.key(0))[2]
        assert (metrics["fraction_capped"], metrics["fraction_diverged"]) == (share, 0)


@pytest.mark.parametrize("order", [(jax.jacrev, jax.jacrev), (jax.jacfwd, jax.jacrev), (jax.jacrev, jax.jacfwd)])
def test_second_derivatives_of_capped_losses_are_zero_in_both_modes(order):
    loss = lambda theta: ml.meta_loss(ml.saturate(explosive(), 100.0), theta, jax.random.key(0), 8)
    curvature = order[0](order[1](loss))
    assert curvature(jnp.float32(0.5)) == 0
    assert curvature(jnp.float32(-4.0)) == pytest.approx(0.178, rel=0.01)


@pytest.mark.parametrize("cap", [100, np.int64(100), np.float32(100), jnp.asarray(100)])
def test_caps_of_all_number_types_have_derivatives(cap):
    problem, theta = ml.saturate(explosive(), cap), jnp.float32(-4.0)
    loss = lambda theta: ml.meta_loss(problem, theta, jax.random.key(0), 4)
    pushed = jax.jvp(loss, (theta,), (jnp.float32(1.0),))[1]
    assert float(jax.grad(loss)(theta)) == pytest.approx(float(pushed), rel=1e-5)
    assert pushed != 0


def test_a_diverged_run_stays_at_the_cap_for_any_later_loss():
    """The state exceeds 1.8e19 at the first of four steps; the loss depends only on the number of steps."""

    def step(state, theta, key):
        return {"x": state["x"] * 1e15, "count": state["count"] + 1}

    grows = ml.InnerProblem(
        lambda theta, key: {"x": jnp.float32(1e5), "count": jnp.zeros((), jnp.int32)},
        step,
        lambda state, theta, key: 0.1 * state["count"].astype(jnp.float32),
    )
    problem = ml.saturate(grows, CAP)
    start = problem.init(0.0, jax.random.key(0))
    _, losses = ml.unroll(problem, start, 0.0, jax.random.key(0), 4)
    np.testing.assert_allclose(losses, [CAP, CAP, CAP, CAP], rtol=1e-6)
    calm = ml.saturate(grows._replace(step=lambda state, *_: state | {"count": state["count"] + 1}), CAP)
    np.testing.assert_allclose(ml.unroll(calm, start, 0.0, jax.random.key(0), 4)[1], [0.1, 0.2, 0.3, 0.4], rtol=1e-6)
