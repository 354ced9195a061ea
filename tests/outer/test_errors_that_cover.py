"""The errors of bias, cosine and signal to noise cover, over 400 comparisons with known answers."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.outer.comparison.plan import plan_runs
from metalearn.outer.comparison.statistics import (
    Mean,
    cosine,
    estimate_mean,
    exactly,
    jackknife,
    length,
    relative_bias,
    statistics,
)

REPETITIONS = 400
COVERAGE = (0.60, 0.76)  # of one error


def repeated(measure, size, episodes, gap, noise, target_noise=0.0, heavy=False):
    """Yield `measure(mean, target)` of samples. The target is (1, 0, …); the mean is `gap` away on the last axis."""
    random = np.random.default_rng(size + 10 * episodes)
    target, mean = np.zeros(size), np.zeros(size)
    target[0] = mean[0] = 1.0
    mean[-1] += gap
    axes = np.linspace(0.3, 1.5, size)  # the noise is not the same along all axes
    axes /= math.sqrt(float(np.sum(axes**2)))

    def drawn(center, scale):
        width = random.standard_normal((episodes, 1)) if heavy else 1.0
        return estimate_mean(center + scale * width * axes * random.standard_normal((episodes, size)))

    for _ in range(REPETITIONS):
        yield measure(drawn(mean, noise), drawn(target, target_noise) if target_noise else exactly(target))


def coverage(found, truth, stretch=1.0, shift=0.0):
    """Return how often the truth is within one and within two errors."""
    gaps = np.array(
        [abs(one.value + shift - truth) / (stretch * one.error) for one in found if math.isfinite(one.value)]
    )
    assert len(gaps) > 0.9 * REPETITIONS
    return np.mean(gaps <= 1), np.mean(gaps <= 2)


def covers(found, truth, **changes):
    once, twice = coverage(found, truth, **changes)
    return COVERAGE[0] <= once <= COVERAGE[1] and twice >= 0.9


@pytest.mark.parametrize("heavy", [False, True])
@pytest.mark.parametrize(
    ("size", "episodes", "gap", "noise", "target_noise"),
    [(1, 60, 0.8, 1.0, 0.5), (2, 100, 0.36, 1.0, 0.0), (6, 40, 0.5, 0.7, 0.7), (40, 100, 0.36, 1.0, 1.0)],
)
def test_a_bias_is_within_its_error(size, episodes, gap, noise, target_noise, heavy):
    found = list(repeated(relative_bias, size, episodes, gap, noise, target_noise, heavy))
    assert covers(found, gap)
    assert not covers(found, gap, stretch=0.5)
    assert not covers(found, gap, stretch=2.0)
    assert not covers(found, gap, shift=0.5 * gap)
    assert np.sqrt(np.mean([one.value**2 for one in found])) == pytest.approx(gap, rel=0.05)


@pytest.mark.parametrize(("episodes", "num_pairs"), [(16, 8), (40, 32)])
@pytest.mark.parametrize("size", [2, 10, 50])
def test_errors_cover_with_references_of_the_default_size(size, episodes, num_pairs):
    """The references have as many pairs as the estimator, in the groups that `compare` plans: 8 of 16, and 20 of 64."""
    estimator = ml.evolution_strategies(
        ml.problems.linear_quadratic(), ml.Truncation(4, 4), sigma=0.1, num_pairs=num_pairs
    )
    plan = plan_runs({"ES": estimator}, jnp.zeros(()), episodes, None, measured=True, unsmoothed=False)
    groups, random, gap = plan.runs[plan.target["ES"]].count, np.random.default_rng(size), 0.4
    each = episodes * num_pairs // groups
    target, mean = np.eye(size)[0], np.eye(size)[0] + gap * np.eye(size)[-1]
    drawn = lambda center, count, pairs: estimate_mean(
        center + math.sqrt(2 / size / pairs) * random.standard_normal((count, size))
    )
    both = [(drawn(mean, episodes, num_pairs), drawn(target, groups, each)) for _ in range(REPETITIONS)]
    assert covers([relative_bias(*one) for one in both], gap)
    once, twice = coverage([cosine(*one) for one in both], 1 / math.hypot(1, gap))
    assert COVERAGE[0] <= once <= COVERAGE[1]
    assert twice >= 0.85  # 8 groups


@pytest.mark.parametrize(("size", "episodes"), [(2, 16), (20, 60), (200, 30)])
def test_the_bias_of_an_unbiased_estimator_is_not_significant(size, episodes):
    """A bias is not negative. If the true bias is zero, its error is conservative."""
    found = list(repeated(relative_bias, size, episodes, 0.0, 1.0))
    once, twice = coverage(found, 0.0)
    assert once >= COVERAGE[0]
    assert twice >= 0.9
    naive = [np.linalg.norm(np.random.default_rng(i).standard_normal(size)) for i in range(9)]
    assert np.median([one.value for one in found]) < 0.5 * np.median(naive) / math.sqrt(size * episodes)


@pytest.mark.parametrize(
    ("size", "episodes", "gap", "noise", "target_noise"),
    [(2, 100, 0.5, 1.0, 0.0), (6, 40, 0.7, 0.5, 0.5), (40, 100, 0.6, 1.0, 1.0)],
)
def test_a_cosine_is_within_its_error(size, episodes, gap, noise, target_noise):
    found = list(repeated(cosine, size, episodes, gap, noise, target_noise))
    truth = 1 / math.hypot(1, gap)
    assert covers(found, truth)
    assert not covers(found, truth, stretch=0.5)
    assert not covers(found, truth, stretch=2.0)
    assert np.mean([one.value for one in found]) == pytest.approx(truth, abs=0.01)


def test_the_cosine_of_an_unbiased_estimator_is_one():
    found = list(repeated(cosine, 20, 60, 0.0, 1.0))
    assert np.mean([one.value for one in found]) > 0.99
    assert coverage(found, 1.0)[1] >= 0.95


def test_a_cosine_of_a_mean_within_its_noise_is_unknown():
    faint = Mean(np.array([0.1, 0.0]), np.random.default_rng(0).standard_normal((20, 2)) / 20)
    known = exactly(np.array([1.0, 0.0]))
    assert math.isnan(relative_bias(known, faint).value)
    assert math.isnan(cosine(faint, known).value)
    assert math.isnan(relative_bias(known, exactly(np.array([np.nan, 0.0]))).value)
    assert relative_bias(known, known).value == 0


def test_deterministic_estimators_have_no_error():
    same = estimate_mean(np.full((8, 3), 0.3) * (1 + 1e-16))
    assert relative_bias(same, exactly(np.array([0.3, 0.3, 0.0]))).error == 0
    values, errors = jackknife(statistics, np.full((8, 3), 0.3), np.full(8, 0.27))
    assert values["variance"] == errors["variance"] == 0
    assert math.isnan(values["signal_to_noise"])


def test_an_exploded_gradient_is_measured():
    large = estimate_mean(1e200 * (1 + 0.1 * np.random.default_rng(1).standard_normal((30, 4))))
    assert length(large).value == pytest.approx(2e200, rel=0.1)
    assert 0 < length(large).error < 0.2e200
    assert cosine(large, exactly(np.ones(4))).value == pytest.approx(1, abs=0.01)


def test_the_signal_to_noise_ratio_is_within_its_error():
    """The signal to noise of Gaussian episodes is ‖μ‖² / tr Σ."""
    random, found = np.random.default_rng(5), []
    for _ in range(REPETITIONS):
        means = np.array([1.0, 0.5]) + random.standard_normal((100, 2))
        values, errors = jackknife(statistics, means, np.sum(means**2, axis=1))
        found.append(type("One", (), {"value": values["signal_to_noise"], "error": errors["signal_to_noise"]}))
    assert covers(found, 1.25 / 2)
    assert not covers(found, 1.25 / 2, stretch=0.5)


@pytest.mark.parametrize(("gap", "noises"), [(0.3, (0.2, 0.02)), (0.6, (0.2, 0.02)), (0.3, (0.02, 0.2))])
def test_a_bias_is_within_its_error_if_one_mean_has_many_more_episodes(gap, noises):
    random, target = np.random.default_rng(7), np.eye(50)[0]
    counts = (16, 400) if noises[0] > noises[1] else (400, 16)

    def one(center, noise, count):
        return estimate_mean(center + noise * random.standard_normal((count, 50)))

    found = [
        relative_bias(one(target + gap * np.eye(50)[-1], noises[0], counts[0]), one(target, noises[1], counts[1]))
        for _ in range(REPETITIONS)
    ]
    assert covers(found, gap)


def test_a_signal_to_noise_ratio_of_zero_has_an_error():
    """Half of all comparisons with a zero gradient have a signal to noise of zero."""
    for seed in range(20):
        means = np.random.default_rng(seed).standard_normal((64, 3))
        _, errors = jackknife(statistics, means, np.sum(means**2, axis=1))
        assert errors["signal_to_noise"] > 0.003
