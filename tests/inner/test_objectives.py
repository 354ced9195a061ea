"""Meta-losses other than the mean, for estimators with windows, against integrals of NumPy functions.

The problem is a phase walk of four steps in two windows, s ← s + θ, ℓ = sin s, with two starts that are equally likely. An
objective is a function of the copies of θ in the two windows, so that the mean of persistent ES is a sum over a grid.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.inner.problem import InnerProblem
from tests.estimators.sampling import sample
from tests.statistics import rejects, within

THETA, SIGMA, STARTS = 0.8, 0.3, (2.5, 3.3)
WEIGHTS, LEVEL, DECAY = (0.0, 1.0, 2.0, 0.5), -0.3, 0.2


def walk():
    init = lambda theta, key: jnp.where(jax.random.bernoulli(key), *(jnp.asarray(s, theta.dtype) for s in STARTS))
    return InnerProblem(init, lambda s, theta, key: s + theta, lambda s, theta, key: jnp.sin(s))


def states(first, second, start):
    return np.cumsum([start + first, first, second, second], axis=0)


def reached(losses):
    return np.sum(np.minimum.accumulate(losses, axis=0) > LEVEL, axis=0)


def averages(path, start):
    found, average = [], start
    for state in path:
        average = DECAY * average + (1 - DECAY) * state
        found.append(average)
    return np.array(found)


def over_starts(function):
    return lambda first, second: np.mean([function(states(first, second, s), s) for s in STARTS], axis=0)


def worst_of_two(first, second):
    losses = [np.sin(states(first, second, start)) for start in STARTS]
    return np.mean([np.maximum(a, b).mean(axis=0) for a, b in itertools.product(losses, losses)], axis=0)


OBJECTIVES = {
    "weighted": (
        ml.weighted_loss(walk(), WEIGHTS),
        over_starts(lambda path, _: np.tensordot(WEIGHTS, np.sin(path), 1)),
    ),
    "minimum": (ml.minimum_loss(walk(), 4), over_starts(lambda path, _: np.sin(path).min(axis=0))),
    "time": (ml.time_to_reach(walk(), 4, LEVEL), over_starts(lambda path, _: reached(np.sin(path)))),
    "quantile": (ml.quantile_loss(walk(), 2, 1.0), worst_of_two),
    "averaged": (
        ml.averaged_loss(walk(), DECAY),
        over_starts(lambda path, start: np.sin(averages(path, start)).mean(axis=0)),
    ),
    "final": (ml.final_loss(walk(), 4), over_starts(lambda path, _: np.sin(path)[-1])),
}


@functools.cache
def smoothed(name):
    """The targets of persistent ES and of noise reuse: Σ_b E[ε_b L]/σ² with independent and with equal ε."""
    grid = np.linspace(-6, 6, 1201) * SIGMA
    weights = np.exp(-0.5 * (grid / SIGMA) ** 2)
    weights /= weights.sum()
    first, second = np.meshgrid(grid, grid, indexing="ij")
    value = OBJECTIVES[name][1]
    apart = np.sum(np.outer(weights, weights) * (first + second) * value(THETA + first, THETA + second)) / SIGMA**2
    return apart, np.sum(weights * grid * value(THETA + grid, THETA + grid)) / SIGMA**2


@pytest.mark.parametrize("name", OBJECTIVES)
def test_persistent_es_is_unbiased_for_the_smoothed_objective_and_truncated_es_is_not(name):
    problem, windows = OBJECTIVES[name][0], ml.Truncation(4, 2)
    apart, _ = smoothed(name)
    build = lambda sigma: ml.persistent_es(problem, windows, sigma=sigma, num_pairs=1)
    found = sample(build, THETA, 2, num_samples=80_000, sigma=SIGMA).mean(axis=1)
    assert within(found, apart, twin=apart + 0.3)
    build = lambda sigma: ml.evolution_strategies(problem, windows, sigma=sigma, num_pairs=1)
    cut = sample(build, THETA, 2, num_samples=80_000, sigma=SIGMA).mean(axis=1)
    assert rejects(cut, apart)


@pytest.mark.parametrize("name", ["minimum", "time"])
def test_noise_reuse_es_is_unbiased_for_its_own_smoothing(name):
    apart, together = smoothed(name)
    build = lambda sigma: ml.noise_reuse_es(OBJECTIVES[name][0], ml.Truncation(4, 2), sigma=sigma, num_pairs=1)
    found = sample(build, THETA, 2, num_samples=80_000, sigma=SIGMA).mean(axis=1)
    assert within(found, together, twin=together + 0.3)
    assert rejects(found, apart)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"time"}))
def test_derivatives_equal_those_of_the_objective(name, float64):
    problem, value = OBJECTIVES[name]
    gradient = jax.jit(jax.vmap(jax.value_and_grad(lambda theta, key: ml.meta_loss(problem, theta, key, 4)), (None, 0)))
    losses, slopes = gradient(jnp.asarray(THETA), jax.random.split(jax.random.key(0), 8000))
    exact = (value(THETA + 1e-5, THETA + 1e-5) - value(THETA - 1e-5, THETA - 1e-5)) / 2e-5
    assert within(losses, value(THETA, THETA), twin=value(THETA, THETA) + 0.2)
    assert within(slopes, exact, twin=1.5 * exact)


def test_forward_mode_in_windows_is_backpropagation_of_the_minimum(float64):
    problem, key = OBJECTIVES["minimum"][0], jax.random.key(3)
    truncation = ml.Truncation(4, 2, key=key)
    estimator, theta, found = ml.forward_mode(problem, truncation), jnp.asarray(THETA), []
    state = estimator.init(theta, key)
    for _ in range(2):
        gradient, state, _ = estimator.estimate(theta, state, key)
        found.append(gradient)
    exact = jax.grad(lambda theta: ml.meta_loss(problem, theta, key, 4))(theta)
    np.testing.assert_allclose(np.mean(found), exact, rtol=1e-12)


def test_a_diverged_run_keeps_its_minimum_and_does_not_reach_a_level_later():
    blows_up = InnerProblem(
        lambda theta, key: jnp.asarray(2.0),
        lambda s, theta, key: jnp.where(s < 0.6, jnp.nan, s - theta),
        lambda s, theta, key: s,
    )
    loss = lambda problem: float(ml.meta_loss(problem, jnp.asarray(0.5), jax.random.key(0), 6))
    assert loss(ml.minimum_loss(blows_up, 6)) == pytest.approx(0.5)
    assert loss(ml.time_to_reach(blows_up, 6, 1.2)) == 1
    assert loss(ml.time_to_reach(blows_up, 6, 0.2)) == 6
    assert loss(ml.weighted_loss(blows_up, [1, 0, 0, 0, 0, 0])) == 1.5
    assert not np.isfinite(loss(ml.quantile_loss(blows_up, 3, 0.5)))


@pytest.mark.parametrize("name", ["minimum", "quantile", "averaged", "weighted"])
def test_losses_at_the_cap_are_counted(name):
    capped = ml.saturate(walk()._replace(loss=lambda s, theta, key: s / 0), 2.0)
    make = {
        "minimum": lambda: ml.minimum_loss(capped, 4),
        "quantile": lambda: ml.quantile_loss(capped, 2, 0.5),
        "averaged": lambda: ml.averaged_loss(capped, 0.5),
        "weighted": lambda: ml.weighted_loss(capped, np.ones(4) / 4),
    }[name]
    estimator, theta = ml.noise_reuse_es(make(), ml.Truncation(4, 4), sigma=0.1, num_pairs=2), jnp.asarray(0.5)
    _, _, metrics = estimator.estimate(theta, estimator.init(theta, jax.random.key(0)), jax.random.key(1))
    assert metrics["fraction_capped"] == 1
    assert metrics["loss"] == 2


def test_time_to_reach_has_no_derivative():
    estimator = ml.backprop(OBJECTIVES["time"][0], ml.Truncation(4, 4))
    with pytest.raises((TypeError, ValueError), match="piecewise constant"):
        estimator.init(jnp.asarray(THETA), jax.random.key(0))


LAST = ml.final_loss(walk(), 4)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ml.weighted_loss(walk(), [[1.0]]), "weights must be a vector"),
        (lambda: ml.weighted_loss(walk(), [0.0, 0.0]), "not all zero"),
        (lambda: ml.weighted_loss(walk(), "equal"), "weights must be a vector of finite numbers.*'equal' was given"),
        (lambda: ml.weighted_loss(walk(), None), "weights must be a vector.*None was given"),
        (lambda: ml.weighted_loss(walk(), [[1.0], [1.0, 2.0]]), "weights must be a vector"),
        (lambda: ml.weighted_loss(walk(), {"a": 1.0}), "weights must be a vector"),
        (lambda: ml.weighted_loss(walk(), np.ones(2) * 1j), "weights must be a vector"),
        (lambda: jax.eval_shape(lambda w: ml.weighted_loss(walk(), w).horizon, jnp.ones(2)), "traced array was given"),
        (lambda: jax.eval_shape(lambda w: ml.weighted_loss(walk(), [w, 1]).horizon, 1.0), "traced array was given"),
        (lambda: ml.weighted_loss(LAST, [1.0, 2.0]), "made for episodes of 4 steps"),
        (lambda: ml.minimum_loss(walk(), 0), "horizon must be at least 1"),
        (lambda: ml.minimum_loss(LAST, 4), "Wrap the other way round"),
        (lambda: ml.time_to_reach(walk(), 4, float("nan")), "level must be a finite number"),
        (lambda: ml.time_to_reach(LAST, 4, 1.0), "time_to_reach needs a problem for any number of steps"),
        (lambda: ml.quantile_loss(walk(), 0, 0.5), "num_runs must be at least 1"),
        (lambda: ml.quantile_loss(walk(), 2, 1.5), "quantile must be a number in"),
        (lambda: ml.averaged_loss(walk(), 1.0), "decay must be a number in"),
        (lambda: ml.averaged_loss(lambda theta: theta, 0.5), "must be an InnerProblem"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        make()
