"""Problems in which the world reacts: estimators against exact targets, update rules, and the game of two predictors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.estimators import backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.inner.problems import expected_score
from metalearn.inner.unroll import Truncation
from tests.estimators import twins
from tests.estimators.sampling import QUICK, blank
from tests.statistics import rejects, within

INSTANCES = np.array(  # θ, σ, position, threshold, harm, slope, move
    [
        (1.35, 0.4, 0.2, 0.9, 1.7, -0.35, 0.25),
        (-0.6, 0.7, -1.1, 0.8, -0.9, 0.4, 0.45),
        (0.58, 0.3, 0.1, 0.6, 1.2, -0.3, -0.2),  # an action moves the agent away: it stops in the middle
    ],
    np.float32,
)


def episodes(build, instances, count, *, num_samples=60_000, seed=5):
    """Sample the mean over the windows of episodes, `[num_instances, num_samples]`, with one program for all instances.

    Args:
      build: `instance -> estimator`; the first number of an instance is θ.
      instances: an array `[num_instances, ...]`.
      count: windows of an episode.
    """

    def one(instance, keys):
        estimator = build(instance)
        start = blank(estimator, instance[0])

        def window(state, key):
            gradient, after, _ = estimator.estimate(instance[0], state, key)
            return after, gradient

        return jax.vmap(lambda keys: jax.lax.scan(window, start, keys)[1].mean())(keys)

    keys = jax.random.split(jax.random.key(seed), (len(instances), num_samples, count))
    return np.asarray(jax.jit(jax.vmap(one), compiler_options=QUICK)(jnp.asarray(instances), keys))


def test_the_sign_of_the_single_shot_gradient_comes_from_the_jump_which_backprop_ignores():
    shot, whole = lambda case: ml.problems.performative(*case[2:6]), Truncation(1, 1)
    cases = np.array([(0.4, 0.6, 0.3, 0.7, 1.4, -0.25), (1.2, 0.35, 0.3, 0.7, 1.4, -0.25)], np.float32)
    smooth = lambda case: evolution_strategies(shot(case), whole, sigma=case[1], num_pairs=1)
    found = episodes(smooth, cases, 1, num_samples=100_000)
    held = episodes(lambda case: backprop(shot(case), whole), cases, 1, num_samples=2)
    np.testing.assert_allclose(held, 0.25, rtol=1e-6)
    for (theta, sigma, position, threshold, harm, slope), samples in zip(cases.tolist(), found):
        exact = ml.problems.performative_gradient(theta, sigma, position, threshold, harm, slope)
        assert exact < 0
        assert within(samples, exact, k=4, twin=0.5 - exact)  # the twin has the jump with the wrong sign
        assert rejects(samples, 0.25)


def test_each_family_has_its_own_exact_target_on_the_sequential_problem():
    world, cut = lambda case: ml.problems.performative(*case[2:6], move=case[6]), Truncation(6, 2)
    families = {"truncated ES": evolution_strategies, "PES": persistent_es, "NRES": noise_reuse_es}
    build = {
        name: lambda case, family=family: family(world(case), cut, sigma=case[1], num_pairs=1)
        for name, family in families.items()
    } | {"twin": lambda case: twins.without_accumulator(world(case), cut, sigma=case[1])}
    found = {name: episodes(one, INSTANCES, 3) for name, one in build.items()}
    held = episodes(lambda case: backprop(world(case), cut), INSTANCES, 3, num_samples=2)
    for index, case in enumerate(INSTANCES.tolist()):
        exact = ml.problems.performative_targets(*case[:2], 6, 2, *case[2:6], move=case[6])
        np.testing.assert_allclose(held[index], exact["backprop"], rtol=1e-5)
        for name in families:
            assert within(found[name][index], exact[name], k=4, twin=2 * exact["backprop"] - exact[name]), name
            assert rejects(found[name][index], exact["backprop"])
        assert rejects(found["twin"][index], exact["PES"])


def test_the_exact_targets_equal_derivatives_of_smoothed_losses():
    """By quadrature for NRES, and for PES of two windows by a double integral on a grid."""
    theta, sigma, settings = 0.9, 0.5, (0.0, 1.0, 1.3, -0.2)
    z = np.linspace(-7, 7, 1401)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()

    def actions(first, second):
        place, count = np.zeros(np.broadcast(first, second).shape), 0
        for phi in (first, first, second, second):
            acts = phi - place < 1.0
            place, count = place + 0.3 * acts, count + acts
        return count / 4

    exact = ml.problems.performative_targets(theta, sigma, 4, 2, *settings, move=0.3)
    reach, slope = theta + sigma * z, z * weight / sigma
    once = 1.3 * slope @ actions(reach, reach) + 0.2
    blocks = actions(reach[:, None], reach[None])
    twice = 1.3 * (slope @ blocks @ weight + weight @ blocks @ slope) + 0.2
    np.testing.assert_allclose([once, twice], [exact["NRES"], exact["PES"]], rtol=0.02)
    assert abs(exact["NRES"] / exact["PES"] - 1) > 0.005


BIAS, FEEDBACK = 0.12, 0.35
STABLE, OPTIMAL = BIAS / (1 - FEEDBACK), BIAS / (1 - 2 * FEEDBACK)


@pytest.mark.parametrize(
    ("rule", "end", "rate"),
    [
        ("retraining", STABLE, FEEDBACK),
        ("gradient", STABLE, 1 - 0.6 * (1 - FEEDBACK)),
        ("full", OPTIMAL, 1 - 0.6 * (1 - 2 * FEEDBACK)),
    ],
)
def test_two_rules_converge_to_the_stable_point_and_one_to_the_optimum(rule, end, rate):
    problem, eta, key = (
        ml.problems.redeployment(rule, start=0.9, bias=BIAS, feedback=FEEDBACK),
        jnp.array(0.3),
        jax.random.key(0),
    )
    last, losses = ml.unroll(problem, problem.init(eta, key), eta, key, 120)
    np.testing.assert_allclose(last, end, rtol=1e-5)
    np.testing.assert_allclose(losses[-1], 0.25 - 2 * end * BIAS + (1 - 2 * FEEDBACK) * end**2, rtol=1e-5)
    assert losses[-1] > 0.25 - BIAS * OPTIMAL + 1e-3 or rule == "full"
    first, _ = ml.unroll(problem, problem.init(eta, key), eta, key, 1)
    np.testing.assert_allclose((first - end) / (0.9 - end), rate, rtol=1e-4)


def test_backprop_ignores_the_reaction_of_the_world_and_evolution_strategies_include_it():
    problem, whole = ml.problems.coin_flip(BIAS, FEEDBACK), Truncation(1, 1)
    held = lambda at: 2 * (1 - FEEDBACK) * (at - STABLE)
    full = lambda at: 2 * (1 - 2 * FEEDBACK) * (at - OPTIMAL)
    cases = np.array([[0.05], [0.3]], np.float32)
    found = episodes(lambda case: backprop(problem, whole), cases, 1, num_samples=200_000)
    smoothed = episodes(
        lambda case: evolution_strategies(problem, whole, sigma=0.2, num_pairs=1), cases, 1, num_samples=200_000
    )
    for index, (theta,) in enumerate(cases.tolist()):
        assert within(found[index], held(theta), k=4, twin=full(theta))
        assert within(smoothed[index], full(theta), k=4, twin=held(theta))


@pytest.mark.parametrize("score", ["brier", "log"])
def test_honest_reports_are_optimal_without_a_reaction_and_in_the_zero_sum_game(score):
    reports = np.linspace(0.01, 0.99, 981)
    belief = 0.37
    assert abs(reports[np.argmax(expected_score(score, reports, belief))] - belief) < 2e-3
    bias, feedback = 0.25, 0.3
    honest, best = bias / (1 - feedback), (bias - feedback / 2) / (1 - 2 * feedback)
    alone = reports[np.argmax(expected_score(score, reports, bias + feedback * reports))]
    assert abs(alone - best) < 2e-3 if score == "brier" else alone < honest - 0.05
    slope = lambda problem, p: jax.grad(lambda t: ml.meta_loss(problem, t, jax.random.key(0), 1))(jnp.log(p / (1 - p)))
    told = ml.problems.prediction_game(score, bias=bias, feedback=feedback, zero_sum=False)
    game = ml.problems.prediction_game(score, bias=bias, feedback=feedback)
    np.testing.assert_allclose(slope(game, honest), 0, atol=1e-6)
    np.testing.assert_allclose(slope(told, alone), 0, atol=1e-3)
    assert slope(told, honest) > 0.01  # descent moves the report below the honest one


def test_self_play_with_evolution_strategies_needs_separate_weights_for_the_rival():
    import optax

    game, whole, key = ml.problems.prediction_game("brier"), Truncation(1, 1), jax.random.key(1)
    estimator = evolution_strategies(game, whole, sigma=0.2, num_pairs=64)
    start = jnp.array(1.0)
    stopped = episodes(lambda case: estimator, np.ones((1, 1), np.float32), 1, num_samples=2)
    assert not stopped.any()  # the rival is perturbed with the player: no score differs
    theta, _ = ml.meta_train(
        estimator, optax.sgd(2.0), {"player": start, "rival": start}, key, 300, project=ml.problems.self_play
    )
    assert theta["player"] == theta["rival"]
    np.testing.assert_allclose(jax.nn.sigmoid(theta["player"]), 0.25 / 0.7, atol=0.02)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ml.problems.performative(threshold=np.inf), "threshold must be a finite number; inf was given"),
        (lambda: ml.problems.performative(move="far"), "move must be one real number"),
        (lambda: ml.problems.performative_gradient(0.0, 0.0), "sigma must be a number in (0, inf)"),
        (lambda: ml.problems.performative_targets(0.0, 0.5, 6, 4), "length must divide horizon"),
        (lambda: ml.problems.coin_flip(0.1, 0.5), "feedback must be a number in (-1, 0.5)"),
        (lambda: ml.problems.redeployment("descent"), "rule must be one of full, gradient, retraining"),
        (lambda: ml.problems.redeployment("full", response=lambda p: p["x"]), "response(prediction) cannot be computed"),
        (lambda: ml.problems.redeployment("full", response=lambda p: jnp.log(p)), "response must return a finite number"),
        (lambda: ml.problems.redeployment("full", response=lambda p: jnp.stack([p, p])), "shape (2,)"),
        (lambda: ml.problems.prediction_game("spherical"), "score must be one of brier, log"),
        (lambda: ml.problems.prediction_game(response=lambda p: 2 * p), "a finite number in [0, 1]; response(0.505"),
        (lambda: ml.problems.prediction_game(feedback=np.nan), "feedback must be a finite number"),
        (lambda: ml.problems.prediction_game(response=0.3), "response must be a function"),
    ],
)  # fmt: skip
def test_invalid_arguments_raise_a_clear_error(make, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert words in str(caught.value)
    assert str(caught.value).endswith(".")
