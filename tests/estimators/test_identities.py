"""Exact identities between estimators with the same keys, in float64: docs/theory.md §2.9.

An episode draws its start and its steps from one key, and a method draws its noise from the key of the estimate.
Estimators with the same keys at the start of an episode therefore use the same numbers for any windows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from metalearn.estimators import (
    backprop,
    evolution_strategies,
    forward_gradient,
    forward_mode,
    generalized_persistent_es,
    noise_reuse_es,
    persistent_es,
)
from metalearn.estimators.average import average
from metalearn.inner.derived import final_loss
from metalearn.inner.divergence import Reading
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import linear_quadratic, noisy_linear_quadratic
from metalearn.inner.unroll import Truncation, meta_loss, unroll
from tests.estimators.family import noisy_map
from tests.estimators.sampling import QUICK, normal, probe, quick

HORIZON, WINDOWS, EPISODES, PARTICLES = 6, 3, 2, 3
CUTS, WHOLE = Truncation(HORIZON, 2), Truncation(HORIZON, HORIZON)
PROBLEM = noisy_map()
PAIRS = {"sigma": 0.3, "num_pairs": PARTICLES}

BUILD = {
    "PES": lambda: persistent_es(PROBLEM, CUTS, **PAIRS),
    "GPES of one window": lambda: generalized_persistent_es(PROBLEM, CUTS, noise_period=2, **PAIRS),
    "NRES": lambda: noise_reuse_es(PROBLEM, CUTS, **PAIRS),
    "GPES of one episode": lambda: generalized_persistent_es(PROBLEM, CUTS, noise_period=6, **PAIRS),
    "GPES beyond the episode": lambda: generalized_persistent_es(PROBLEM, CUTS, noise_period=101, **PAIRS),
    "full ES": lambda: evolution_strategies(PROBLEM, WHOLE, **PAIRS),
    "whole PES": lambda: persistent_es(PROBLEM, WHOLE, **PAIRS),
    "whole NRES": lambda: noise_reuse_es(PROBLEM, WHOLE, **PAIRS),
    "BPTT": lambda: backprop(PROBLEM, WHOLE, num_particles=PARTICLES),
    "rematerialised BPTT": lambda: backprop(PROBLEM, WHOLE, num_particles=PARTICLES, rematerialise=True),
    "TBPTT": lambda: backprop(PROBLEM, CUTS, num_particles=PARTICLES),
    "RTRL": lambda: forward_mode(PROBLEM, CUTS, num_particles=PARTICLES),
    "whole RTRL": lambda: forward_mode(PROBLEM, WHOLE, num_particles=PARTICLES),
}

pytestmark = pytest.mark.usefixtures("float64")


def theta_of(problem):
    return {"rates": jnp.array([0.2, -0.5]), "scale": jnp.array(0.7)} if problem is PROBLEM else jnp.array([0.3, -0.4])


def keys_of(window, episode=0):
    """The key of an estimate. For the first window of an episode it does not depend on the length of the windows."""
    return jax.random.fold_in(jax.random.key(episode), window)


def run(estimator, num_windows, problem=PROBLEM, first_episode=0):
    """Return estimates `[episodes, windows, d]` with θ flattened, and the episode keys `[episodes, particles]`."""
    estimator, theta, rows, episodes = quick(estimator), theta_of(problem), [], []
    state = estimator.init(theta, jax.random.key(9))
    for episode in range(first_episode, first_episode + EPISODES):
        for window in range(num_windows):
            gradient, state, _ = estimator.estimate(theta, state, keys_of(window, episode))
            rows.append(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)]))
        episodes.append(state.episodes)
    return np.reshape(rows, (EPISODES, num_windows, -1)), episodes


@functools.cache
def estimates(name):
    estimator = BUILD[name]()
    return run(estimator, estimator.description.truncation.num_windows)


@functools.cache
def noises(problem, sigma=PAIRS["sigma"]):
    """Return the ε that each particle draws in a window: `[episodes, windows, particles, d]`."""
    theta, rows = theta_of(problem), []
    estimator = quick(probe(problem, CUTS, PARTICLES, normal(sigma)))
    state = estimator.init(theta, jax.random.key(9))
    for episode in range(EPISODES):
        for window in range(WINDOWS):
            _, state, _ = estimator.estimate(theta, state, keys_of(window, episode))
            rows.append(state.memory)
    return np.reshape(rows, (EPISODES, WINDOWS, PARTICLES, -1))


def same(found, expected, tolerance=1e-10):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
    assert np.all(np.linalg.norm(expected, axis=-1) > 1e-3)


# --- Evolution strategies ---


@pytest.mark.parametrize(
    ("name", "like"),
    [("GPES of one window", "PES"), ("GPES of one episode", "NRES"), ("GPES beyond the episode", "NRES")],
)
def test_generalised_persistent_es_equals_persistent_and_noise_reuse_es_bit_for_bit(name, like):
    np.testing.assert_array_equal(estimates(name)[0], estimates(like)[0])
    assert np.any(estimates("PES")[0] != estimates("NRES")[0])


def test_noise_reuse_averages_to_full_es_over_every_episode():
    same(estimates("NRES")[0].mean(axis=1), estimates("full ES")[0][:, 0])


def test_all_es_are_equal_if_the_window_is_the_whole_horizon():
    for name in ("whole PES", "whole NRES"):
        same(estimates(name)[0], estimates("full ES")[0])


def finite_difference(episodes):
    """The mean over particles of ε (L(θ+ε) − L(θ−ε)) / 2σ², each with its episode's key: `[episodes, d]`."""
    theta, unravel = ravel_pytree(theta_of(PROBLEM))
    meta = jax.jit(lambda theta, key: meta_loss(PROBLEM, unravel(theta), key, HORIZON), compiler_options=QUICK)

    def one(noise, key):
        return noise * float(meta(theta + noise, key) - meta(theta - noise, key)) / (2 * PAIRS["sigma"] ** 2)

    first = noises(PROBLEM)[:, 0]
    return np.array([np.mean([one(e, k) for e, k in zip(*row, strict=True)], axis=0) for row in zip(first, episodes)])


def test_full_es_is_the_finite_difference_of_the_meta_loss():
    found, episodes = estimates("full ES")
    same(found[:, 0], finite_difference(episodes))


def test_an_episode_key_makes_every_episode_of_every_particle_the_same_function():
    """With an episode key, online ES estimates the gradient of the deterministic meta-loss that a landscape shows."""
    key = jax.random.key(17)
    found, _ = run(noise_reuse_es(PROBLEM, Truncation(HORIZON, 2, key=key), **PAIRS), WINDOWS)
    same(found.mean(axis=1), finite_difference([[key] * PARTICLES] * EPISODES))
    assert np.max(np.abs(found.mean(axis=1) - estimates("full ES")[0][:, 0])) > 1e-3


def project(noise, gradient):
    """The mean over particles of ε (ε · g) / σ²; both `[..., particles, d]`."""
    return np.mean(noise * np.sum(noise * gradient, axis=-1, keepdims=True), axis=-2) / PAIRS["sigma"] ** 2


def test_truncated_es_on_a_linear_quadratic_problem_projects_truncated_backprop():
    """On this problem g = ε εᵀ g_TBPTT / σ² for every ε, so that E[truncated ES] = TBPTT for every σ."""
    problem = linear_quadratic(a=np.array([0.9, 0.7]), b=1.0, start=1.0, target=np.array([0.2, -0.3]))
    found, _ = run(evolution_strategies(problem, CUTS, **PAIRS), WINDOWS, problem)
    exact, _ = run(backprop(problem, CUTS, num_particles=PARTICLES), WINDOWS, problem)
    same(found, project(noises(problem), exact[:, :, None]))


def test_members_of_a_pair_share_every_random_number():
    """If the loss is only noise of the start, the map and the loss, its difference within each pair is exactly zero."""

    def draw(key):
        return jax.random.normal(key, (2,))

    problem = InnerProblem(
        init=lambda theta, key: draw(key),
        step=lambda state, theta, key: 0.5 * state + draw(key),
        loss=lambda state, theta, key: jnp.sum(state * draw(key)),
    )
    for build in (persistent_es, noise_reuse_es, evolution_strategies):
        found, _ = run(build(problem, CUTS, **PAIRS), WINDOWS, problem)
        np.testing.assert_array_equal(found, 0)


def test_noise_in_the_map_cancels_in_the_difference_of_a_pair():
    """With noise in a linear map and a quadratic loss, L⁺ − L⁻ = 2 ε·∇L of the same episode, and g = ε εᵀ∇L/σ²."""
    problem = noisy_linear_quadratic(a=0.9, b=1.0, start=1.0, target=0.0, noise=0.5)
    found, episodes = run(evolution_strategies(problem, WHOLE, **PAIRS), 1, problem)
    meta = jax.grad(lambda theta, key: meta_loss(problem, theta, key, HORIZON))
    by_theta = jax.jit(jax.vmap(meta, (None, 0)), compiler_options=QUICK)
    exact = [by_theta(theta_of(problem), keys) for keys in episodes]
    same(found[:, 0], project(noises(problem)[:, 0], np.array(exact)))


# --- Methods that differentiate ---


def gradients(meta, episodes):
    """∇L at θ of every episode, averaged over particles: `[episodes, d]`."""
    by_theta = jax.jit(jax.vmap(jax.grad(meta), (None, 0)), compiler_options=QUICK)
    rows = [by_theta(theta_of(PROBLEM), keys) for keys in episodes]
    return np.array([np.concatenate([np.mean(leaf, axis=0).ravel() for leaf in jax.tree.leaves(row)]) for row in rows])


def test_backprop_forward_mode_and_the_gradient_of_the_meta_loss_agree():
    found, episodes = estimates("BPTT")
    expected = gradients(lambda theta, key: meta_loss(PROBLEM, theta, key, HORIZON), episodes)
    same(found[:, 0], expected)
    same(estimates("whole RTRL")[0][:, 0], expected)
    same(estimates("RTRL")[0].mean(axis=1), expected)


def test_truncated_backprop_agrees_in_the_first_window_only():
    truncated, exact = estimates("TBPTT")[0], estimates("RTRL")[0]
    same(truncated[:, 0], exact[:, 0])
    assert np.min(np.linalg.norm(truncated[:, 1:] - exact[:, 1:], axis=-1)) > 1e-3


def test_rematerialised_backprop_equals_backprop():
    same(estimates("rematerialised BPTT")[0], estimates("BPTT")[0])


def test_the_gradient_through_the_initial_state_is_included_in_the_first_window_only():
    """θ acts only through s_0 = sin θ, and the map is the identity. RTRL sees its effect in every window."""
    problem = InnerProblem(
        init=lambda theta, key: (jnp.sin(theta), jnp.ones(())),
        step=lambda state, theta, key: (state[0], state[1] + 1),
        loss=lambda state, theta, key: jnp.sum(state[0] ** 2) * 2 / state[1],
    )
    slope = np.sin(2 * np.array([0.3, -0.4]))
    weights = (2 / np.arange(2.0, HORIZON + 2)).reshape(WINDOWS, -1).mean(axis=1)
    exact = np.broadcast_to(weights[:, None] * slope, (EPISODES, WINDOWS, 2))
    same(run(forward_mode(problem, CUTS), WINDOWS, problem)[0], exact)
    truncated = run(backprop(problem, CUTS), WINDOWS, problem)[0]
    same(truncated[:, 0], exact[:, 0])
    np.testing.assert_array_equal(truncated[:, 1:], 0)
    same(run(backprop(problem, WHOLE), 1, problem)[0][:, 0], exact.mean(axis=1))
    directions = noises(problem, sigma=1.0)[:, 0]
    found = run(forward_gradient(problem, CUTS, num_directions=PARTICLES), WINDOWS, problem)[0]
    same(found, np.einsum("epi,epj,ewj->ewi", directions, directions, exact) / PARTICLES)


def test_forward_gradient_is_the_limit_of_noise_reuse():
    """The difference decreases like σ²."""
    limit, _ = run(forward_gradient(PROBLEM, CUTS, num_directions=PARTICLES), WINDOWS)
    distances = []
    for sigma in (1e-2, 1e-3):
        found, _ = run(noise_reuse_es(PROBLEM, CUTS, sigma=sigma, num_pairs=PARTICLES), WINDOWS)
        distances.append(np.linalg.norm(found - limit))
    assert distances[1] < 1e-3 * np.linalg.norm(limit)
    assert 80 < distances[0] / distances[1] < 120


def test_rematerialised_backprop_over_1000_steps_needs_a_tenth_of_the_memory():
    size = 300
    problem = InnerProblem(
        init=lambda theta, key: jnp.full((size,), 0.1),
        step=lambda state, theta, key: jnp.tanh(1.1 * state + jnp.sum(theta)),
        loss=lambda state, theta, key: jnp.mean(jnp.square(state)),
    )
    theta, found = jnp.array([0.01, 0.02]), []
    for rematerialise in (False, True):
        estimator = backprop(problem, Truncation(1000, 1000), rematerialise=rematerialise)
        program = estimator.estimate.lower(
            theta, jax.eval_shape(estimator.init, theta, jax.random.key(0)), jax.random.key(1)
        )
        found.append(program.compile().memory_analysis().temp_size_in_bytes)
    assert found[0] > 1000 * size * 8
    assert found[1] < 0.1 * found[0]


# --- The final loss as an objective ---


def test_the_final_loss_is_a_mean_over_windows():
    """All losses of an episode use one key, so that the differences telescope although the loss is noisy."""
    last = final_loss(PROBLEM, HORIZON)

    def reading(theta, key):
        start, steps = jax.random.split(key)
        start, evaluation = jax.random.split(start)
        state, _ = unroll(PROBLEM, PROBLEM.init(theta, start), theta, steps, HORIZON)
        return PROBLEM.loss(state, theta, evaluation)

    found, episodes = run(forward_mode(last, CUTS, num_particles=PARTICLES), WINDOWS)
    same(found.mean(axis=1), gradients(reading, episodes))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
@pytest.mark.parametrize("count", [2, 300, 50_000])
def test_the_variance_of_the_mean_is_correct_for_any_number_of_particles(count, dtype):
    """This includes counts for which count · (count − 1) overflows 32-bit integers or the dtype."""
    numbers = jax.random.normal(jax.random.key(0), (count, 2)).astype(dtype)
    fine = jnp.zeros(count, bool)
    _, variance, metrics = average({"a": numbers}, Reading(jnp.ones(count), fine, fine))
    expected = np.var(np.asarray(numbers, np.float64), axis=0, ddof=1) / count
    np.testing.assert_allclose(metrics["gradient_variance"], expected.sum(), rtol=1e-3)
    np.testing.assert_allclose(
        np.asarray(variance["a"], np.float64), expected, rtol=3e-2 if dtype == jnp.float16 else 1e-3
    )
