"""Window Jacobians, the variances that follow from them, and the bias of every truncation."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml

KEY = jax.random.key(0)
REFERENCE = json.loads((pathlib.Path(__file__).parents[1] / "reference/closed_form.json").read_text())


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("name", "period"), [("PES", 1), ("GPES_K2", 2), ("GPES_K3", 3), ("NRES", 4)])
def test_the_variance_formula_gives_the_published_numbers(name, period):
    instance = REFERENCE["D_linear_variance"]
    jacobians = np.zeros((4, 4, 3))
    for t, row in enumerate(instance["g_t_tau"]):
        jacobians[t, : t + 1] = row
    expected = next(row for row in instance["rows"] if row["name"] == name)
    square, variance = ml.diagnosis.predicted_variance(jacobians, period)
    assert variance * 16 == pytest.approx(expected["tr_cov_episode_sum"], rel=1e-9)
    assert square * 16 == pytest.approx(np.sum(np.square(expected["grad"])), rel=1e-9)


def test_the_jacobians_of_a_training_run_sum_to_its_gradient():
    problem, theta = ml.problems.toy_regression(20), jnp.array([-4.0, -3.0])
    truncation = ml.Truncation(20, 5)
    jacobians = np.asarray(ml.diagnosis.window_jacobians(problem, theta, truncation, KEY))
    assert jacobians.shape == (4, 4, 2)
    assert np.all(jacobians[np.triu_indices(4, 1)] == 0)
    exact = jax.grad(lambda theta: ml.meta_loss(problem, theta, KEY, 20))(theta)
    np.testing.assert_allclose(jacobians.sum(axis=(0, 1)) / 4, exact, rtol=1e-9)
    truncated = ml.backprop(problem, ml.Truncation(20, 5, key=KEY))
    state, total = truncated.init(theta, KEY), 0.0
    for _ in range(4):
        gradient, state, _ = truncated.estimate(theta, state, KEY)
        total = total + gradient / 4
    spectrum = ml.diagnosis.truncation_spectrum(jacobians, truncation)
    np.testing.assert_allclose(spectrum.gradients[0], total, rtol=1e-9)
    np.testing.assert_allclose(spectrum.gradients[-1], exact, rtol=1e-9)
    np.testing.assert_array_equal(spectrum.lengths, [5, 10, 15, 20])


def jacobians_of(parts):
    """Return Jacobians in which the k-th window before contributes parts[k]."""
    count = len(parts)
    lag = np.subtract.outer(np.arange(count), np.arange(count))
    return np.where(lag >= 0, np.asarray(parts)[np.maximum(lag, 0)] / np.maximum(count - lag, 1), 0)[..., None]


@pytest.mark.parametrize(
    ("parts", "plateau"),
    [
        ([1, 0.5, 0, 0, 0, 0, 0, 0], 20),
        ([1, 0.5, 0.001, 0, 0, -50, 900, 1e5], 20),
        ([1, 0.03, 0.02, 1, -50, 900, 1e5, -1e9], 10),
        ([1, -3, 9, -27, 81, -243, 729, -2187], None),
        ([1, 0.3, np.inf, np.nan, 1, 1, 1, 1], None),
        ([0, 0, 0, 0, 0, 1, 0, 0], None),
        ([1, 1, 1, 1, 1, 1, 0, 0], None),
    ],
)
def test_a_plateau_of_the_bias_gives_the_recommended_truncation(parts, plateau):
    with np.errstate(invalid="ignore"):
        for scale in (1, 1e200):  # whose squares overflow
            assert (
                ml.diagnosis.truncation_spectrum(scale * jacobians_of(parts), ml.Truncation(80, 10)).plateau == plateau
            )


def test_truncations_of_influence_balancing_have_the_wrong_sign_if_short():
    """Its short truncations have the opposite sign."""
    problem, truncation = ml.problems.influence_balancing(), ml.Truncation(120, 1)
    jacobians = ml.diagnosis.window_jacobians(problem, jnp.asarray(0.5), truncation, KEY)
    gradients = ml.diagnosis.truncation_spectrum(jacobians, truncation).gradients[:, 0]
    assert np.sign(gradients[0]) == -np.sign(gradients[-1])
