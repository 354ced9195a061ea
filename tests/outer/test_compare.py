"""The comparison against the exact means and variances of the phase walk."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.outer.comparison import episodes

THETA = jnp.float32(0.3)
KEY = jax.random.key(0)
TRUE, SMOOTHED, INDEPENDENT = (
    4.910742 / 6,
    3.362569 / 6,
    3.745020 / 6,
)  # docs/theory.md §5.1: unsmoothed, NRES and full ES, PES
TRUNCATED, TRUNCATED_ES = 3.568666 / 6, 2.915923 / 6
NRES_VARIANCE = 10.80581 / 36  # of one pair
PAIRS = 8


@pytest.fixture(scope="module")
def comparison():
    problem, whole, windows = ml.problems.phase_walk(), ml.Truncation(6, 6), ml.Truncation(6, 2)
    es = {"sigma": 0.4, "num_pairs": PAIRS}
    estimators = {
        "BPTT": ml.backprop(problem, whole),
        "TBPTT": ml.backprop(problem, windows),
        "full ES": ml.evolution_strategies(problem, whole, **es),
        "truncated ES": ml.evolution_strategies(problem, windows, **es),
        "PES": ml.persistent_es(problem, windows, **es),
        "NRES": ml.noise_reuse_es(problem, windows, **es),
    }
    return ml.compare(estimators, THETA, jax.random.key(0), num_episodes=2000, reference_pairs=100_000)


@pytest.mark.parametrize(
    ("name", "mean", "target"),
    [
        ("BPTT", TRUE, TRUE),
        ("TBPTT", TRUNCATED, TRUE),
        ("full ES", SMOOTHED, SMOOTHED),
        ("truncated ES", TRUNCATED_ES, SMOOTHED),
        ("PES", INDEPENDENT, INDEPENDENT),
        ("NRES", SMOOTHED, SMOOTHED),
    ],
)
def test_means_and_targets_equal_the_exact_ones(comparison, name, mean, target):
    report = comparison[name]
    assert abs(report.mean[0] - mean) <= 5 * report.mean_error[0] + 1e-6
    assert report.target[0] == pytest.approx(target, abs=0.02)
    assert report.gradient[0] == pytest.approx(TRUE, abs=1e-5)


def test_unbiased_estimators_have_no_significant_bias_and_truncated_ones_have(comparison):
    for name in ("full ES", "PES", "NRES"):
        bias = comparison[name].bias
        assert bias.value < 5 * bias.error
        assert comparison[name].bias_to_gradient.value > 5 * comparison[name].bias_to_gradient.error
    for name in ("truncated ES", "TBPTT"):
        assert comparison[name].bias.value > 10 * comparison[name].bias.error
    assert comparison["TBPTT"].bias.value == pytest.approx(1 - TRUNCATED / TRUE, rel=1e-3)


def test_variance_and_signal_to_noise_ratio_equal_the_exact_ones(comparison):
    for name in ("full ES", "NRES"):
        report = comparison[name]
        assert abs(report.variance.value - NRES_VARIANCE / PAIRS) < 5 * report.variance.error
        exact = SMOOTHED**2 / (NRES_VARIANCE / PAIRS)
        assert abs(report.signal_to_noise.value - exact) < 5 * report.signal_to_noise.error
        assert report.signal_to_noise_per_step.value == pytest.approx(report.signal_to_noise.value * 1e6 / 96)
    assert comparison["PES"].variance_per_window.value > 3 * comparison["PES"].variance.value
    assert comparison["BPTT"].variance.value == 0
    assert np.isnan(comparison["BPTT"].signal_to_noise.value), "a deterministic estimator has no noise"
    assert comparison["BPTT"].bias.error == 0


def test_inner_steps_are_counted(comparison):
    steps = {report.name: report.inner_steps for report in comparison.reports}
    assert steps == {"BPTT": 6, "TBPTT": 6, "full ES": 96, "truncated ES": 144, "PES": 96, "NRES": 96}
    assert all(
        report.seconds > 0 and report.memory > 0 and report.fraction_diverged == 0 for report in comparison.reports
    )


def test_the_table_and_the_rows_contain_every_estimator(comparison):
    text, rows = str(comparison), comparison.rows()
    assert [row["estimator"] for row in rows] == [row.split("  ")[0] for row in text.splitlines()[2 : 2 + len(rows)]]
    assert max(map(len, text.splitlines())) <= 100
    assert all(np.isscalar(value) or value is None for row in rows for value in row.values())
    assert rows[3]["bias"] == comparison["truncated ES"].bias.value


def test_given_references_replace_the_measured_ones():
    estimators = {
        "a": ml.backprop(ml.problems.phase_walk(), ml.Truncation(6, 2)),
        "b": ml.backprop(ml.problems.phase_walk(), ml.Truncation(6, 6)),
    }
    one = ml.compare(estimators, THETA, jax.random.key(0), num_episodes=4, reference=jnp.float32(1.0))
    assert one["a"].bias.value == pytest.approx(1 - TRUNCATED, abs=1e-5)
    each = ml.compare(
        estimators, THETA, jax.random.key(0), num_episodes=4, reference={"a": jnp.float32(1.0), "b": jnp.float32(-1.0)}
    )
    assert each["b"].cosine.value == -1
    with pytest.raises(ValueError, match="structure and shapes of theta"):
        ml.compare(estimators, THETA, jax.random.key(0), num_episodes=4, reference=jnp.zeros(3))


def test_the_same_key_gives_the_same_numbers():
    estimators = {"PES": ml.persistent_es(ml.problems.phase_walk(), ml.Truncation(6, 2), sigma=0.4, num_pairs=2)}
    first, second = (
        ml.compare(estimators, THETA, jax.random.key(5), num_episodes=8, reference_pairs=16) for _ in range(2)
    )
    np.testing.assert_array_equal(first["PES"].mean, second["PES"].mean)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"estimators": {}}, "at least one entry"),
        ({"estimators": {"x": 3}}, "must be a GradientEstimator"),
        ({"num_episodes": 1}, "num_episodes must be at least 2"),
        ({"reference_pairs": 0}, "reference_pairs must be at least 2"),
        ({"theta": jnp.array(1)}, "dtype int32"),
        ({"key": 0}, "typed key"),
        ({"theta": {"phase": jnp.array(1.0)}}, "could not be traced with this theta"),
        ({"theta": jnp.array(jnp.nan)}, "must be finite"),
        ({"progress": True}, "progress must be"),
        ({"callback": "print"}, "callback must be"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(change, sentence):
    arguments = {
        "estimators": {"a": ml.backprop(ml.problems.phase_walk(), ml.Truncation(2, 2))},
        "theta": THETA,
        "key": jax.random.key(0),
    }
    arguments |= {"num_episodes": 4} | change
    with pytest.raises((TypeError, ValueError), match=sentence):
        ml.compare(**arguments)


WALK = ml.problems.phase_walk(omega=1.5)


def smoothed_in_four_ways():
    """Return new estimators of one problem with four smoothings."""
    problem, windows = WALK, ml.Truncation(12, 4)
    es = {"sigma": 0.2, "num_pairs": 4}
    return {
        "PES": ml.persistent_es(problem, windows, **es),
        "NRES": ml.noise_reuse_es(problem, windows, **es),
        "GPES": ml.generalized_persistent_es(problem, windows, noise_period=8, **es),
        "wide": ml.noise_reuse_es(problem, windows, sigma=0.4, num_pairs=4),
        "TBPTT": ml.backprop(problem, windows),
    }


def compared(theta=0.3, **arguments):
    """Return a comparison, and the number of programs that it compiled."""
    before = len(ml.compiled_programs())
    found = ml.compare(smoothed_in_four_ways(), jnp.float32(theta), jax.random.key(1), num_episodes=16, **arguments)
    return found, len(ml.compiled_programs()) - before


def test_references_share_programs_and_a_second_point_compiles_none():
    first, count = compared()
    assert count == 5, "the online ES family, backprop, its time, all smoothed targets, the gradient"
    again, more = compared(theta=0.4)
    assert more == 0, "the estimators were made anew from the same arguments: they are the same"
    assert np.all(again["PES"].mean != first["PES"].mean)
    targets = {name: first[name].target[0] for name in smoothed_in_four_ways()}
    assert len(set(targets.values())) == 5, "four smoothings, and no smoothing"


def test_columns_that_are_not_requested_compile_no_programs():
    _, count = compared(reference=jnp.float32(1.0), unsmoothed=False)
    assert count == 0


def test_reports_are_passed_to_the_callback_as_soon_as_they_are_measured():
    seen = []
    found, _ = compared(callback=lambda report: seen.append((report, len(ml.compiled_programs()))))
    assert [report.name for report, _ in seen] == list(smoothed_in_four_ways())
    for report, _ in seen:
        assert np.isnan(report.seconds)
        assert found[report.name].seconds > 0
        np.testing.assert_array_equal(found[report.name].mean, report.mean)
        assert str(report).startswith(f"{report.name}: bias / |target| ")


def test_smoothings_in_blocks_have_their_own_targets():
    """For s_t = Σ_b n_b(t) (θ + ε_b), ∂/∂θ E sin(ω s_t) = cos(ω t θ) ω t exp(−ω² σ² Σ_b n_b² / 2)."""
    found = ml.compare(smoothed_in_four_ways(), THETA, jax.random.key(2), num_episodes=4, reference_pairs=100_000)
    steps, omega = np.arange(1, 13), 1.5
    for name, period, sigma in (("PES", 4, 0.2), ("NRES", 12, 0.2), ("GPES", 8, 0.2), ("wide", 12, 0.4)):
        counts = np.array([[np.clip(t - first, 0, period) for first in range(0, 12, period)] for t in steps])
        damping = np.exp(-(omega**2) * sigma**2 * (counts**2).sum(axis=1) / 2)
        exact = np.mean(omega * steps * np.cos(omega * steps * float(THETA)) * damping)
        assert found[name].target[0] == pytest.approx(exact, abs=0.04), name


@pytest.mark.parametrize(
    "wrap", [lambda e: ml.estimators.clip_gradient(e, 1e-3), lambda e: e._replace(estimate=doubled(e))]
)
def test_a_wrapped_estimator_is_not_treated_as_the_original(wrap):
    plain = smoothed_in_four_ways()["PES"]
    found = ml.compare({"plain": plain, "wrapped": wrap(plain)}, THETA, KEY, num_episodes=4, reference_pairs=4)
    ratio = np.abs(found["wrapped"].mean / found["plain"].mean)
    assert ratio[0] < 0.1 or ratio[0] > 1.5


def doubled(estimator):
    @functools.wraps(estimator.estimate)  # wraps copies the attributes
    def estimate(theta, state, key):
        gradient, *rest = estimator.estimate(theta, state, key)
        return 2 * gradient, *rest

    return estimate


@pytest.mark.parametrize(("seconds", "runs"), [(0.01, 21), (0.5, 3), (2.9, 3), (3.0, 2)])
def test_the_time_of_an_episode_has_an_error_from_repeated_runs(monkeypatch, seconds, runs):
    """A first run that is short is discarded; the others take 1.1 and 0.9 times as long in turn."""
    began, taken = [0.0], []

    def run(theta, keys):
        began[0] += seconds * (1.0 if not taken else 1.1 if len(taken) % 2 else 0.9)
        taken.append(began[0])

    monkeypatch.setattr(episodes.time, "perf_counter", lambda: began[0])
    mean, error = episodes.seconds_per_episode(episodes.Batch(run, 4, 1), None, jax.random.key(0))
    assert len(taken) == runs
    timings = np.diff([0.0, *taken])[1 if seconds < 0.3 else 0 :]
    np.testing.assert_allclose([mean, error], [timings.mean() / 4, timings.std(ddof=1) / len(timings) ** 0.5 / 4])


def test_the_time_of_equal_episodes_is_that_of_one_episode(monkeypatch):
    sizes = []
    monkeypatch.setattr(
        episodes, "seconds_per_episode", lambda batch, theta, key: sizes.append(batch.size) or (1.0, 0.0)
    )
    problem = ml.InnerProblem(lambda t, k: t, lambda s, t, k: 0.5 * s + t, lambda s, t, k: s**2)
    ml.compare({"b": ml.backprop(problem, ml.Truncation(4, 4))}, jnp.float32(1.0), jax.random.key(0), num_episodes=64)
    assert sizes == [1]
