"""Toy 2-D regression, whose optimum lies behind a chaotic region: docs/theory.md §5.6.

Vicol, Metz and Sohl-Dickstein 2021 (arXiv 2112.13835).

T = 100, W = 10, 50 pairs, σ = 0.3, Adam 0.01 with b1 = 0.99, 20 000 outer steps from (−4, −4), SUM objective. The
result of a method is the median of L over the last tenth of its iterates.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn import trees
from metalearn.estimators.backprop import differentiate_window
from metalearn.estimators.method import Method
from metalearn.estimators.particles import from_method
from metalearn.reproductions.measurements import episode_means, meta_losses
from metalearn.reproductions.toy import (
    HORIZON,
    NUM_GROWING,
    OPTIMUM,
    PAIRS,
    PROBLEM,
    STUCK,
    WHOLE,
    WINDOWS,
    descend,
    growing_windows,
)
from tests.conftest import REFERENCE

FIXED = json.loads((REFERENCE / "toy_fixed_theta.json").read_text())


def assert_within(values, band):
    low, high = band
    assert np.all((values >= low) & (values <= high)), (values, band)


@pytest.mark.parametrize(
    ("make", "earliest", "latest"), [(ml.persistent_es, 600, 900), (ml.noise_reuse_es, 580, 850)], ids=["pes", "nres"]
)
def test_persistent_and_noise_reuse_es_reach_the_optimum_vicol_2021(make, earliest, latest):
    losses, first, _ = descend(make(PROBLEM, WINDOWS, **PAIRS))
    assert_within(losses, OPTIMUM)
    assert_within(first, (earliest, latest))


@pytest.mark.slow
def test_truncated_es_is_stuck_at_the_chaos_boundary_vicol_2021():
    losses, first, _ = descend(ml.evolution_strategies(PROBLEM, WINDOWS, **PAIRS))
    assert_within(losses, STUCK)
    assert np.all(first == -1)


@pytest.mark.slow
def test_truncated_es_with_more_smoothing_moves_and_stays_far_from_the_optimum_vicol_2021():
    losses, *_ = descend(ml.evolution_strategies(PROBLEM, WINDOWS, sigma=1.0, num_pairs=50))
    assert_within(losses, (1400, 1650))


def test_truncated_backprop_is_stuck_at_the_chaos_boundary_vicol_2021():
    losses, *_ = descend(ml.backprop(PROBLEM, WINDOWS), seeds=(0,))
    assert_within(losses, STUCK)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "truncation"), [(ml.backprop, WHOLE), (ml.forward_mode, WINDOWS)], ids=["bptt", "rtrl"]
)
def test_exact_gradients_are_stuck_at_the_chaos_boundary_vicol_2021(make, truncation):
    losses, *_ = descend(make(PROBLEM, truncation), seeds=(0,))
    assert_within(losses, STUCK)


@pytest.mark.slow
def test_full_es_reaches_the_optimum_vicol_2021():
    losses, *_ = descend(ml.evolution_strategies(PROBLEM, WHOLE, **PAIRS))
    assert_within(losses, OPTIMUM)


@pytest.mark.slow
def test_uoro_rarely_leaves_the_chaos_boundary_vicol_2021():
    losses, *_ = descend(ml.uoro(PROBLEM, WINDOWS), seeds=range(5))
    assert np.sum(losses > 2000) >= 4, losses


def persistent_es_with_analytic_gradient(problem, truncation, *, sigma, num_pairs):
    """Naive PES+A: backprop for the newest window's part of the gradient, ES for earlier windows.

    g_t = ξ_{t−1} (L_t⁺ − L_t⁻) / (2σ²) + ½ (∇L_t⁺ + ∇L_t⁻). The mean is that of PES. Chaos in
    ∇L_t makes the variance large.
    """

    def start(theta, state):
        return trees.broadcast(state, 2), jax.tree.map(jnp.zeros_like, theta)

    def window(run, theta, memory, clock, key):
        states, past = memory
        past = trees.where(clock == 0, jax.tree.map(jnp.zeros_like, past), past)
        noise = trees.normal_like(key, theta, sigma)
        member = lambda sign, state: differentiate_window(run, trees.add(theta, trees.scale(sign, noise)), state)
        slopes, states, readings = jax.vmap(member)(jnp.array([1.0, -1.0]), states)
        earlier = trees.scale((readings.loss[0] - readings.loss[1]) / (2 * sigma**2), past)
        newest = jax.tree.map(lambda slope: jnp.mean(slope, axis=0), slopes)
        return trees.add(earlier, newest), (states, trees.add(past, noise)), readings

    description = ml.estimators.Description(problem, truncation, num_pairs, lambda theta: 0, sigma)
    return from_method(Method(start, window, num_unrolls=2), problem, truncation, num_pairs, None, description)


@pytest.mark.slow
def test_a_naive_analytic_gradient_makes_persistent_es_fail_vicol_2021():
    losses, *_ = descend(persistent_es_with_analytic_gradient(PROBLEM, WINDOWS, **PAIRS), seeds=range(5))
    # every seed of PES ends below 570; ten of this twin ended between 720 and 2334, which ones changes with the rounding
    assert np.all(losses > 600), losses
    assert np.any(losses > 1000), losses


def means_of(estimator, num_episodes):
    """Return a function from θ to the mean estimate of each episode at this frozen θ, `[num_episodes, 2]`."""
    keys = jax.random.split(jax.random.key(0), num_episodes)
    run = episode_means(estimator, keys, estimator.description.truncation.num_windows)
    return lambda theta: np.asarray(run(jnp.asarray(theta, jnp.float32)), np.float64)


@pytest.mark.parametrize("name", ["nres", "pes", "tes"])
def test_the_mean_at_fixed_theta_is_that_of_an_independent_implementation(name):
    make = {"nres": ml.noise_reuse_es, "pes": ml.persistent_es, "tes": ml.evolution_strategies}[name]
    estimates = means_of(make(PROBLEM, WINDOWS, sigma=0.3, num_pairs=500), num_episodes=40)
    for row in FIXED:
        sample = estimates(row["theta"])
        error = np.hypot(np.std(sample, axis=0, ddof=1) / np.sqrt(len(sample)), row[name]["se"])
        assert np.all(np.abs(np.mean(sample, axis=0) - row[name]["mean"]) < 5 * error), (row["theta"], name)


@pytest.mark.parametrize(("name", "truncation"), [("bptt", WHOLE), ("tbptt_sum", WINDOWS)])
def test_backprop_at_fixed_theta_is_that_of_an_independent_implementation(name, truncation):
    estimates = means_of(ml.backprop(PROBLEM, truncation), num_episodes=1)
    for row in FIXED:
        np.testing.assert_allclose(estimates(row["theta"])[0], row[name], rtol=1e-3, err_msg=str(row["theta"]))


def test_at_the_origin_truncated_es_points_away_from_the_smoothed_gradient():
    """The cosine between the means of truncated ES and NRES is −0.93, so the bias reverses the direction."""
    pair = []
    for make in (ml.evolution_strategies, ml.noise_reuse_es):
        pair.append(
            means_of(make(PROBLEM, WINDOWS, sigma=0.3, num_pairs=500), num_episodes=40)((0.0, 0.0)).mean(axis=0)
        )
    cosine = pair[0] @ pair[1] / np.linalg.norm(pair[0]) / np.linalg.norm(pair[1])
    assert abs(cosine + 0.93) < 0.05


@pytest.mark.slow
def test_growing_windows_leave_the_border_of_chaos():
    losses, _, thetas = descend(growing_windows(), seeds=(0, 1), num_steps=NUM_GROWING)
    along = meta_losses(PROBLEM, jnp.asarray(thetas), HORIZON)
    assert np.all(along[:, 8:10] > 2000), "windows of 10 see no way"
    assert np.all((losses > OPTIMUM[0]) & (losses < OPTIMUM[1])), losses
