"""All estimators against the closed forms of docs/theory.md §4 and §5, and twins with a mistake, which must fail.

A sample is one particle (pair, direction) with the windows of its episode, so that closed forms are checked window by
window. Values are from tests/reference_numpy.py, which is tested against printed numbers.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.estimators import (
    artbp,
    backprop,
    combine,
    evolution_strategies,
    forward_gradient,
    forward_mode,
    generalized_persistent_es,
    noise_reuse_es,
    persistent_es,
    uoro,
)
from metalearn.inner.derived import final_loss
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import influence_balancing, linear_quadratic, phase_walk
from metalearn.inner.unroll import Truncation
from tests import reference_numpy as ref
from tests.estimators import twins
from tests.estimators.sampling import QUICK, sample, sample_staggered
from tests.statistics import rejects, squared_distances, within


def es_family(problem, truncation):
    """Return the estimators with noise, one particle each, as functions of σ."""
    whole = Truncation(truncation.horizon, truncation.horizon)
    return {
        "truncated ES": lambda sigma: evolution_strategies(problem, truncation, sigma=sigma, num_pairs=1),
        "one-sided ES": lambda sigma: evolution_strategies(
            problem, truncation, sigma=sigma, num_pairs=1, antithetic=False
        ),
        "full ES": lambda sigma: evolution_strategies(problem, whole, sigma=sigma, num_pairs=1),
        "PES": lambda sigma: persistent_es(problem, truncation, sigma=sigma, num_pairs=1),
        "NRES": lambda sigma: noise_reuse_es(problem, truncation, sigma=sigma, num_pairs=1),
        "GPES": lambda sigma: generalized_persistent_es(
            problem, truncation, sigma=sigma, num_pairs=1, noise_period=2 * truncation.length
        ),
        "perturbed backprop": lambda sigma: backprop(problem, whole, sigma=sigma),
        "perturbed TBPTT": lambda sigma: backprop(problem, truncation, sigma=sigma),
        "DODGE": lambda sigma: forward_gradient(problem, truncation, num_directions=1),
        "UORO": lambda sigma: uoro(problem, truncation),
        "ARTBP": lambda sigma: artbp(problem, whole, cut_probability=0.3),
    }


def exact_windows(build, theta, count):
    """Return the window estimates of an estimator without noise."""
    return sample(lambda sigma: build, theta, count, num_samples=1)[0]


# --- A: linear dynamics, quadratic loss ---

LINEAR = {"a": 0.9, "b": 1.0, "start": 1.0, "target": 0.0}
LENGTHS = [1, 2, 3, 4, 6, 12]


def linear_expectations(length):
    return ref.linear_quadratic_gradients(**LINEAR, theta=0.3, horizon=12, length=length)


@pytest.mark.parametrize("length", LENGTHS)
def test_linear_quadratic_truncated_backprop_and_forward_mode_equal_the_closed_form_in_every_window(
    length, closed_form
):
    problem, truncation = linear_quadratic(**LINEAR), Truncation(12, length)
    unbiased, truncated = linear_expectations(length)
    np.testing.assert_allclose(exact_windows(backprop(problem, truncation), 0.3, 12 // length), truncated, rtol=1e-5)
    exact = exact_windows(forward_mode(problem, truncation), 0.3, 12 // length)
    np.testing.assert_allclose(exact, unbiased, rtol=1e-5)
    row = next(row for row in closed_form["A_linear_quadratic"]["rows"] if row["W"] == length)
    np.testing.assert_allclose([12 * exact.mean(), 12 * truncated.mean()], [row["full"], row["tbptt"]], rtol=1e-5)


EVERY_LENGTH = [(name, length) for name in ("truncated ES", "PES", "NRES") for length in LENGTHS]


@pytest.mark.parametrize(("name", "length"), [*EVERY_LENGTH, ("DODGE", 1), ("DODGE", 4), ("UORO", 1), ("UORO", 4)])
def test_linear_quadratic_means_equal_the_closed_form_in_every_window_for_every_sigma(name, length):
    unbiased, truncated = linear_expectations(length)
    exact, twin = (truncated, unbiased) if name == "truncated ES" else (unbiased, truncated)
    sigma = np.repeat([0.05, 1.0], 10_000)
    build = es_family(linear_quadratic(**LINEAR), Truncation(12, length))[name]
    found = sample(build, 0.3, 12 // length, num_samples=len(sigma), sigma=sigma)
    for size in (0.05, 1.0):
        assert within(found[sigma == size], exact, twin=twin if length < 12 else 1.2 * exact)
        assert length == 12 or rejects(found[sigma == size], twin)


@pytest.mark.parametrize("name", ["GPES", "one-sided ES", "perturbed TBPTT"])
def test_linear_quadratic_means_equal_the_closed_form_for_other_parameters(name):
    unbiased, truncated = linear_expectations(3)
    exact, twin = (unbiased, truncated) if name == "GPES" else (truncated, unbiased)
    build = es_family(linear_quadratic(**LINEAR), Truncation(12, 3))[name]
    found = sample(build, 0.3, 4, num_samples=20_000, sigma=0.5)
    assert within(found, exact, twin=twin)
    assert rejects(found, twin)


# --- B: influence balancing ---


def test_influence_balancing_forward_mode_and_truncated_backprop_sum_the_influence_terms(closed_form):
    terms = ref.influence_terms(23, 10, 500)
    readout = influence_balancing()._replace(loss=lambda state, theta, key: state[0])
    found = exact_windows(forward_mode(readout, Truncation(500, 1)), 0.5, 500)
    np.testing.assert_allclose(found, terms, rtol=1e-4, atol=1e-4)
    assert np.argmax(found) + 1 == closed_form["B_influence"]["h_peak"]
    assert np.flatnonzero(found < 0)[0] + 1 == closed_form["B_influence"]["h_sign_change"]
    for length in (1, 10, 50, 100):
        windows = exact_windows(backprop(readout, Truncation(500, length)), 0.5, 3)
        np.testing.assert_allclose(windows, np.full(3, terms[:length].mean()), rtol=1e-4)


def test_influence_balancing_short_windows_ascend_and_long_ones_descend():
    """s¹ after h steps has slope a_h: positive below the sign change at h = 41, negative above."""
    terms = ref.influence_terms(23, 10, 50)
    for length in (30, 50):
        last = final_loss(influence_balancing()._replace(loss=lambda state, theta, key: state[0]), length)
        found = exact_windows(backprop(last, Truncation(length, length)), 0.5, 1)
        np.testing.assert_allclose(found, [terms[length - 1]], rtol=1e-4)


def test_influence_balancing_persistent_es_includes_the_influence_of_every_earlier_window():
    readout = influence_balancing()._replace(loss=lambda state, theta, key: state[0])
    build = lambda sigma: persistent_es(readout, Truncation(50, 10), sigma=sigma, num_pairs=1)
    found = sample(build, 0.5, 5, num_samples=4000, sigma=0.1)
    terms = ref.influence_terms(23, 10, 50)
    assert within(found, terms.reshape(5, 10).mean(axis=1), twin=np.full(5, terms[:10].mean()))


# --- C: phase walk ---

HORIZON, LENGTH, THETA, SIGMA, WALKERS = 6, 2, 0.3, 0.4, 80_000
FRESH, BLOCKS = ref.phase_walk_noise(HORIZON, LENGTH), {k: ref.phase_walk_noise(HORIZON, LENGTH, k) for k in (2, 4, 6)}


class Walk(NamedTuple):
    """How unit noise enters an estimator: the accumulator ξ_t, the displacement η_t of s_t, σ, and the windows."""

    accumulator: np.ndarray
    displacement: np.ndarray
    sigma: float = SIGMA
    length: int = LENGTH

    @property
    def windows(self):
        return ref.phase_walk_gradients(1.0, THETA, self.sigma, self.accumulator, self.displacement, self.length)


WALKS = {
    "truncated ES": Walk(*FRESH),
    "one-sided ES": Walk(*FRESH),
    "full ES": Walk(*BLOCKS[6], length=HORIZON),
    "PES": Walk(*BLOCKS[2]),
    "GPES": Walk(*BLOCKS[4]),
    "NRES": Walk(*BLOCKS[6]),
    "perturbed backprop": Walk(*BLOCKS[6], length=HORIZON),
    "perturbed TBPTT": Walk(FRESH[0], BLOCKS[2][1]),
    "DODGE": Walk(*BLOCKS[6], sigma=0.0),
    "UORO": Walk(*BLOCKS[6], sigma=0.0),
    "ARTBP": Walk(*BLOCKS[6], sigma=0.0, length=HORIZON),
}


def perturbed_backprop_variance():
    """Var ∇L(θ+ε), by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    t = np.arange(1, HORIZON + 1)
    gradients = np.array([np.mean(t * np.cos(t * (THETA + SIGMA * node))) for node in nodes])
    return weights @ gradients**2 - (weights @ gradients) ** 2


def walk_variance(name):
    """The variance of one particle's episode mean, where it is known exactly."""
    if name == "DODGE":
        return 2 * WALKS[name].windows.mean() ** 2
    if name == "perturbed backprop":
        return perturbed_backprop_variance()
    if name in ("full ES", "truncated ES", "PES", "GPES", "NRES"):
        return ref.phase_walk_variance(1.0, THETA, SIGMA, *WALKS[name][:2])
    return None


@pytest.mark.parametrize("name", WALKS)
def test_phase_walk_mean_of_every_window_and_variance_of_the_episode_are_the_closed_forms(name):
    """The means of the other estimators are rejected."""
    walk, builders = WALKS[name], es_family(phase_walk(), Truncation(HORIZON, LENGTH))
    walkers = 5 * WALKERS if name == "perturbed backprop" else WALKERS
    found = sample(builders[name], THETA, HORIZON // walk.length, num_samples=walkers, sigma=SIGMA)
    means, expected = found.mean(axis=1), walk.windows.mean()
    assert within(found, walk.windows)
    for other in WALKS.values():
        if abs(other.windows.mean() - expected) > 1e-6:
            assert rejects(means, other.windows.mean())
    variance = walk_variance(name)
    if variance is not None:
        assert within((means - expected) ** 2, variance, twin=1.25 * variance)


def test_phase_walk_methods_without_noise_equal_the_closed_form():
    problem, whole, cut = phase_walk(), Truncation(HORIZON, HORIZON), Truncation(HORIZON, LENGTH)
    exact = Walk(*BLOCKS[6], sigma=0.0)
    truncated = ref.phase_walk_gradients(1.0, THETA, 0.0, *FRESH, LENGTH)
    np.testing.assert_allclose(exact_windows(backprop(problem, whole), THETA, 1), [exact.windows.mean()], rtol=1e-5)
    np.testing.assert_allclose(exact_windows(backprop(problem, cut), THETA, 3), truncated, rtol=1e-5)
    np.testing.assert_allclose(exact_windows(forward_mode(problem, cut), THETA, 3), exact.windows, rtol=1e-5)


def test_phase_walk_sums_are_the_printed_ones(closed_form):
    printed = closed_form["C_phase"]["expect"]
    for name, key in {
        "DODGE": "true",
        "truncated ES": "tes",
        "NRES": "gpes_K6",
        "GPES": "gpes_K4",
        "PES": "pes",
    }.items():
        np.testing.assert_allclose(HORIZON * WALKS[name].windows.mean(), printed[key], rtol=1e-12)


@pytest.mark.parametrize("name", ["PES", "truncated ES", "UORO"])
def test_phase_walk_a_staggered_particle_has_the_mean_of_its_current_window(name):
    """This holds before and after its first reset. The mean over particles is then the episode mean."""
    builders = es_family(phase_walk(), Truncation(HORIZON, LENGTH, stagger=True))
    found, clocks = sample_staggered(lambda _: builders[name](SIGMA), THETA, 4, num_samples=60_000)
    exact = WALKS[name].windows
    np.testing.assert_array_equal(clocks, (clocks[:, :1] + np.arange(4)) % 3)
    for call in range(4):
        for window in range(3):
            assert within(found[clocks[:, call] == window, call], exact[window], twin=exact[window] + 0.3)
        assert within(found[:, call], exact.mean(), twin=exact.mean() + 0.15)


# --- The twins ---


def walk_of_episodes(drops):
    """The weights of the noise in two episodes of PES without a reset of the state; noise is dropped before `drops`."""
    accumulator, displacement = ref.phase_walk_noise(2 * HORIZON, LENGTH, LENGTH)
    for window in drops:
        accumulator[window * LENGTH :, :window] = 0
    return accumulator, displacement


@functools.cache
def two_episodes(build):
    """`[WALKERS, 2, 3]`: the windows of two episodes on the phase walk."""
    estimator = lambda sigma: build(phase_walk(), Truncation(HORIZON, LENGTH), sigma=sigma)
    return sample(estimator, THETA, 6, num_samples=WALKERS, sigma=SIGMA).reshape(-1, 2, 3)


PES = WALKS["PES"].windows


def pes(problem, truncation, *, sigma):
    return persistent_es(problem, truncation, sigma=sigma, num_pairs=1)


def test_the_twin_without_a_mistake_equals_persistent_es_and_is_unbiased_in_both_episodes():
    found = two_episodes(pes)
    np.testing.assert_allclose(found, two_episodes(twins.faithful), rtol=1e-3, atol=1e-4)
    for episode in range(2):
        assert within(found[:, episode], PES, twin=WALKS["perturbed TBPTT"].windows)


def test_the_twin_without_an_accumulator_is_rejected():
    found = two_episodes(twins.without_accumulator)
    for episode in range(2):
        assert rejects(found[:, episode], PES)
        assert within(found[:, episode], WALKS["perturbed TBPTT"].windows, twin=PES)


def test_the_twin_that_credits_the_last_loss_to_the_newest_window_is_rejected():
    accumulator = BLOCKS[2][0].copy()
    accumulator[-LENGTH:, :-1] = 0
    wrong = Walk(accumulator, BLOCKS[2][1]).windows
    found = two_episodes(twins.last_loss_to_newest)
    for episode in range(2):
        assert rejects(found[:, episode], PES)
        assert rejects(found[:, episode].mean(axis=1), PES.mean())
        assert within(found[:, episode], wrong, twin=PES)
        assert within(found[:, episode, :2], PES[:2])


def test_the_twin_without_a_reset_of_the_state_is_rejected_in_the_second_episode():
    found = two_episodes(twins.without_reset)
    wrong = ref.phase_walk_gradients(1.0, THETA, SIGMA, *walk_of_episodes([3]), LENGTH)[3:]
    assert within(found[:, 0], PES, twin=1.2 * PES)
    assert rejects(found[:, 1], PES)
    assert within(found[:, 1], wrong, twin=PES)


def test_noise_kept_across_a_reset_changes_the_variance_and_not_the_mean():
    """The accumulator of the second episode starts with the noise of the first.

    Each window has three blocks of noise.
    """

    def excess(found):
        first, second = ((found[:, episode].mean(axis=1) - PES.mean()) ** 2 for episode in range(2))
        return second - first

    honest, twin = two_episodes(pes), two_episodes(twins.never_dropped)
    assert within(twin[:, 1], PES, twin=1.5 * PES)
    growth = excess(twin).mean()
    assert within(excess(honest), 0.0, twin=growth)
    assert rejects(excess(twin), 0.0)
    assert growth > 0


# --- D: variance where the loss is linear in the copies of θ ---


def linear_in_the_copies(gradients):
    """A problem whose state stores the θ of each window: L_t = Σ_{τ ≤ t} g_{t,τ} · θ_τ."""
    count, size = len(gradients), len(gradients[0][0])
    table = np.zeros((count, count, size), np.float32)
    for t, row in enumerate(gradients):
        table[t, : len(row)] = row

    def step(state, theta, key):
        copies, clock = state
        return copies.at[clock].set(theta), clock + 1

    return InnerProblem(
        init=lambda theta, key: (jnp.zeros((count, size)), jnp.zeros((), jnp.int32)),
        step=step,
        loss=lambda state, theta, key: jnp.sum(jnp.asarray(table)[state[1] - 1] * state[0]),
    )


@pytest.mark.parametrize(("name", "period"), [("PES", 1), ("GPES_K2", 2), ("GPES_K3", 3), ("NRES", 4)])
def test_linear_losses_variance_of_the_episode_and_of_every_window_is_the_closed_form(name, period, closed_form):
    table = closed_form["D_linear_variance"]
    row = next(row for row in table["rows"] if row["name"] == name)
    problem, truncation = linear_in_the_copies(table["g_t_tau"]), Truncation(4, 1)
    build = lambda sigma: generalized_persistent_es(problem, truncation, sigma=sigma, num_pairs=1, noise_period=period)
    found = sample(build, np.zeros(3), 4, num_samples=60_000, sigma=0.7)
    mean, trace, squares = ref.linear_variance(table["g_t_tau"], row["blocks"])
    sums = found.sum(axis=1)
    assert within(sums, mean, twin=1.1 * mean)
    assert within(squared_distances(sums, mean), trace, twin=1.25 * trace)
    assert within(np.sum(found.astype(float) ** 2, axis=2), squares, twin=1.25 * squares)
    for other in table["rows"]:
        if other is not row:
            assert rejects(squared_distances(sums, mean), other["tr_cov_episode_sum"])


# --- E: one-sided against antithetic ---


def test_one_sided_and_antithetic_variances_are_the_closed_forms(closed_form):
    table = closed_form["E_es"]
    slope, offset, sigma = np.array(table["p"], np.float32), table["L0"], table["sigma"]
    problem = InnerProblem(
        lambda theta, key: theta, lambda s, theta, key: theta, lambda s, theta, key: offset + jnp.sum(slope * s)
    )
    one_sided, antithetic = ref.one_sided_and_antithetic_variance(slope, offset, sigma)
    for sides, exact, other in ((False, one_sided, antithetic), (True, antithetic, one_sided)):
        build = lambda sigma, sides=sides: evolution_strategies(
            problem, Truncation(1, 1), sigma=sigma, num_pairs=1, antithetic=sides
        )
        found = sample(build, np.zeros(3), 1, num_samples=40_000, sigma=sigma)[:, 0]
        assert within(found, slope, twin=-slope)
        assert within(squared_distances(found, slope), exact, twin=1.25 * exact)
        assert rejects(squared_distances(found, slope), other)


# --- F: reparametrised gradient, ES, and their combination on sin(ωθ) ---


def sine(omega):
    return InnerProblem(lambda theta, key: theta, lambda s, theta, key: theta, lambda s, theta, key: jnp.sin(omega * s))


def sine_samples(build, omegas, calls, num_samples):
    """Return the last of `calls` estimates of a new estimator on sin(ωθ) at θ = .3, `[ω, num_samples]`."""

    def one(omega, keys):
        estimator, theta = build(sine(omega)), jnp.array(0.3, jnp.float32)
        state = estimator.init(theta, keys[0])
        body = lambda state, key: estimator.estimate(theta, state, key)[1::-1]
        return jax.lax.scan(body, state, keys[1:])[1][-1]

    keys = jax.random.split(jax.random.key(5), (num_samples, calls + 1))
    run = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)), compiler_options=QUICK)
    return np.asarray(run(jnp.asarray(omegas, jnp.float32), keys))


ONE = Truncation(1, 1)


def test_sine_variances_of_the_reparametrised_gradient_and_of_es_are_the_closed_forms(closed_form):
    rows = closed_form["F_rp_vs_es"][:5]
    omegas = [row["omega"] for row in rows]
    perturbed = sine_samples(lambda p: backprop(p, ONE, sigma=0.3), omegas, 1, 30_000)
    es = sine_samples(lambda p: evolution_strategies(p, ONE, sigma=0.3, num_pairs=1), omegas, 1, 30_000)
    for row, first, second in zip(rows, perturbed, es, strict=True):
        mean, reparametrised, pair, _ = ref.sine_variances(row["omega"], 0.3, 0.3)
        for found, exact in ((first, reparametrised), (second, pair)):
            assert within(found, mean, twin=mean + 0.1 * np.sqrt(exact))
            assert within((found - mean) ** 2, exact, twin=1.25 * exact)


def test_sine_the_combination_reaches_the_optimal_variance_and_is_unbiased():
    """Full episodes are independent from call to call, so that weights from earlier calls do not change the mean."""
    particles, omegas = 128, [2.0, 5.0]
    parts = lambda p: [
        backprop(p, ONE, sigma=0.3, num_particles=particles),
        evolution_strategies(p, ONE, sigma=0.3, num_pairs=particles),
    ]
    found = sine_samples(lambda p: combine(parts(p)), omegas, 3, 4000)
    for omega, values in zip(omegas, found, strict=True):
        mean, _, _, best = ref.sine_variances(omega, 0.3, 0.3)
        assert within(values, mean, twin=mean + 0.2 * np.sqrt(best / particles))
        assert within(particles * (values - mean) ** 2, best, twin=1.3 * best)


# --- G: ARTBP ---


def test_artbp_is_unbiased_and_the_twin_without_weights_is_rejected(closed_form):
    problem, whole = linear_quadratic(**LINEAR), Truncation(8, 8)
    full, wrong = closed_form["G_artbp"]["full"] / 8, closed_form["G_artbp"]["unweighted_random_trunc"] / 8
    found = sample(lambda sigma: artbp(problem, whole, cut_probability=0.3), 0.3, 1, num_samples=25_000)[:, 0]
    assert within(found, full, twin=wrong)
    cut = sample(lambda sigma: twins.unweighted_artbp(problem, whole, cut_probability=0.3), 0.3, 1, num_samples=25_000)[
        :, 0
    ]
    assert rejects(cut, full)
    assert within(cut, wrong, twin=full)


def test_artbp_without_cuts_is_backprop():
    problem, whole = linear_quadratic(**LINEAR), Truncation(8, 8)
    exact = exact_windows(backprop(problem, whole), 0.3, 1)
    np.testing.assert_array_equal(exact_windows(artbp(problem, whole, cut_probability=0.0), 0.3, 1), exact)
