"""Tests of the naive NumPy reference: printed numbers, exact identities, enumeration and quadrature."""

import itertools
import json
import pathlib

import numpy as np
import pytest

from tests import reference_numpy as ref

CLOSED = json.loads((pathlib.Path(__file__).parent / "reference" / "closed_form.json").read_text())
HORIZON, LENGTH, SIGMA = 6, 2, 0.4
THETA = np.array([0.3, -0.2])


def small_network() -> ref.Problem:
    """A nonlinear problem with S = 3, d = 2, in which everything depends on θ and on the time."""
    rng = np.random.default_rng(0)
    inner, outer, read = rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), rng.normal(size=3)

    def activation(s, theta, t):
        return np.tanh(inner @ s + outer @ theta + 0.1 * t)

    def slope(s, theta, t):
        return (1 - activation(s, theta, t) ** 2)[:, None]

    return ref.Problem(
        start=lambda theta: np.array([theta[0], 0.5, theta[0] * theta[1]]),
        step=activation,
        loss=lambda s, theta, t: np.sin(read @ s) + t * s[0] * theta[1] ** 2,
        step_by_state=lambda s, theta, t: slope(s, theta, t) * inner,
        step_by_theta=lambda s, theta, t: slope(s, theta, t) * outer,
        loss_by_state=lambda s, theta, t: np.cos(read @ s) * read + t * theta[1] ** 2 * np.array([1.0, 0.0, 0.0]),
        loss_by_theta=lambda s, theta, t: np.array([0.0, 2 * t * s[0] * theta[1]]),
        start_by_theta=lambda theta: np.array([[1.0, 0.0], [0.0, 0.0], [theta[1], theta[0]]]),
    )


def meta_loss(problem, theta):
    return ref.unroll(problem, problem.start(theta), theta, 0, HORIZON)[0]


def noise(*shape, seed=1):
    return SIGMA * np.random.default_rng(seed).normal(size=shape)


def normal_grid(count, dimensions):
    """Return nodes `[N, dimensions]` and weights `[N]` of Gauss–Hermite quadrature for independent N(0, 1)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(count)
    grid = np.array(list(itertools.product(nodes, repeat=dimensions)))
    return grid, np.prod(list(itertools.product(weights / weights.sum(), repeat=dimensions)), axis=1)


# --- Methods that differentiate ---


def test_full_backprop_equals_the_finite_difference():
    problem, h = small_network(), 1e-6
    expected = [(meta_loss(problem, THETA + h * e) - meta_loss(problem, THETA - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(ref.full_backprop(problem, THETA, HORIZON)[0], expected, rtol=1e-7)


@pytest.mark.parametrize("length", [1, 2, 3, 6])
def test_forward_mode_averages_to_backprop(length):
    problem = small_network()
    found = ref.forward_mode(problem, THETA, HORIZON, length)
    assert len(found) == HORIZON // length
    np.testing.assert_allclose(np.mean(found, axis=0), ref.full_backprop(problem, THETA, HORIZON)[0], rtol=1e-12)


def test_truncated_backprop_is_full_only_over_the_whole_horizon():
    problem = small_network()
    full = ref.full_backprop(problem, THETA, HORIZON)[0]
    np.testing.assert_allclose(ref.truncated_backprop(problem, THETA, HORIZON, HORIZON)[0], full, rtol=1e-12)
    assert np.linalg.norm(np.mean(ref.truncated_backprop(problem, THETA, HORIZON, LENGTH), axis=0) - full) > 0.01


def test_forward_gradient_projects_the_exact_window_gradients():
    problem, direction = small_network(), noise(2)
    exact = ref.forward_mode(problem, THETA, HORIZON, LENGTH)
    found = ref.forward_gradient(problem, THETA, HORIZON, LENGTH, [direction])
    np.testing.assert_allclose(found, [direction * (g @ direction) for g in exact], rtol=1e-12)


@pytest.mark.parametrize("period", [2, 4, 6])
def test_forward_gradient_is_the_limit_of_generalized_persistent_es(period):
    problem, directions, sigma = small_network(), noise(3, 2) / SIGMA, 1e-5
    limit = ref.forward_gradient(problem, THETA, HORIZON, LENGTH, directions, period)
    found = ref.generalized_persistent_es(problem, THETA, HORIZON, LENGTH, sigma * directions, period, sigma)
    np.testing.assert_allclose(found, limit, rtol=1e-5)


def test_uoro_averages_to_forward_mode_over_all_signs():
    problem = small_network()
    every = [np.reshape(signs, (3, 3)) for signs in itertools.product((-1.0, 1.0), repeat=9)]
    found = np.mean([ref.uoro(problem, THETA, HORIZON, LENGTH, signs) for signs in every], axis=0)
    np.testing.assert_allclose(found, ref.forward_mode(problem, THETA, HORIZON, LENGTH), rtol=1e-10)


def test_artbp_averages_to_backprop_over_all_cuts():
    problem = small_network()
    found = ref.artbp_expectation(problem, THETA, HORIZON, 0.3)
    np.testing.assert_allclose(found, ref.full_backprop(problem, THETA, HORIZON)[0], rtol=1e-12)


# --- Evolution strategies: identities ---


def test_noise_reuse_averages_to_full_es():
    problem, perturbation = small_network(), noise(2)
    windows = ref.noise_reuse_es(problem, THETA, HORIZON, LENGTH, perturbation, SIGMA)
    full = ref.full_es(problem, THETA, HORIZON, perturbation, SIGMA)[0]
    np.testing.assert_allclose(np.mean(windows, axis=0), full, rtol=1e-12)
    difference = meta_loss(problem, THETA + perturbation) - meta_loss(problem, THETA - perturbation)
    np.testing.assert_allclose(full, perturbation * difference / (2 * SIGMA**2), rtol=1e-12)


def test_all_es_are_equal_if_the_window_is_the_whole_horizon():
    problem, perturbation = small_network(), noise(2)
    full = ref.full_es(problem, THETA, HORIZON, perturbation, SIGMA)
    for method in (ref.truncated_es, ref.persistent_es):
        np.testing.assert_allclose(method(problem, THETA, HORIZON, HORIZON, [perturbation], SIGMA), full, rtol=1e-12)


def test_one_pair_is_the_mean_of_two_one_sided_estimates():
    problem, perturbation = small_network(), noise(2)
    sides = [ref.one_sided_es(problem, THETA, HORIZON, sign * perturbation, SIGMA)[0] for sign in (1, -1)]
    full = ref.full_es(problem, THETA, HORIZON, perturbation, SIGMA)[0]
    np.testing.assert_allclose(np.mean(sides, axis=0), full, rtol=1e-12)


def test_the_first_window_of_persistent_es_is_that_of_truncated_es():
    problem, perturbations = small_network(), noise(3, 2)
    persistent = ref.persistent_es(problem, THETA, HORIZON, LENGTH, perturbations, SIGMA)
    truncated = ref.truncated_es(problem, THETA, HORIZON, LENGTH, perturbations, SIGMA)
    np.testing.assert_array_equal(persistent[0], truncated[0])
    assert not np.allclose(persistent[1], truncated[1])


# --- A: linear dynamics, quadratic loss ---

LINEAR = {"a": 0.9, "b": 1.0, "start": 1.0, "target": 0.0}


@pytest.mark.parametrize("row", CLOSED["A_linear_quadratic"]["rows"], ids=lambda row: f"W={row['W']}")
def test_linear_quadratic_gradients_equal_the_printed_values(row):
    unbiased, truncated = ref.linear_quadratic_gradients(**LINEAR, theta=0.3, horizon=12, length=row["W"])
    np.testing.assert_allclose([12 * unbiased.mean(), 12 * truncated.mean()], [row["full"], row["tbptt"]], rtol=1e-12)
    problem, theta = ref.linear_quadratic(**LINEAR), np.array([0.3])
    found = ref.truncated_backprop(problem, theta, 12, row["W"])
    np.testing.assert_allclose(np.ravel(found), truncated, rtol=1e-12)
    np.testing.assert_allclose(np.ravel(ref.forward_mode(problem, theta, 12, row["W"])), unbiased, rtol=1e-12)


def test_es_means_on_the_linear_quadratic_problem_do_not_depend_on_sigma():
    problem, theta = ref.linear_quadratic(**LINEAR), np.array([0.3])
    unbiased, truncated = ref.linear_quadratic_gradients(**LINEAR, theta=0.3, horizon=6, length=2)
    grid, weights = normal_grid(3, 3)

    def mean(method, sigma):
        estimates = [np.ravel(method(problem, theta, 6, 2, sigma * point[:, None], sigma)) for point in grid]
        return weights @ np.array(estimates)

    for sigma in (0.1, 2.0):
        np.testing.assert_allclose(mean(ref.persistent_es, sigma), unbiased, rtol=1e-10)
        np.testing.assert_allclose(mean(ref.truncated_es, sigma), truncated, rtol=1e-10)


# --- B: influence balancing ---


def test_influence_terms_equal_the_printed_values():
    table, terms = CLOSED["B_influence"], ref.influence_terms(23, 10, 500)
    for steps, value in table["a_h"].items():
        np.testing.assert_allclose(terms[int(steps) - 1], value, rtol=1e-12)
    assert np.argmax(terms) + 1 == table["h_peak"]
    assert np.flatnonzero(terms < 0)[0] + 1 == table["h_sign_change"]
    np.testing.assert_allclose(terms.max(), table["peak"], rtol=1e-12)


# --- C: phase walk ---

METHODS = {"tes": None, "pes": 2, "gpes_K2": 2, "gpes_K4": 4, "gpes_K6": 6, "es_full=nres=es_single": 6}


def phase_walk_estimates(name, points):
    """Return the window estimates `[N, n]` of one method for each point of standard normal noise."""
    problem, theta, period = ref.phase_walk(1.0), np.array([0.3]), METHODS[name]

    def estimate(point):
        noises = SIGMA * point[:, None]
        if period is None:
            return ref.truncated_es(problem, theta, HORIZON, LENGTH, noises, SIGMA)
        return ref.generalized_persistent_es(problem, theta, HORIZON, LENGTH, noises, period, SIGMA)

    return np.array([np.ravel(estimate(point)) for point in points])


@pytest.mark.parametrize("name", METHODS)
def test_phase_walk_means_equal_the_printed_values(name):
    noise_weights = ref.phase_walk_noise(HORIZON, LENGTH, METHODS[name])
    expected = ref.phase_walk_gradients(1.0, 0.3, SIGMA, *noise_weights, LENGTH)
    np.testing.assert_allclose(HORIZON * expected.mean(), CLOSED["C_phase"]["expect"][name], rtol=1e-12)


@pytest.mark.parametrize("name", ["tes", "pes", "gpes_K4", "gpes_K6"])
def test_phase_walk_means_and_variances_equal_those_of_the_estimators(name):
    noise_weights = ref.phase_walk_noise(HORIZON, LENGTH, METHODS[name])
    dimensions = noise_weights[0].shape[1]
    grid, weights = normal_grid({1: 40, 2: 24, 3: 16}[dimensions], dimensions)
    estimates = phase_walk_estimates(name, grid)
    expected = ref.phase_walk_gradients(1.0, 0.3, SIGMA, *noise_weights, LENGTH)
    np.testing.assert_allclose(weights @ estimates, expected, atol=1e-8)
    means = estimates.mean(axis=1)
    variance = weights @ means**2 - (weights @ means) ** 2
    np.testing.assert_allclose(ref.phase_walk_variance(1.0, 0.3, SIGMA, *noise_weights), variance, rtol=1e-6)


def test_phase_walk_variances_equal_the_printed_values():
    def episode_sum(name):
        noise_weights = ref.phase_walk_noise(HORIZON, LENGTH, METHODS[name])
        return HORIZON**2 * ref.phase_walk_variance(1.0, 0.3, SIGMA, *noise_weights)

    np.testing.assert_allclose(episode_sum("gpes_K6"), CLOSED["C_phase"]["exact_var_es_full_pair"], rtol=1e-12)
    for name in ("tes", "gpes_K2", "gpes_K4"):
        np.testing.assert_allclose(episode_sum(name), CLOSED["C_phase"]["mc_mean_se_var"][name][2], rtol=0.005)


def test_phase_walk_without_noise_has_the_printed_gradients():
    problem, theta, expect = ref.phase_walk(1.0), np.array([0.3]), CLOSED["C_phase"]["expect"]
    np.testing.assert_allclose(HORIZON * ref.full_backprop(problem, theta, HORIZON)[0], [expect["true"]], rtol=1e-12)
    truncated = ref.truncated_backprop(problem, theta, HORIZON, LENGTH)
    np.testing.assert_allclose(HORIZON * np.mean(truncated), expect["tbptt"], rtol=1e-12)


# --- D to G ---


@pytest.mark.parametrize("row", CLOSED["D_linear_variance"]["rows"], ids=lambda row: row["name"])
def test_linear_variance_equals_the_printed_value(row):
    mean, trace, squares = ref.linear_variance(CLOSED["D_linear_variance"]["g_t_tau"], row["blocks"])
    np.testing.assert_allclose(mean, row["grad"], rtol=1e-12)
    np.testing.assert_allclose(trace, row["tr_cov_episode_sum"], rtol=1e-12)
    np.testing.assert_allclose(squares, row["E2_per_window"], rtol=1e-12)
    if row["name"] == "NRES":
        np.testing.assert_allclose(trace, 4 * np.sum(mean**2), rtol=1e-12)


@pytest.mark.parametrize("period", [1, 2, 3])
def test_linear_variance_equals_that_of_the_estimators(period):
    rng = np.random.default_rng(3)
    push, read = rng.normal(size=(3, 2, 2)), rng.normal(size=(4, 2))
    problem = ref.Problem(
        start=lambda theta: np.zeros(2),
        step=lambda s, theta, t: s + push[t] @ theta,
        loss=lambda s, theta, t: read[t] @ s,
    )
    gradients = [[read[t + 1] @ push[tau] for tau in range(t + 1)] for t in range(3)]
    blocks = [t // period for t in range(3)]
    mean, trace, squares = ref.linear_variance(gradients, blocks)
    grid, weights = normal_grid(3, 2 * (blocks[-1] + 1))

    def estimate(point):
        noises = SIGMA * point.reshape(-1, 2)
        return ref.generalized_persistent_es(problem, THETA, 3, 1, noises, period, SIGMA)

    found = np.array([estimate(point) for point in grid])
    sums = found.sum(axis=1)
    np.testing.assert_allclose(weights @ sums, mean, rtol=1e-10)
    np.testing.assert_allclose(weights @ np.sum(sums**2, axis=1) - np.sum((weights @ sums) ** 2), trace, rtol=1e-10)
    np.testing.assert_allclose(weights @ np.sum(found**2, axis=2), squares, rtol=1e-10)


def test_one_sided_and_antithetic_variances_equal_the_printed_values():
    table = CLOSED["E_es"]
    found = ref.one_sided_and_antithetic_variance(table["p"], table["L0"], table["sigma"])
    np.testing.assert_allclose(found, [table["oneside_formula"], table["anti_formula"]], rtol=1e-12)
    np.testing.assert_allclose(found, [696.0, 21.0], rtol=1e-12)


@pytest.mark.parametrize("row", CLOSED["F_rp_vs_es"], ids=lambda row: f"omega={row['omega']}")
def test_sine_variances_equal_the_printed_values(row):
    mean, reparametrised, pair, best = ref.sine_variances(row["omega"], row["theta"], row["sigma"])
    np.testing.assert_allclose(mean, row["mean"], rtol=1e-10)
    printed = [row["rp_var"], row["es_var"], row["best_comb_var_if_uncorrelated"]]
    np.testing.assert_allclose([reparametrised, pair, best], printed, rtol=1e-10)


def test_artbp_has_the_printed_expectations():
    problem, theta, table = ref.linear_quadratic(**LINEAR), np.array([0.3]), CLOSED["G_artbp"]
    found = [8 * ref.artbp_expectation(problem, theta, 8, 0.3, reweight)[0] for reweight in (True, False)]
    np.testing.assert_allclose(found, [table["full"], table["unweighted_random_trunc"]], rtol=1e-12)
    np.testing.assert_allclose(found, [53.173967, 30.697361], atol=1e-6)
