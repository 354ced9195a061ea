"""Exact targets of worlds that react, against NumPy, for many instances; and what is refused in a sentence."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.special import ndtr, ndtri

import metalearn as ml
from metalearn.inner.problems import performative_targets

gradient, problem = ml.problems.performative_gradient, ml.problems.performative


def instances(seed, count, numbers):
    """Draw arguments: θ, σ, x, B, h, k and m; the harm is often negative, the slope sometimes 0, θ sometimes far."""
    random = np.random.default_rng(seed)
    for index in range(count):
        theta, place, threshold = random.normal(0, 1.5, 3) * (100 if index % 11 == 0 else 1, 1, 1)
        sigma, harm, slope, move = np.exp(random.normal(-0.7, 0.6)), *random.normal(0, (1.5, 0.5, 0.4))
        yield [float(x) for x in (theta, sigma, place, threshold, harm, slope * (index % 4 > 0), move)][:numbers]


def test_the_smoothed_gradient_is_the_derivative_of_the_smoothed_loss():
    for theta, sigma, place, threshold, harm, slope in instances(1, 200, 6):
        ends = theta + 1e-5 * sigma * np.array([-1, 1])
        below, above = harm * ndtr((place + threshold - ends) / sigma) - slope * ends
        by_difference = (above - below) / (2e-5 * sigma)
        found = gradient(theta, sigma, place, threshold, harm, slope)
        assert found == pytest.approx(by_difference, rel=1e-5, abs=1e-6 * (1 + abs(theta)))
        if abs(harm / sigma * (found + slope)) > 1e-3:
            assert gradient(theta, sigma, place, threshold, -harm, slope) != pytest.approx(by_difference, rel=1e-3)


def test_it_takes_arrays_lists_traced_numbers_and_tiny_sigmas():
    theta = np.random.default_rng(2).normal(size=(3, 4))
    each = np.reshape([gradient(float(one), 0.4, 0.1, 0.6, -1.2, 0.3) for one in theta.flat], (3, 4))
    for given in (theta, theta.tolist(), jnp.asarray(theta)):
        np.testing.assert_allclose(gradient(given, 0.4, 0.1, 0.6, -1.2, 0.3), each, rtol=1e-4)
    np.testing.assert_allclose(
        jax.vmap(lambda at: gradient(at, 0.4, 0.1, 0.6, -1.2, 0.3))(jnp.asarray(theta)), each, rtol=1e-4
    )
    for name, values in (("sigma", [0.2, 0.7]), ("harm", [-1.0, 2.0]), ("slope", [0.0, 1.0])):
        known = {"theta": 0.3, "sigma": 0.5, "position": 0.1, "threshold": 0.6, "harm": 1.1, "slope": -0.2}
        of = lambda one, known=known, name=name: gradient(**{**known, name: one})
        np.testing.assert_allclose(jax.jit(jax.vmap(of))(jnp.array(values)), [of(one) for one in values], rtol=1e-5)
    assert gradient(0.0, 1e-200) == gradient(1e300, 0.5) == gradient(np.float32(3), 1e-3) == pytest.approx(0.2)
    with jax.enable_x64(True):
        assert gradient(jnp.array(0.3), 0.5).dtype == jnp.float64
        assert gradient(0.3, 0.5) == pytest.approx(float(gradient(jnp.array(0.3), 0.5)), rel=1e-14)


def sums(theta, horizon, place, threshold, harm, slope, move):
    """Return the sum of losses of an episode for each column of θ, `[steps, samples]` or `[samples]`."""
    total = np.zeros(theta.shape[-1])
    for step in range(horizon):
        at = theta[step] if np.ndim(theta) == 2 else theta
        acts = at - place < threshold
        place, total = place + move * acts, total + harm * acts - slope * at
    return total


def test_the_target_of_nres_is_a_quadrature_of_the_episode():
    noise = ndtri((np.arange(200_000) + 0.5) / 200_000)
    for index, (theta, sigma, *world, move) in enumerate(instances(3, 30, 7)):
        length, windows = 1 + index % 3, 1 + index % 5
        exact = performative_targets(theta, sigma, length * windows, length, *world, move=move)
        total = sums(theta + sigma * noise, length * windows, *world, move)
        found = np.mean(noise * (total - total.mean())) / sigma / (length * windows)
        assert found == pytest.approx(exact["NRES"], abs=2e-3 * (1 + abs(world[2]) / sigma))
        assert exact["backprop"] == -world[3]
        with_one = performative_targets(theta, sigma, length, length, *world, move=move)
        assert with_one["PES"] == pytest.approx(with_one["NRES"], abs=1e-9)  # one window: no memory to lose


def test_the_targets_of_pes_and_truncated_es_are_means_of_samples():
    random = np.random.default_rng(4)
    for index, (theta, sigma, *world, move) in enumerate(instances(5, 12, 7)):
        theta, length, windows = world[0] + world[1] + 0.8 * sigma * np.sin(index), 1 + index % 3, 2 + index % 3
        exact = performative_targets(theta, sigma, length * windows, length, *world, move=move)
        noise = sigma * random.normal(size=(windows, 300_000))
        place, free, memory = np.full(noise.shape[1], world[0]), world[0], 0.0
        zeros = np.zeros(noise.shape[1])
        found = {"PES": zeros, "truncated ES": zeros}
        for one in noise:
            memory = memory + one
            here = sums(theta + one, length, place, *world[1:], move)
            fresh = sums(theta + one, length, np.full_like(one, free), *world[1:], move)
            found["PES"] = found["PES"] + memory * (here - here.mean()) / sigma**2
            found["truncated ES"] = found["truncated ES"] + one * (fresh - fresh.mean()) / sigma**2
            for _ in range(length):
                place = place + move * (theta + one - place < world[1])
                free = free + move * (theta - free < world[1])
        for name, samples in found.items():
            samples = samples / (length * windows)
            error = samples.std() / len(samples) ** 0.5
            assert abs(samples.mean() - exact[name]) < 5 * error, (index, name)
            assert abs(samples.mean() + exact[name] - 2 * exact["backprop"]) > 5 * error, "no power"


def test_the_numbers_of_the_trial_are_those_of_the_formulas():
    """Position 0, threshold 1, h = 1, k = −.2, σ = .5; T = 6, W = 2, an action moves by .3, losses are summed.

    The recursion of the trial gave −3.244 for PES at 1.5; 8 million samples in NumPy give −3.2498 ± .0023.
    """
    for theta, exact in ((0.8, -0.5365), (1.2, -0.5365), (0.0, 0.0920), (2.0, 0.0920)):
        assert gradient(theta, 0.5) == pytest.approx(exact, abs=5e-5)
    for theta, nres, pes in ((0.8, -3.219, -2.192), (1.5, -1.704, -3.251), (2.5, 1.147, 1.144)):
        found = {name: 6 * one for name, one in performative_targets(theta, 0.5, 6, 2, move=0.3).items()}
        assert (found["NRES"], found["PES"]) == (pytest.approx(nres, abs=2e-3), pytest.approx(pes, abs=2e-3))
        assert found["backprop"] == pytest.approx(1.2)


@pytest.mark.parametrize(("bias", "feedback"), [(1.0, -2.0), (-0.4, 0.45), (0.0, 0.2), (3.0, -0.9)])
def test_the_fixed_points_of_the_rules_for_any_coin(bias, feedback):
    for rule, end in {"retraining": 1 - feedback, "gradient": 1 - feedback, "full": 1 - 2 * feedback}.items():
        if rule == "retraining" and feedback <= -1:
            continue  # it does not converge, and is refused
        rounds = ml.problems.redeployment(rule, start=2.0, bias=bias, feedback=feedback)
        eta, key = jnp.array(0.1), jax.random.key(0)
        last, _ = ml.unroll(rounds, rounds.init(eta, key), eta, key, 800)
        assert float(last) == pytest.approx(bias / end, abs=1e-4)
        assert feedback == 0 or bias == 0 or abs(bias / (1 - feedback) - bias / (1 - 2 * feedback)) > 1e-3


def test_the_fixed_points_of_the_rules_for_a_smooth_response():
    response = lambda p, library=jnp: 0.3 + 0.4 * library.tanh(p)
    stable: Any = brentq(lambda p: response(p, np) - p, -3, 3)
    risk = lambda p: 0.25 - 2 * p * response(p, np) + p * p
    found: Any = minimize_scalar(risk, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    optimal = found.x
    assert optimal - stable > 0.2
    for rule, end in {"retraining": stable, "gradient": stable, "full": optimal}.items():
        rounds = ml.problems.redeployment(rule, start=0.9, response=response)
        eta, key = jnp.array(0.2), jax.random.key(0)
        assert float(ml.unroll(rounds, rounds.init(eta, key), eta, key, 300)[0]) == pytest.approx(end, abs=1e-4)


def test_numbers_of_numpy_keep_the_dtype_of_theta_and_integers_become_floats():
    world = problem(np.float64(0.1), np.float64(0.7), np.float32(-1.3), 0, move=np.float64(0.2))
    for wide in (False, True):
        with jax.enable_x64(wide):
            theta = jnp.float32(0.4)
            last, losses = ml.unroll(world, world.init(theta, jax.random.key(0)), theta, jax.random.key(0), 3)
            assert last.position.dtype == losses.dtype == jnp.float32
    assert float(problem(0.3, 0.9).init(1, jax.random.key(0)).action) == 1  # 1 − .3 < .9, in whole numbers not


KEY = jax.random.key(0)
GAME = {"player": jnp.ones(()), "rival": jnp.ones(())}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gradient("x", 0.5), "theta must be a real number or an array of real numbers; 'x' was given"),
        (lambda: gradient([[1], [1, 2]], 0.5), "theta must be a real number or an array"),
        (lambda: gradient(np.nan, 0.5), "theta must be finite"),
        (lambda: gradient(0.0, -1.0), "sigma must be a number in (0, inf); -1 was given"),
        (lambda: gradient(0.0, 0.5, harm=[1.0, 2.0]), "harm must be one real number; an array of shape (2,)"),
        (lambda: performative_targets([0.0, 1.0], 0.5, 4, 2), "theta must be one real number"),
        (lambda: jax.jit(lambda at: performative_targets(at, 0.5, 4, 2))(0.1), "needs known numbers"),
        (lambda: problem().init(jnp.ones(2), KEY), "theta must be one scalar"),
        (lambda: ml.problems.coin_flip(0.7), "bias must be a number in [-0.5, 0.5]; 0.7 was given"),
        (lambda: ml.problems.redeployment("full", feedback=0.7), "feedback must be a number in (-inf, 0.5)"),
        (lambda: ml.problems.redeployment("retraining", feedback=1), "feedback must be a number in (-1, 1)"),
        (lambda: ml.problems.redeployment("full", bias=0.1, response=lambda p: p), "or response, not both"),
        (lambda: ml.problems.prediction_game(feedback=0.1, response=lambda p: p), "or response, not both"),
        (lambda: ml.problems.prediction_game(zero_sum="no"), "zero_sum must be true or false"),
        (lambda: ml.problems.self_play({"player": 1.0}), "it has 'player'"),
        (lambda: ml.problems.self_play(jnp.ones(2)), 'theta must be a mapping with "player" and "rival"'),
        (lambda: ml.problems.prediction_game().loss(0.0, {"player": 1.0, "other": 1.0}, KEY), "it has 'player', 'other'"),
        (lambda: ml.problems.prediction_game(zero_sum=False).loss(0.0, GAME, KEY), "theta has a rival"),
    ],
)  # fmt: skip
def test_mistakes_are_sentences(make, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert words in str(caught.value)
    assert str(caught.value).endswith(".")
