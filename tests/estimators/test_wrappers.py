"""Clipping, normalising and combining estimators with given results; the final loss as an objective."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.estimators import (
    GradientEstimator,
    backprop,
    clip_gradient,
    combine,
    forward_mode,
    noise_reuse_es,
    normalise_gradient,
    persistent_es,
)
from metalearn.inner.derived import final_loss
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import linear_quadratic
from metalearn.inner.unroll import Truncation
from tests import reference_numpy as ref
from tests.estimators.sampling import QUICK, quick, sample
from tests.statistics import rejects, within

NAN, INF = np.nan, np.inf
THETA = {"a": jnp.array([0.5, -1.0]), "b": jnp.array(2.0, jnp.float32)}


class Script(NamedTuple):
    call: jax.Array
    variance: dict


def scripted(gradients, variances, fractions=None, steps=10) -> GradientEstimator:
    """An estimator that returns the rows of `gradients` and `variances`, `[calls, 3]`, in turn."""
    gradients, variances = jnp.asarray(gradients, jnp.float32), jnp.asarray(variances, jnp.float32)
    fractions = jnp.asarray([0.0] * len(gradients) if fractions is None else fractions)
    shape = lambda row: {"a": row[:2], "b": row[2]}

    def init(theta, key):
        return Script(jnp.zeros((), jnp.int32), shape(jnp.full((3,), jnp.nan)))

    def estimate(theta, state, key):
        metrics = {
            "loss": jnp.array(1.0),
            "fraction_diverged": fractions[state.call],
            "gradient_variance": jnp.sum(variances[state.call]),
            "inner_steps": jnp.array(steps),
        }
        return shape(gradients[state.call]), Script(state.call + 1, shape(variances[state.call])), metrics

    return GradientEstimator(init, estimate)


def calls(estimator, count):
    """Return the gradients `[count, 3]`, metrics and states of `count` calls."""
    estimator, found = quick(estimator), []
    state = estimator.init(THETA, jax.random.key(0))
    for index in range(count):
        gradient, state, metrics = estimator.estimate(THETA, state, jax.random.key(index))
        found.append((np.append(gradient["a"], gradient["b"]), metrics, state))
    gradients, metrics, states = zip(*found, strict=True)
    return np.array(gradients), metrics, states


# --- Clipping and normalising ---


def test_clipping_changes_only_gradients_above_the_maximal_norm():
    rows = np.array([[3.0, 0.0, 4.0], [0.3, -0.1, 0.2], [0.0, 0.0, 0.0], [-30.0, 40.0, 0.0]])
    found, metrics, _ = calls(clip_gradient(scripted(rows, np.ones((4, 3))), 1.0), 4)
    np.testing.assert_allclose(found[0], rows[0] / 5, rtol=1e-6)
    np.testing.assert_array_equal(found[1:3], rows[1:3].astype(np.float32))
    np.testing.assert_allclose(found[3], rows[3] / 50, rtol=1e-6)
    np.testing.assert_allclose([m["gradient_variance"] for m in metrics], [3 / 25, 3, 3, 3 / 2500], rtol=1e-5)


def test_normalising_keeps_the_direction_of_every_nonzero_gradient():
    rows = np.array([[3.0, 0.0, 4.0], [3e-4, 0.0, -4e-4], [0.0, 0.0, 0.0]])
    found, _, _ = calls(normalise_gradient(scripted(rows, np.ones((3, 3)))), 3)
    np.testing.assert_allclose(found, [[0.6, 0, 0.8], [0.6, 0, -0.8], [0, 0, 0]], rtol=1e-5)


@pytest.mark.parametrize("size", [1e25, 1e-25])
def test_a_gradient_whose_square_overflows_float32_keeps_its_direction(size):
    """Backprop through chaotic dynamics produces such gradients, which clipping must handle."""
    row = np.array([[3.0, 0.0, 4.0]]) * size
    found, _, _ = calls(normalise_gradient(scripted(row, np.ones((1, 3)))), 1)
    np.testing.assert_allclose(found, [[0.6, 0, 0.8]], rtol=1e-5)
    found, _, _ = calls(clip_gradient(scripted(row, np.ones((1, 3))), 1.0), 1)
    np.testing.assert_allclose(found, row if size < 1 else [[0.6, 0, 0.8]], rtol=1e-5)


@pytest.mark.parametrize("max_norm", [0.0, -1.0, NAN])
def test_a_norm_that_is_not_positive_raises_an_error(max_norm):
    with pytest.raises(ValueError, match="max_norm must be"):
        clip_gradient(scripted(np.ones((1, 3)), np.ones((1, 3))), max_norm)


# --- Combination ---


def weighted(gradients, variances):
    """Return Σ g/v / Σ 1/v and 1/Σ(1/v) over the first axis."""
    precisions = 1 / np.array(variances)
    return np.sum(np.array(gradients) * precisions, axis=0) / precisions.sum(axis=0), 1 / precisions.sum(axis=0)


ONES = np.ones((5, 3))
FIRST = np.array([[0.5, 1.0, 2.0]]) * np.arange(1.0, 6.0)[:, None]
SECOND = np.array([[2.0, 1.0, 0.25]]) * np.array([1.0, 1.0, 3.0, 2.0, 5.0])[:, None]


def test_each_parameter_is_weighted_by_the_inverse_variances_of_earlier_calls():
    """The weights use the pilot, then the running mean with decay 0.9, but not the variance of the same call."""
    found, metrics, states = calls(combine([scripted(ONES, FIRST), scripted(-3 * ONES, SECOND)]), 3)
    running = np.array([FIRST[0], SECOND[0]])
    for call in range(3):
        expected, variance = weighted([ONES[call], -3 * ONES[call]], running)
        np.testing.assert_allclose(found[call], expected, rtol=1e-5)
        np.testing.assert_allclose(metrics[call]["gradient_variance"], variance.sum(), rtol=1e-5)
        np.testing.assert_allclose(states[call].variance["a"], variance[:2], rtol=1e-5)
        running = 0.9 * running + 0.1 * np.array([FIRST[call], SECOND[call]])


@pytest.mark.parametrize("odd", [NAN, INF])
def test_an_estimator_without_a_finite_variance_has_weight_zero_until_its_variance_is_finite(odd):
    """This concerns only the parameter itself. Its running variance starts anew afterwards."""
    variances, gradients = ONES.copy(), 5 * ONES
    variances[1, 0], gradients[2, 0] = odd, odd
    found, metrics, _ = calls(combine([scripted(ONES, ONES), scripted(gradients, variances)]), 5)
    np.testing.assert_allclose(found[:, 0], [3, 3, 1, 3, 3], rtol=1e-6)
    np.testing.assert_allclose(found[:, 1:], 3, rtol=1e-6)
    np.testing.assert_allclose([m["gradient_variance"] for m in metrics], [1.5, 1.5, 2.0, 1.5, 1.5], rtol=1e-6)
    variances[:2, 0] = odd
    variances[2, 0] = 3.0
    found, _, _ = calls(combine([scripted(ONES, ONES), scripted(5 * ONES, variances)]), 4)
    np.testing.assert_allclose(found[:, 0], [1, 1, 1, 2], rtol=1e-6)


def test_without_any_finite_variance_the_estimate_is_zero_and_its_variance_unknown():
    found, metrics, _ = calls(combine([scripted(ONES, NAN * ONES), scripted(ONES, NAN * ONES)]), 2)
    np.testing.assert_array_equal(found, 0)
    assert all(np.isnan(m["gradient_variance"]) for m in metrics)


def test_an_estimator_whose_particles_all_diverged_is_left_out_of_this_call():
    found, metrics, _ = calls(combine([scripted(ONES, ONES), scripted(0 * ONES, ONES, [0.0, 1.0, 0.0, 0.0, 0.0])]), 3)
    np.testing.assert_allclose(found[:, 0], [0.5, 1.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose([m["fraction_diverged"] for m in metrics], [0, 0.5, 0], rtol=1e-6)


def test_variances_of_every_size_give_finite_weights():
    small = np.array([[0.0, 1e-30, 1e-45]] * 5)
    found, _, _ = calls(combine([scripted(ONES, small), scripted(5 * ONES, 1e30 * ONES)]), 2)
    np.testing.assert_allclose(found, 1, rtol=1e-5)


def test_the_cost_of_the_pilot_is_part_of_the_first_estimate():
    _, metrics, _ = calls(combine([scripted(ONES, ONES, steps=10), scripted(ONES, ONES, steps=7)]), 3)
    assert [int(m["inner_steps"]) for m in metrics] == [34, 17, 17]


def test_a_combination_of_online_estimators_is_unbiased():
    """Noise lasts for an episode, so weights that change within it would reduce large estimates: 1.3 to 1.6."""
    slope = InnerProblem(
        lambda theta, key: theta, lambda state, theta, key: theta, lambda state, theta, key: 2.0 * state
    )
    truncation = Truncation(8, 1)

    def one(key):
        estimator = combine([noise_reuse_es(slope, truncation, sigma=0.1, num_pairs=2) for _ in range(2)])
        theta, keys = jnp.array(0.3, jnp.float32), jax.random.split(key, 25)
        body = lambda state, key: estimator.estimate(theta, state, key)[1::-1]
        return jax.lax.scan(body, estimator.init(theta, keys[0]), keys[1:])[1]

    found = jax.jit(jax.vmap(one), compiler_options=QUICK)(jax.random.split(jax.random.key(4), 8000))
    windows = np.asarray(found).reshape(8000, 3, 8).mean(axis=2)
    assert within(windows, np.full(3, 2.0), twin=np.full(3, 1.6))


# --- The final loss as an objective ---

LINEAR, HORIZON = {"a": 0.9, "b": 1.0, "start": 1.0, "target": 0.0}, 12
LAST = final_loss(linear_quadratic(**LINEAR), HORIZON)


def last_gradient():
    """Return (s_T − y) G(T), the closed form A for the last loss."""
    every = [ref.linear_quadratic_gradients(**LINEAR, theta=0.3, horizon=h, length=h)[0][0] * h for h in (12, 11)]
    return every[0] - every[1]


@pytest.mark.parametrize("length", [1, 4, 12])
def test_forward_mode_averages_to_the_gradient_of_the_last_loss(length):
    build = lambda sigma: forward_mode(LAST, Truncation(HORIZON, length))
    found = sample(build, 0.3, HORIZON // length, num_samples=1)[0]
    np.testing.assert_allclose(found.mean(), last_gradient(), rtol=1e-5)


@pytest.mark.parametrize("method", [persistent_es, noise_reuse_es])
def test_online_es_is_unbiased_for_the_gradient_of_the_last_loss(method):
    truncation = Truncation(HORIZON, 4)
    truncated = sample(lambda sigma: backprop(LAST, truncation), 0.3, 3, num_samples=1)[0].mean()
    build = lambda sigma: method(LAST, truncation, sigma=sigma, num_pairs=1)
    found = sample(build, 0.3, 3, num_samples=20_000, sigma=0.3).mean(axis=1)
    assert within(found, last_gradient(), twin=truncated)
    assert rejects(found, truncated)


def test_a_final_loss_of_zero_steps_raises_an_error():
    with pytest.raises(ValueError, match="horizon must be at least 1"):
        final_loss(LAST, 0)
