"""A few particles with huge losses are reported, whether they diverged or not; losses that decrease are not."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.outer.dominance import dominance

WINDOWS, KEY = ml.Truncation(2, 2), jax.random.key(0)


def unlucky(huge, chance) -> ml.InnerProblem:
    """The loss is θ², and `huge` in episodes whose random number is below `chance`, more of them for larger θ."""
    beyond = lambda luck, theta: luck < chance * (1 + 0.5 * jnp.tanh(theta))
    return ml.InnerProblem(
        lambda theta, key: jax.random.uniform(key),
        lambda luck, theta, key: luck,
        lambda luck, theta, key: theta**2 + jnp.where(beyond(luck, theta), huge, 0.0),
    )


def trained(problem, num_pairs, num_steps, chunk_length=None):
    estimator = ml.evolution_strategies(problem, WINDOWS, sigma=0.3, num_pairs=num_pairs)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        theta, history = ml.meta_train(
            estimator, optax.adam(0.01), jnp.float32(1), KEY, num_steps, chunk_length=chunk_length
        )
    return theta, history, [str(one.message) for one in told]


@pytest.mark.parametrize("huge", [jnp.nan, 1e12, -1e9])
def test_a_few_huge_losses_cause_one_warning(huge):
    _, history, told = trained(unlucky(huge, 1 / 1500), 256, 60, chunk_length=20)
    worst = history.divergence()["worst"]
    assert worst <= 0.01
    assert (worst > 0) == bool(jnp.isnan(huge))
    assert len(told) == 1
    assert "worst 1 % of the particles" in told[0]
    assert "ml.saturate" in told[0]


def test_one_huge_loss_in_hundreds_of_estimates_causes_a_warning_unless_losses_are_capped():
    (said,) = trained(unlucky(1e9, 1 / 2000), 8, 400)[2]
    assert "Adam" in said
    assert trained(ml.saturate(unlucky(1e9, 1 / 2000), 2.0), 8, 400)[2] == []


def test_compare_prints_the_warning_below_its_table():
    estimators = {
        name: ml.evolution_strategies(unlucky(huge, 1 / 300), WINDOWS, sigma=0.3, num_pairs=16)
        for name, huge in {"spoilt": 1e10, "sound": 2.0}.items()
    }
    found = ml.compare(
        estimators, jnp.float32(1), KEY, num_episodes=64, reference=jnp.float32(2), unsmoothed=False, timed=False
    )
    assert found["spoilt"].fraction_diverged == 0
    assert found["spoilt"].dominance > 0.5
    assert found["sound"].dominance == 0
    note = str(found).partition("worst 1 %")[2].partition("Give the problem a cap")[0]
    assert "spoilt" in note
    assert "sound" not in note


@pytest.mark.parametrize("num_particles", [2, 8, 200])
def test_decreasing_and_spread_out_losses_cause_no_warning(num_particles):
    """The losses decrease by a factor of 10⁶, are exponentially distributed, and have random signs."""
    draws = np.random.default_rng(0)
    losses = np.geomspace(1e3, 1e-3, 500)[:, None] * draws.exponential(size=(500, num_particles))
    losses *= draws.choice([-1, 1], size=losses.shape)
    worst = -np.sort(-np.abs(losses), axis=1)[:, : -(-num_particles // 100)].sum(axis=1) / np.abs(losses).sum(axis=1)
    assert dominance({"loss": losses.mean(axis=1), "worst_share": worst}, num_particles) == 0
    assert dominance({"loss": np.full(3, 1e9), "worst_share": np.ones(3)}, 8) == 0  # 24 particles


def test_the_sizes_of_losses_that_cancel_are_counted():
    """In 99 of 100 estimates, losses of ±10 cancel; in the last one, a particle has most of a small loss."""
    share, mean, size = np.full(100, 0.02), np.zeros(100), np.full(100, 10.0)
    share[-1], mean[-1], size[-1] = 0.9, 1.0, 1.0
    metrics = {"loss": mean, "absolute_loss": size, "worst_share": share}
    assert dominance(metrics, 50) == 0
    assert dominance({"loss": mean, "worst_share": share}, 50) > 0.5


def test_an_estimator_reports_the_mean_size_of_signed_losses():
    sign = lambda luck, theta, key: jnp.where(luck < 0.5, -1.0, 1.0) + 0 * theta
    problem = ml.InnerProblem(lambda theta, key: jax.random.uniform(key), lambda luck, theta, key: luck, sign)
    estimator = ml.evolution_strategies(problem, WINDOWS, sigma=0.3, num_pairs=64)
    both = ml.combine([estimator, estimator])
    for one in (estimator, both):
        metrics = one.estimate(jnp.float32(1), one.init(jnp.float32(1), KEY), KEY)[2]
        assert metrics["absolute_loss"] == 1
        assert abs(metrics["loss"]) < 0.7
        assert metrics["worst_share"] == pytest.approx(1 / 64)


def test_worst_share_counts_one_percent_of_the_particles():
    """`worst_share` of 150 particles counts two of them: 1 % of 300 particles is the worst of three estimates of four."""
    found = dominance({"loss": np.ones(4), "worst_share": np.array([0.8, 0.8, 0.8, 0.0])}, 150)
    assert found == pytest.approx(0.6)
    assert dominance({"loss": np.ones(100), "worst_share": np.r_[np.ones(80), np.zeros(20)]}, 150) == pytest.approx(
        0.75
    )


def test_a_mixture_weights_its_parts_by_their_losses():
    def part(loss, share):
        metrics = {
            "loss": jnp.float32(loss),
            "worst_share": share,
            "fraction_diverged": jnp.zeros(()),
            "inner_steps": 1,
        }
        return ml.GradientEstimator(lambda theta, key: (), lambda theta, state, key: (theta, state, metrics))

    mixed = ml.mixture({"large": part(-9.0, 1.0), "small": part(1.0, 0.2)}, weights={"large": 1.0, "small": 4.0})
    state = mixed.init(jnp.float32(1), KEY)
    assert mixed.estimate(jnp.float32(1), state, KEY)[2]["worst_share"] == pytest.approx((9 * 1.0 + 4 * 0.2) / 13)
