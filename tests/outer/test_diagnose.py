"""`diagnose`: numbers against closed forms, known recommendations, and notes on what could not be measured."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn import heartbeat
from metalearn.outer.diagnosis.derivatives import Derivatives, _add_gradients, _gradients
from metalearn.words import percent

KEY = jax.random.key(5)


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def calm():
    with jax.enable_x64(True):
        return ml.diagnose(ml.problems.linear_quadratic(), jnp.asarray(0.3), 0.2, ml.Truncation(12, 3), KEY)


@pytest.fixture(scope="module")
def chaotic():
    """Gradient descent on x²/2 − x³/3 with a chaotic step size."""
    with jax.enable_x64(True):
        return ml.diagnose(ml.problems.cubic_loss(0.3), jnp.asarray(2.9), 0.02, ml.Truncation(60, 10), KEY)


def test_diagnose_at_a_point_without_chaos(calm):
    """s ← 0.9 s + θ: full gradient 115.555 / 12, the same at all sigmas, and an exponent of ln 0.9."""
    assert calm.exponent.value == pytest.approx(np.log(0.9), abs=1e-6)
    assert abs(calm.smoothed - 115.55531 / 12) < 5 * calm.smoothed_error
    assert calm.cosine == pytest.approx(1)
    assert abs(calm.smoothed_length.value - 115.55531 / 12) < 5 * calm.smoothed_length.error
    assert calm.length_ratio == pytest.approx(1, abs=5 * calm.smoothed_length.error / calm.smoothed_length.value)
    assert calm.kappa == pytest.approx(1, abs=0.2)
    assert calm.recommendation.method == "perturbed backprop"
    jacobians = ml.diagnosis.window_jacobians(
        ml.problems.linear_quadratic(), jnp.asarray(0.3), ml.Truncation(12, 3), KEY
    )
    nres, pes = (1e6 / 24 * square / variance for square, variance in (
        ml.diagnosis.predicted_variance(jacobians, period) for period in (4, 1)
    ))  # fmt: skip
    assert calm.predicted["NRES"] == pytest.approx(nres)
    assert calm.predicted["PES"] == pytest.approx(pes)
    assert not calm.left_out


def test_the_measured_signal_to_noise_ratio_equals_the_predicted_one(calm):
    for name, predicted in calm.predicted.items():
        measured = calm.comparison[name].signal_to_noise_per_step
        assert abs(measured.value - predicted) < 5 * measured.error + 0.1 * predicted


def test_diagnose_at_a_chaotic_point(chaotic):
    assert chaotic.exponent.value > 0.3
    assert chaotic.kappa > 100
    assert chaotic.length_ratio > 100
    assert "backprop" not in chaotic.recommendation.method
    assert chaotic.spectrum is not None


def test_an_estimator_with_only_noise_is_not_recommended(with_effort):
    """Exploding gradients sometimes have a signal in the pilot, with an error so large that any bias is possible."""
    with_effort("low")  # different rounding gives different numbers in chaos
    problem = ml.problems.cubic_loss(0.3)
    methods = {
        ml.diagnose(
            problem, jnp.asarray(2.9), 0.02, ml.Truncation(60, 10), jax.random.key(100 + seed)
        ).recommendation.method
        for seed in range(12)
    }
    assert not any("backprop" in method for method in methods)


def test_in_many_dimensions_the_norm_of_the_gradient_is_corrected_for_noise():
    """s ← .9 s + Σθ/√d, ℓ = s has a constant gradient, whose direction a cloud of 256 pairs cannot determine."""
    size, steps = 200, 20
    many = ml.InnerProblem(
        lambda theta, key: jnp.ones(()),
        lambda s, theta, key: 0.9 * s + jnp.sum(theta) / jnp.sqrt(size),
        lambda s, theta, key: s,
    )
    exact = np.mean([(1 - 0.9**t) / 0.1 for t in range(1, steps + 1)])
    found = ml.diagnose(many, jnp.zeros(size), 0.1, ml.Truncation(steps, 5), KEY)
    assert abs(found.smoothed_length.value - exact) < 5 * found.smoothed_length.error
    assert np.linalg.norm(found.smoothed) > 1.2 * exact
    assert found.cosine > 0.8
    assert found.recommendation.method == "perturbed backprop"


def test_measurements_of_noisy_episodes_have_errors_and_the_share_at_the_cap_is_reported(monkeypatch, capsys):
    """ℓ = aᵀθ with a ~ N((1, 1), 0.04 I) in each episode, and the cap in one of ten: ∇L = 0.9 (1, 1) at every
    σ. Parts that take long are printed while they run.
    """

    def init(theta, key):
        luck, slope = jax.random.split(key)
        return {"slope": 1 + 0.2 * jax.random.normal(slope, (2,)), "lost": jax.random.uniform(luck) < 0.1}

    loss = lambda state, theta, key: jnp.where(state["lost"], 1e6, state["slope"] @ theta)
    problem = ml.saturate(ml.InnerProblem(init, lambda state, theta, key: state, loss), 50.0)
    monkeypatch.setattr(heartbeat, "INTERVAL", 0.05)
    monkeypatch.setattr(heartbeat, "TICK", 0.01)
    told = []
    found = ml.diagnose(
        problem,
        jnp.ones(2),
        0.1,
        ml.Truncation(2, 1),
        KEY,
        progress=lambda name, done, total: told.append((name, done)),
    )
    exact = 0.9 * np.sqrt(2)
    assert found.capped == pytest.approx(0.1, abs=0.06)
    assert f"{'runs of the cloud at the cap':34s}{percent(found.capped)}" in str(found).splitlines()
    assert 0 < found.cosine_error < 0.1
    assert abs(found.cosine - 1) < 5 * found.cosine_error
    assert np.exp(found.log_gradient) == pytest.approx(exact, abs=0.6)
    for row in found.sweep:
        assert abs(row["length"] - exact) < 5 * row["length_error"] < 5
        assert 0 < row["snr_error"] < row["snr"] + 1
    largest = found.sweep[-1]
    assert abs(largest["cosine"] - 1) < 5 * largest["cosine_error"] < 1
    said = capsys.readouterr().err
    for words in ("measuring the cloud, the sweep, the border and derivatives, ", "measuring the candidates, "):
        assert words in said
    assert [one for one in told if one[0] == "measuring"] == [("measuring", done) for done in (1, 2, 3, 4)]


def test_a_problem_without_a_cap_reports_no_share_at_the_cap(calm):
    assert np.isnan(calm.capped)
    assert "at the cap" not in str(calm)


def test_the_summary_has_every_line(calm, chaotic):
    for card in (str(calm), str(chaotic)):
        for words in ("Lyapunov exponent", "κ", "distance to the border", "SNR of a pair", "Use ", "candidate"):
            assert words in card
        assert max(map(len, card.splitlines())) < 260


def test_the_distance_to_the_border_is_the_exact_one():
    """s ← θ s diverges beyond |θ| = 1, which is at a distance of .1 from θ = .9."""
    powers = ml.InnerProblem(lambda t, k: jnp.ones(()), lambda s, t, k: t * s, lambda s, t, k: s * s)
    found = ml.diagnose(ml.saturate(powers, 1.0), jnp.asarray(0.9), 0.1, ml.Truncation(100, 50), KEY)
    assert found.converged
    assert 0.1 <= found.distance <= 0.1 * np.sqrt(2) + 1e-9
    assert found.beyond == pytest.approx(0.16, abs=0.06)  # P(ε > σ)


def test_gradients_are_left_out_for_a_piecewise_constant_loss():
    steps = ml.InnerProblem(lambda t, k: jnp.ones(()), lambda s, t, k: 0.9 * s + t, lambda s, t, k: jnp.floor(10 * s))
    found = ml.diagnose(steps, jnp.asarray(0.3), 0.2, ml.Truncation(12, 3), KEY)
    assert any("piecewise constant" in sentence for sentence in found.left_out)
    assert "backprop" not in found.recommendation.method
    assert np.isfinite(found.smoothed).all()
    assert "Left out" in str(found)


def test_the_summary_of_a_problem_without_derivatives_says_why():
    def halve(s, t, key):
        return jax.pure_callback(
            lambda s, t: np.float32(0.9 * s + t), jax.ShapeDtypeStruct((), s.dtype), s, t, vmap_method="sequential"
        )

    outside = ml.InnerProblem(lambda t, k: jnp.ones(()), halve, lambda s, t, k: 0.5 * s * s)
    with jax.enable_x64(False):
        found = ml.diagnose(outside, jnp.float32(0.3), 0.2, ml.Truncation(4, 2), KEY, num_pairs=16)
    assert any("cannot be differentiated" in sentence for sentence in found.left_out)
    assert found.recommendation.method in ("NRES", "PES", "truncated ES")


def test_a_problem_that_diverges_everywhere_has_a_summary():
    explode = ml.InnerProblem(lambda t, k: jnp.ones(()), lambda s, t, k: 1e30 * s * s + t, lambda s, t, k: s * s)
    found = ml.diagnose(explode, jnp.asarray(0.3), 0.2, ml.Truncation(20, 10), KEY)
    assert not found.converged
    assert "does not converge" in str(found)
    assert np.isinf(found.distance)
    assert found.recommendation.method == "none of them"
    assert "give the problem a cap" in str(found)
    assert "100.0% of the pairs of the cloud" in str(found)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"sigma": 0.0}, ValueError, r"sigma must be a number in \(0"),
        ({"theta": jnp.asarray(1)}, TypeError, "theta"),
        ({"key": 0}, TypeError, "key"),
        ({"num_pairs": 2}, ValueError, "num_pairs must be at least 16"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(settings, error, words):
    given = {"theta": jnp.asarray(0.3), "sigma": 0.1, "truncation": ml.Truncation(4, 2), "key": KEY} | settings
    with pytest.raises(error, match=words):
        ml.diagnose(ml.problems.linear_quadratic(), **given)


def test_reverse_mode_gradients_are_averaged_over_several_episodes():
    """Problems without forward mode have such gradients. One episode gives 9 ± 11, with some keys the opposite sign."""
    problem = ml.InnerProblem(
        lambda theta, key: jnp.zeros(()),
        lambda state, theta, key: 0.9 * state + theta * (1 + 3 * jax.random.normal(key)),
        lambda state, theta, key: state,
    )
    theta, keys = jnp.float32(0.5), jax.random.split(KEY, 8)
    found = _add_gradients(Derivatives(), _gradients(problem, 20)(theta, keys))
    slopes = jax.vmap(jax.grad(lambda theta, key: ml.meta_loss(problem, theta, key, 20)), (None, 0))(theta, keys)
    assert found.log_gradient == pytest.approx(float(jnp.log(jnp.abs(jnp.mean(slopes)))), abs=1e-4)
    assert found.gradients is not None
    np.testing.assert_allclose(found.gradients[:, 0], slopes / jnp.abs(jnp.mean(slopes)), rtol=1e-4)
