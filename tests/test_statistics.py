"""The acceptance function accepts correct means, rejects wrong ones, and refuses samples that are too noisy."""

import numpy as np
import pytest

from tests.statistics import Estimate, estimate, rejects, squared_distances, within

EXACT = np.array([1.5, -0.5])


def samples(count=2000, bias=0.0, seed=0):
    return EXACT + bias + np.random.default_rng(seed).normal(size=(count, 2))


def test_unbiased_samples_pass_and_are_not_rejected():
    for seed in range(200):
        assert within(samples(seed=seed), EXACT, twin=-EXACT)
        assert not rejects(samples(seed=seed), EXACT)


def test_a_bias_in_one_component_or_a_sign_error_is_rejected():
    for wrong in (samples(bias=np.array([0.0, 0.2])), -samples()):
        assert rejects(wrong, EXACT)
        assert not within(wrong, EXACT)


def test_samples_that_could_not_fail_raise_an_error():
    verdict = within(samples(count=100), EXACT, twin=EXACT + 0.1)
    assert not verdict
    assert "no power" in verdict.why
    assert not rejects(samples(count=100), EXACT)


def test_a_mean_that_is_not_finite_neither_passes_nor_counts_as_rejected():
    spoiled = samples()
    spoiled[0] = np.nan
    with np.errstate(invalid="ignore"):
        assert not within(spoiled, EXACT)
        assert not rejects(spoiled, EXACT)


def test_the_standard_error_is_that_of_the_mean_and_never_below_rounding():
    mean, error = estimate(samples(count=10_000))
    np.testing.assert_allclose(error, 0.01, rtol=0.05)
    assert estimate(Estimate(mean, error)) == (mean, error)
    assert within(np.full((10, 2), EXACT, np.float32), EXACT, twin=1.001 * EXACT)
    assert not within(np.full((10, 2), EXACT + 1e-3), EXACT)


def test_squared_distances_average_to_the_trace_of_the_covariance():
    assert within(squared_distances(samples(), EXACT), 2.0, twin=2.5)


def test_different_shapes_raise_an_error():
    with pytest.raises(ValueError, match="shape"):
        within(samples(), 1.5)
