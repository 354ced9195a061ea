"""The bias while θ moves against its closed form: s ← s + θ, ℓ = s², two windows of one step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml

KEY = jax.random.key(0)
SUM = ml.InnerProblem(lambda t, k: jnp.zeros(()), lambda s, t, k: s + t, lambda s, t, k: s**2)
WINDOWS = ml.Truncation(2, 1)
ESTIMATORS = {
    "PES": ml.persistent_es(SUM, WINDOWS, sigma=0.1, num_pairs=64),
    "NRES": ml.noise_reuse_es(SUM, WINDOWS, sigma=0.1, num_pairs=64),
    "TBPTT": ml.backprop(SUM, WINDOWS),
}


@pytest.fixture(scope="module")
def moving():
    """θ is 1 in the first and 0.5 in the second window of three episodes. The target is 5 θ at the second window."""
    trajectory = jnp.array([1.0, 0.5] * 3)
    return ml.compare(
        ESTIMATORS, jnp.float32(1.0), KEY, num_episodes=200, along=trajectory, reference_pairs=4096, timed=False
    )


@pytest.mark.parametrize(("name", "mean"), [("PES", 4.0), ("NRES", 4.0), ("TBPTT", 2.5)])
def test_the_mean_along_a_trajectory_is_that_of_the_losses_with_earlier_values_of_theta(moving, name, mean):
    """ℓ_1 = θ_1², ℓ_2 = (θ_1 + θ_2)². Persistent methods have mean 3 θ_1 + 2 θ_2, truncated backprop 2 θ_1 + θ_2."""
    report = moving[name]
    assert report.mean.shape == (3,)
    np.testing.assert_array_less(np.abs(report.mean - mean), 5 * report.mean_error + 1e-5)
    np.testing.assert_allclose(report.target, 2.5, rtol=0.1)
    expected = abs(mean - 2.5) / 2.5
    assert abs(report.bias.value - expected) < 5 * report.bias.error + 1e-5


def test_a_frozen_theta_has_no_hysteresis():
    frozen = ml.compare(
        ESTIMATORS, jnp.float32(1.0), KEY, num_episodes=200, along=jnp.ones(8), reference_pairs=1024, timed=False
    )
    assert frozen["NRES"].bias.value < 5 * frozen["NRES"].bias.error
    assert frozen["TBPTT"].bias.value > 10 * frozen["TBPTT"].bias.error
    np.testing.assert_allclose(frozen["NRES"].gradient, 5, rtol=1e-5)
    assert frozen["NRES"].inner_steps == 2 * 64 * 2, "of one episode"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"along": jnp.ones(1)}, "at least one episode"),
        ({"along": jnp.ones((4, 2))}, "along must have the structure of theta"),
        ({"along": jnp.float32(1.0)}, "along must have the structure of theta"),
        ({"along": jnp.ones(4), "reference": jnp.float32(1.0)}, "do not give reference"),
    ],
)
def test_an_invalid_trajectory_raises_an_error(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        ml.compare(ESTIMATORS, jnp.float32(1.0), KEY, num_episodes=2, **change)
