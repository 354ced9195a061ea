"""Problems in bfloat16 and float16: sums and averages are in float32, and gradients have the dtype of θ."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn import trees

KEY = jax.random.key(0)
BFLOAT, HALF = jnp.bfloat16, jnp.float16


def steady(kind, value=200.0):
    """ℓ_t = value · θ at every step, so that every particle and window has the gradient `value`."""
    return ml.InnerProblem(
        lambda theta, key: jnp.ones((), kind),
        lambda state, theta, key: state,
        lambda state, theta, key: jnp.asarray(value, kind) * theta,
    )


def leaky(kind):
    """s ← s/2 + θ, ℓ = s. The gradient of a late window is 2, and the Lyapunov exponent is ln ½."""
    return ml.InnerProblem(
        lambda theta, key: jnp.zeros((), kind),
        lambda state, theta, key: state * jnp.asarray(0.5, kind) + theta,
        lambda state, theta, key: state,
    )


def estimate(estimator, theta):
    gradient, state, metrics = estimator.estimate(theta, estimator.init(theta, KEY), KEY)
    assert gradient.dtype == theta.dtype
    return float(gradient), state, metrics


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda problem: ml.backprop(problem, ml.Truncation(2, 2), num_particles=512), HALF),
        (lambda problem: ml.backprop(problem, ml.Truncation(600, 600)), BFLOAT),
        (lambda problem: ml.uoro(problem, ml.Truncation(600, 600)), BFLOAT),
        (lambda problem: ml.mixture({name: ml.backprop(problem, ml.Truncation(2, 2)) for name in "abc"}), BFLOAT),
    ],
    ids=["particles", "steps", "steps of UORO", "a mixture"],
)
def test_the_mean_of_many_equal_gradients_is_exact(make, kind):
    gradient, _, metrics = estimate(make(steady(kind)), jnp.ones((), kind))
    assert gradient == pytest.approx(200, abs=1)
    assert float(metrics["loss"]) == pytest.approx(200, abs=0.1)
    assert metrics["fraction_diverged"] == 0


def test_accumulators_of_perturbations_are_in_float32():
    windows, theta = ml.Truncation(4, 1), jnp.ones((), BFLOAT)
    for estimator, place in (
        (ml.persistent_es(steady(BFLOAT), windows, sigma=0.25, num_pairs=2), 2),
        (ml.uoro(steady(BFLOAT), windows), 2),
    ):
        memory = jax.eval_shape(estimator.init, theta, KEY).memory[place]
        assert {leaf.dtype for leaf in jax.tree.leaves(memory)} == {jnp.dtype(jnp.float32)}


def test_a_variance_above_the_largest_float16_gives_a_finite_weight():
    part = lambda pairs: ml.evolution_strategies(steady(HALF, 300.0), ml.Truncation(1, 1), sigma=0.1, num_pairs=pairs)
    gradient, state, metrics = estimate(ml.combine([part(4), part(40)]), jnp.ones((), HALF))
    assert 0 < gradient < np.inf
    assert 0 < float(state.variance) < np.inf
    assert np.isfinite(float(metrics["gradient_variance"]))


def test_perturbations_of_bfloat16_parameters_are_normal():
    drawn = np.asarray(trees.normal_like(KEY, jnp.zeros(400_000, BFLOAT)), np.float64)
    assert abs(drawn.mean()) < 5 / np.sqrt(400_000)
    assert drawn.var() == pytest.approx(1, abs=5 * np.sqrt(2 / 400_000))
    assert np.abs(drawn).max() > 4


def test_sums_over_long_arrays_and_a_small_sigma_are_accurate_in_float16():
    assert float(trees.norm({"a": jnp.ones(100_000, HALF)})) == pytest.approx(np.sqrt(1e5), rel=1e-5)
    assert float(trees.dot([jnp.full(70_000, 2, HALF)], [jnp.ones(70_000, HALF)])) == 140_000
    small = ml.evolution_strategies(steady(HALF, 1.0), ml.Truncation(1, 1), sigma=np.float16(1e-4), num_pairs=2)
    assert estimate(small, jnp.zeros((), HALF))[2]["fraction_diverged"] == 0


def test_the_target_of_a_small_sigma_in_float16_is_finite():
    es = ml.evolution_strategies(steady(HALF, 2.0), ml.Truncation(1, 1), sigma=1e-4, num_pairs=16)
    report = ml.compare({"ES": es}, jnp.zeros((), HALF), KEY, num_episodes=8, unsmoothed=False, timed=False)["ES"]
    assert float(report.target[0]) == pytest.approx(2, rel=0.5)


def test_the_differences_of_a_final_loss_sum_to_the_final_loss():
    """T (ℓ_t − ℓ_{t−1}) with T = 2000 and differences of 60 overflows float16."""
    problem = ml.InnerProblem(
        lambda theta, key: jnp.zeros((), jnp.int32),
        lambda state, theta, key: state + 1,
        lambda state, theta, key: jnp.asarray(10 * (state % 7), HALF) + theta,
    )
    value = ml.meta_loss(ml.final_loss(problem, 2000), jnp.zeros((), HALF), KEY, 2000)
    assert float(value) == pytest.approx(10 * (2000 % 7), abs=0.01)


def test_exponents_and_gradients_of_long_orbits_are_correct():
    """The number of steps cannot be represented in bfloat16."""
    problem, theta = leaky(BFLOAT), jnp.ones((), BFLOAT)
    found = ml.dynamics.lyapunov(problem, theta, KEY, num_steps=400)
    assert float(found.exponents[0]) == pytest.approx(np.log(0.5), rel=1e-3)
    assert int(found.steps) == 400
    gradient = ml.dynamics.meta_gradient(problem, theta, KEY, num_steps=400)
    assert np.exp(float(gradient.log_length)) == pytest.approx(2, rel=0.01)
    assert float(gradient.loss) == pytest.approx(2, rel=0.01)
