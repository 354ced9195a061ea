"""Trusted estimators, the recommended number of pairs, and programs that are kept for later calls."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.outer.comparison.report import unmeasured
from metalearn.outer.diagnosis.cloud import measure_cloud
from metalearn.outer.diagnosis.recommend import PILOT_PAIRS, recommend, trusted, with_target_error

NOTHING = ml.outer.Measurement(math.nan, math.nan)


def report(name, bias, bias_error, snr, diverged=0.0):
    """Return a report of an estimator that took 1000 inner steps in each of 16 episodes."""
    unknown = {field.name: NOTHING for field in dataclasses.fields(ml.outer.Report)}
    known = {
        "name": name,
        "bias": ml.outer.Measurement(bias, bias_error),
        "variance": ml.outer.Measurement(1.0 if math.isfinite(snr) else 0.0, 0.1),
        "signal_to_noise": ml.outer.Measurement(snr, 0.1 * snr),
        "signal_to_noise_per_step": ml.outer.Measurement(1e3 * snr, 1e2 * snr),
        "fraction_diverged": diverged,
        "inner_steps": 1000.0,
        "num_episodes": 16,
    }
    return ml.outer.Report(**(unknown | known))


def choose(*reports):
    return recommend(ml.outer.Comparison(jnp.zeros(2), reports), ml.Truncation(100, 10), 0.1)


def test_the_error_of_a_bias_includes_that_of_the_target():
    comparison = ml.outer.Comparison(jnp.zeros(2), (report("PES", 0.5, 0.3, 1.0), report("NRES", 0.3, 0.0, 1.0)))
    assert [one.bias for one in with_target_error(comparison, 0.4).reports] == [
        ml.outer.Measurement(
            pytest.approx(0.3), pytest.approx(0.5)
        ),  # the square is too large by that of the target's error
        ml.outer.Measurement(0.0, pytest.approx(0.4)),
    ]


@pytest.mark.parametrize(
    ("one", "right"),
    [
        (report("truncated ES", 0.1, 0.09, 1.0), True),
        (report("truncated ES", 0.2, 0.1, 1.0), False),  # it may be as large as 0.4
        (report("truncated ES", 0.085, 0.163, 1.0), False),  # its bias is not known to be small
        (report("PES", 0.0, 0.2, 1.0), False),  # unbiased for another target
        (report("NRES", 0.6, 0.1, 1.0), False),  # farther than two errors
        (report("NRES", 0.6, 0.6, 1.0), True),  # none by construction
        (report("NRES", 0.1, 0.1, 0.1), False),  # 3/16 is what noise alone may give
        (report("NRES", 0.1, 0.1, 1.0, diverged=0.02), False),
    ],
)
def test_the_trusted_estimators_are_those_with_a_small_bias(one, right):
    assert trusted(one) == right


def test_the_trusted_estimator_with_the_largest_signal_to_noise_ratio_is_recommended():
    found = choose(report("NRES", 0.1, 0.1, 0.5), report("PES", 0.1, 0.05, 2.0), report("truncated ES", 0.9, 0.1, 8.0))
    assert (found.method, found.length, found.sigma) == ("PES", 10, 0.1)
    assert "truncated ES would have less noise, but the bias is not known to be small" in found.reason


def test_the_recommended_number_of_pairs_gives_a_signal_to_noise_ratio_of_one():
    assert choose(report("NRES", 0.1, 0.1, 0.5)).num_pairs == 2 * PILOT_PAIRS
    assert choose(report("NRES", 0.1, 0.1, 2.0)).num_pairs == PILOT_PAIRS // 2
    assert choose(report("NRES", 0.1, 0.1, math.inf)).num_pairs == 1
    whole = choose(report("perturbed backprop", 0.1, 0.1, 2.0))
    assert (whole.num_pairs, whole.length) == (2, 100)


def test_no_estimator_is_recommended_if_all_are_noise():
    assert "too noisy" in choose(report("PES", 0.1, 0.9, 0.1)).reason
    assert choose(report("PES", math.nan, math.nan, math.nan)).method == "none of them"


@pytest.mark.parametrize(("share", "of_the_target"), [(0.004, 0.0), (0.05, 0.0), (0.0, 0.004)])
def test_a_cap_is_recommended_if_diverged_runs_hide_every_mean(share, of_the_target):
    bias = 0.1 if of_the_target else math.nan
    one = report("NRES", bias, 0.1, 1.0, diverged=share)
    found = recommend(ml.outer.Comparison(jnp.zeros(2), (one,)), ml.Truncation(100, 10), 0.1, of_the_target)
    assert found.method == "none of them"
    assert "ml.saturate" in found.reason
    assert ("0.4%" in found.reason) == (share != 0.05)


def test_an_estimator_that_could_not_run_does_not_count_as_diverged():
    table = str(ml.outer.Comparison(jnp.zeros(2), (unmeasured("TBPTT", 2, "no derivative"),)))
    assert "TBPTT: no derivative" in table
    assert "Diverged" not in table


def test_cached_programs_depend_on_the_precision_and_the_kind_of_key():
    """θ = 0.3 in float64, in float32, and with another kind of key gives the same bits as with a new problem."""
    truncation, kept = ml.Truncation(6, 3), ml.problems.linear_quadratic()

    def measured(problem, wide, impl):
        with jax.enable_x64(wide):
            theta = jnp.asarray(0.3, jnp.float64 if wide else jnp.float32)
            return measure_cloud(problem, theta, truncation, 0.1, jax.random.key(1, impl=impl), 16).mean

    order = [(True, "threefry2x32"), (False, "threefry2x32"), (True, "rbg"), (True, "threefry2x32")]
    means = [measured(kept, *one) for one in order]
    for one, mean in zip(order, means):
        np.testing.assert_array_equal(mean, measured(ml.problems.linear_quadratic(), *one))
    assert len({float(mean[0]) for mean in means}) == 3
