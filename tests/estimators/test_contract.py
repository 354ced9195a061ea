"""The contract of every estimator: results, one compilation, chunks, episode keys, divergence, error messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.estimators import (
    artbp,
    backprop,
    combine,
    evolution_strategies,
    generalized_persistent_es,
    guided_es,
    mixture,
    noise_reuse_es,
    normal_like,
    persistent_es,
)
from metalearn.inner.divergence import largest
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from tests.estimators.family import EVERY, THETA, WINDOWED, noisy_map
from tests.estimators.sampling import quick

TRUNCATION = Truncation(horizon=6, length=2)
PROBLEM = noisy_map()
every = pytest.mark.parametrize(
    "name", EVERY, scope="module"
)  # all tests of one estimator in a row: a worker compiles it once
GUIDED = functools.partial(guided_es, sigma=0.1, num_pairs=6, alpha=0.5, rank=2)


def two_normal(key, theta):
    return [normal_like(one, theta) for one in jax.random.split(key)]


CHECKED = WINDOWED | {
    "orthogonal": functools.partial(noise_reuse_es, sigma=0.1, num_pairs=6, directions="orthogonal"),
    "guided": GUIDED,
    "guided, given": functools.partial(GUIDED, form="persistent", surrogate=lambda theta, key: two_normal(key, theta)),
    "guided, truncated": functools.partial(GUIDED, form="truncated"),
    "sphere": functools.partial(evolution_strategies, sigma=0.1, num_pairs=6, directions="sphere"),
    "artbp": functools.partial(artbp, cut_probability=0.3, num_particles=6),
    "mixture": lambda p, t: mixture({name: WINDOWED[name](p, t) for name in ("backprop", "persistent_es")}),
}
SETTINGS = {  # other settings of methods that are checked here, with closed forms or references of their own elsewhere
    "backprop_rematerialised",
    "backprop_perturbed_clipped",
    "evolution_strategies_one_sided",
    "clip_gradient",
    "normalise_gradient",
    "orthogonal",
    "guided, given",
    "guided, truncated",
    "sphere",
}
CASES = [pytest.param(name, marks=[pytest.mark.slow] if name in SETTINGS else []) for name in CHECKED]
windowed = pytest.mark.parametrize("name", WINDOWED, scope="module")


@functools.cache
def make(name, truncation=TRUNCATION, problem=PROBLEM, **settings):
    """Return one estimator per setting for the whole module, so that it is compiled once."""
    return quick(EVERY[name](problem, truncation, **settings))


def close(a, b, tolerance=2e-5):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance), a, b
    )


@pytest.mark.parametrize("name", CASES, scope="module")
def test_every_estimator_fulfils_the_contract(name):
    checked = ml.testing.check_estimator(CHECKED[name])
    assert len(checked.passed) + len(checked.skipped) == 10
    assert len(checked.skipped) == (name in ("artbp", "mixture", "guided", "guided, truncated"))


@every
def test_an_estimator_is_compiled_once_for_all_calls(name):
    estimator, sizes = make(name), []
    theta, state = THETA, estimator.init(THETA, jax.random.key(0))
    for index in range(4):
        gradient, state, _ = estimator.estimate(theta, state, jax.random.key(index))
        theta = jax.tree.map(lambda t, g: t - 0.01 * g, theta, gradient)
        sizes.append(estimator.estimate._cache_size())
    assert len(set(sizes)) == 1


def agree_in_chunks(name, size):
    whole, chunked = make(name), make(name, chunk_size=size)
    state = whole.init(THETA, jax.random.key(0))
    close(*(estimator.estimate(THETA, state, jax.random.key(1))[0] for estimator in (whole, chunked)))


@every
def test_chunks_do_not_change_the_estimate(name):
    agree_in_chunks(name, 3)


@pytest.mark.parametrize("size", [1, 4])
def test_chunks_of_one_particle_and_chunks_with_a_remainder_do_not_change_the_estimate(size):
    agree_in_chunks("persistent_es", size)


@windowed
def test_an_episode_key_repeats_the_randomness_of_every_episode(name):
    """With an episode key, unperturbed estimators see the same losses in every episode."""
    if name not in ("backprop", "forward_mode", "forward_gradient", "uoro"):
        pytest.skip("perturbs θ")
    estimator = quick(EVERY[name](PROBLEM, Truncation(6, 2, key=jax.random.key(7))))
    state, losses = estimator.init(THETA, jax.random.key(0)), []
    for index in range(6):
        _, state, metrics = estimator.estimate(THETA, state, jax.random.key(index))
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[:3], losses[3:], rtol=1e-6)
    assert len({round(loss, 6) for loss in losses[:3]}) == 3


@pytest.mark.parametrize("name", ["backprop", "uoro", "persistent_es"], scope="module")
def test_the_gradient_in_bfloat16_is_close_to_that_in_float32(name):
    """The noise differs because it is drawn in bfloat16, so the loss shows whether the trajectories agree."""
    estimator = make(name)
    losses = []
    for dtype in (jnp.bfloat16, jnp.float32):
        theta = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), THETA)
        gradient, _, metrics = estimator.estimate(theta, estimator.init(theta, jax.random.key(0)), jax.random.key(1))
        assert all(np.all(np.isfinite(np.asarray(leaf, np.float32))) for leaf in jax.tree.leaves(gradient))
        losses.append(float(metrics["loss"]))
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.3)


def blowing_up(threshold) -> InnerProblem:
    """A problem that diverges if its random start exceeds `threshold(theta)`; otherwise s ← s/2 + θ."""

    def init(theta, key):
        return jnp.where(jax.random.uniform(key) < threshold(theta), jnp.inf, 1.0) * jnp.ones((2,))

    return InnerProblem(init, lambda s, t, k: 0.5 * s + t[:2], lambda s, t, k: jnp.mean(s**2))


DIVERGING = blowing_up(lambda theta: theta[2])
SOME, ALL = jnp.array([0.3, -0.2, 0.5]), jnp.array([0.3, -0.2, 3.0])


@pytest.mark.parametrize("name", ["backprop", "forward_gradient", "persistent_es"], scope="module")
def test_an_estimate_whose_particles_all_diverged_is_zero_and_reports_it(name):
    estimator = make(name, Truncation(4, 4), DIVERGING)
    gradient, state, metrics = estimator.estimate(ALL, estimator.init(ALL, jax.random.key(0)), jax.random.key(1))
    np.testing.assert_array_equal(np.asarray(gradient), 0)
    assert metrics["fraction_diverged"] == 1
    assert np.isnan(metrics["loss"]) or metrics["loss"] == largest(jnp.float32)
    again, _, metrics = estimator.estimate(SOME, state, jax.random.key(2))
    assert np.all(np.isfinite(again))
    assert metrics["fraction_diverged"] < 1


def test_one_diverged_pair_of_128_changes_the_estimate_by_about_its_share():
    theta = jnp.array([0.3, -0.2])
    odd, sound = (
        quick(persistent_es(blowing_up(lambda theta, share=share: share), Truncation(4, 2), sigma=0.1, num_pairs=128))
        for share in (1 / 128, 0.0)
    )
    for seed in range(200):
        state = odd.init(theta, jax.random.key(seed))
        gradient, _, metrics = odd.estimate(theta, state, jax.random.key(seed))
        if round(128 * float(metrics["fraction_diverged"])) == 1:
            break
    assert float(metrics["fraction_diverged"]) == pytest.approx(1 / 128)
    whole, _, _ = sound.estimate(theta, sound.init(theta, jax.random.key(seed)), jax.random.key(seed))
    change = np.linalg.norm(np.asarray(gradient - whole)) / np.linalg.norm(np.asarray(whole))
    assert 0 < change < 10 / 128


def test_truncations_are_equal_if_their_fields_are_equal():
    keys = [jax.random.key(7), jax.random.key(8), jax.random.key(7, impl="rbg"), None]
    made = [Truncation(6, 2, key=key) for key in keys] + [Truncation(6, 3), Truncation(6, 2, stagger=True)]
    made.append(Truncation(6, 2, shared_minibatches=True))
    again = [Truncation(6, 2, key=key) for key in keys] + [Truncation(6, 3), Truncation(6, 2, stagger=True)]
    again.append(Truncation(6, 2, shared_minibatches=True))
    assert made == again
    assert len(set(made + again)) == len(made)
    assert made[0] != 6


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: persistent_es(PROBLEM, TRUNCATION, sigma=0.0, num_pairs=2), "sigma must be positive"),
        (lambda: persistent_es(PROBLEM, TRUNCATION, sigma=-1.0, num_pairs=2), "sigma must be positive"),
        (lambda: evolution_strategies(PROBLEM, TRUNCATION, sigma=float("nan"), num_pairs=2), "sigma must be positive"),
        (lambda: evolution_strategies(PROBLEM, TRUNCATION, sigma="big", num_pairs=2), "sigma must be one number"),
        (lambda: persistent_es(PROBLEM, TRUNCATION, sigma=0.1, num_pairs=0), "num_pairs must be at least 1"),
        (lambda: persistent_es(PROBLEM, TRUNCATION, sigma=0.1, num_pairs=2.5), "num_pairs must be a whole number"),
        (lambda: backprop(PROBLEM, TRUNCATION, num_particles=0), "num_particles must be at least 1"),
        (lambda: backprop(PROBLEM, TRUNCATION, clip_norm=0.0), "clip_norm must be a number in"),
        (lambda: backprop(PROBLEM, (6, 2)), "truncation must be a Truncation"),
        (lambda: backprop(print, TRUNCATION), "problem must be an InnerProblem"),
        (lambda: backprop(PROBLEM, TRUNCATION, chunk_size=0), "chunk_size must be at least 1"),
        (lambda: Truncation(6, 12), "longer than horizon"),
        (lambda: Truncation(6, 2, shared_minibatches=1), "shared_minibatches must be True or False"),
        (
            lambda: Truncation(6, 2, key=jax.random.key(0), shared_minibatches=True),
            "all episodes share their random numbers",
        ),
        (lambda: Truncation(10, 4), "not a multiple"),
        (lambda: Truncation(0, 1), "at least 1"),
        (lambda: Truncation(6.0, 2), "whole number"),
        (lambda: Truncation(6, 2, key=3), "typed key"),
        (lambda: artbp(PROBLEM, TRUNCATION, cut_probability=0.1), "needs length == horizon"),
        (lambda: artbp(PROBLEM, Truncation(6, 6), cut_probability=1.0), "cut_probability must be a number in"),
        (
            lambda: generalized_persistent_es(PROBLEM, TRUNCATION, sigma=0.1, num_pairs=2, noise_period=3),
            "multiple of the window length",
        ),
        (lambda: combine([backprop(PROBLEM, TRUNCATION, num_particles=2)]), "at least two"),
        (lambda: combine([backprop(PROBLEM, TRUNCATION)] * 2), "single particle"),
        (lambda: combine([backprop(PROBLEM, TRUNCATION, num_particles=2)] * 2, by="rank"), "inverse_variance"),
    ],
)
def test_invalid_arguments_raise_a_clear_error_at_construction(build, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence) as caught:
        build()
    assert str(caught.value).rstrip().endswith(".")


def _changed(**functions):
    return PROBLEM._replace(**functions)


@pytest.mark.parametrize(
    ("problem", "theta", "sentence"),
    [
        (PROBLEM, {"rates": jnp.array([1, 2]), "scale": jnp.array(0.7)}, "dtype int32"),
        (PROBLEM, {}, "at least one leaf"),
        (PROBLEM, {"rates": jnp.array([0.2, 0.1]), "scale": "large"}, "must be a number or an array"),
        (_changed(step=lambda s, t, k: s | {"x": s["x"].astype(jnp.bfloat16)}), THETA, "keep shapes and dtypes"),
        (_changed(step=lambda s, t, k: s | {"x": jnp.zeros(3)}), THETA, "keep shapes and dtypes"),
        (_changed(step=lambda s, t, k: s["x"]), THETA, "structure"),
        (_changed(loss=lambda s, t, k: s["x"]), THETA, "one real floating-point scalar"),
        (_changed(loss=lambda s, t, k: jnp.array(1)), THETA, "one real floating-point scalar"),
        (_changed(loss=lambda s, t, k: s["nothing"]), THETA, "could not be traced"),
        (_changed(init=lambda t: t), THETA, "init"),
    ],
)
def test_an_invalid_problem_raises_a_clear_error(problem, theta, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        backprop(problem, TRUNCATION).init(theta, jax.random.key(0))


def test_an_old_style_or_missing_key_raises_an_error():
    estimator = backprop(PROBLEM, TRUNCATION)
    with pytest.raises(TypeError, match="typed key"):
        estimator.init(THETA, 0)
    with pytest.raises(TypeError, match="one key"):
        estimator.init(THETA, jax.random.split(jax.random.key(0), 2))
