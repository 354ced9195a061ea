"""Measurements of `experiments/performative.py`: gradients, rounds of deployment, honest reports and a game.

Every function takes the configuration of the experiment, and a key, and returns arrays.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.compilation import jit
from metalearn.estimators import backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.inner.problems import (
    coin_flip,
    expected_score,
    performative,
    performative_gradient,
    performative_targets,
    prediction_game,
    redeployment,
    self_play,
)
from metalearn.inner.unroll import Truncation, unroll
from metalearn.outer import meta_train

SCORES = ("brier", "log")
GAMES = {"alone": False, "zero-sum": True}  # whether the score of a rival is subtracted
FINE = 161  # places of the lines of a figure
WHOLE = Truncation(1, 1)
CHOICE = {"low": 0.3, "high": 0.8, "limit": 0.6}  # a human who makes the event likely if it is predicted
REPORT_SIGMA = 0.5  # the standard deviation of the perturbations of a report, in logits


def coin(config, rule):
    return redeployment(rule, start=config.coin.start, bias=config.coin.bias, feedback=config.coin.feedback)


def build_game(config, score, **settings):
    return prediction_game(score, bias=config.game.bias, feedback=config.game.feedback, **settings)


def estimates(estimator, thetas, key, seeds, windows=1):
    """Return independent means over the windows of an episode, `[points, seeds]` for every leaf of θ."""

    def one(theta, key):
        start, steps = jax.random.split(key)

        def window(state, key):
            gradient, after, _ = estimator.estimate(theta, state, key)
            return after, gradient

        gradients = jax.lax.scan(window, estimator.init(theta, start), jax.random.split(steps, windows))[1]
        return jax.tree.map(jnp.mean, gradients)

    keys = jax.random.split(key, (len(jax.tree.leaves(thetas)[0]), seeds))
    return jit(jax.vmap(jax.vmap(one, (None, 0))), "estimates", calls=1)(thetas, keys)


def single_shot(config, key):
    """Measure backprop and ES on a single step, where PES and NRES equal ES, and compute their exact means."""
    world = {name: value for name, value in config.world.items() if name != "move"}
    problem, edge = performative(**world), world["position"] + world["threshold"]
    theta = np.linspace(edge - 4 * config.sigma, edge + 4 * config.sigma, config.points)
    methods = {
        "backprop": backprop(problem, WHOLE),
        "ES": evolution_strategies(problem, WHOLE, sigma=config.sigma, num_pairs=config.pairs),
    }

    def exact(at):
        smoothed = performative_gradient(at, config.sigma, **world)
        return {"backprop": np.full(len(at), -world["slope"]), "ES": smoothed}

    return measured(methods, exact, theta, jax.random.fold_in(key, 1), config.seeds)


def sequential(config, key):
    """Measure the four families on the sequential problem."""
    problem, cut = performative(**config.world), Truncation(config.horizon, config.length)
    edge, reach = config.world.position + config.world.threshold, config.world.move * config.horizon
    ends = edge + min(reach, 0) - 3 * config.sigma, edge + max(reach, 0) + 3 * config.sigma
    theta = np.linspace(*ends, config.points) + 1e-3  # not at the jumps, where truncated ES has no unique target
    families = {"truncated ES": evolution_strategies, "PES": persistent_es, "NRES": noise_reuse_es}
    methods = {"backprop": backprop(problem, cut)}
    methods |= {
        name: family(problem, cut, sigma=config.sigma, num_pairs=config.pairs) for name, family in families.items()
    }
    settings = config.sigma, config.horizon, config.length

    def exact(at):
        found = [performative_targets(float(one), *settings, **config.world) for one in at]
        return {name: np.array([one[name] for one in found]) for name in methods}

    return measured(methods, exact, theta, jax.random.fold_in(key, 2), config.seeds, cut.num_windows)


def measured(methods, exact, theta, key, seeds, windows=1):
    """Return samples of every method, and the exact means at the same places and on a finer grid."""
    places, fine = jnp.asarray(theta, jnp.float32), np.linspace(theta[0], theta[-1], FINE)
    found = {name: estimates(one, places, key, seeds, windows) for name, one in methods.items()}
    return {"theta": theta, "measured": found, "exact": exact(theta), "fine": fine, "line": exact(fine)}


def descents(estimator, optimizer, theta, keys, num_steps, project=None):
    """Return θ before every outer step of one training run for each key."""
    train = lambda key: meta_train(estimator, optimizer, theta, key, num_steps, project=project)[1].theta
    return jit(jax.vmap(train), "trainings", calls=1)(keys)


def redeployments(config, key):
    """Return predictions in the rounds of three rules, and in the descents of two estimators on samples of the coin."""
    eta, bias, feedback = jnp.array(config.coin.learning_rate), config.coin.bias, config.coin.feedback
    paths = {}
    for rule in ("retraining", "gradient", "full"):
        seen = coin(config, rule)._replace(loss=lambda state, theta, key: state)
        start = seen.init(eta, key)
        paths[rule] = np.append(start, unroll(seen, start, eta, key, min(config.outer_steps, 40))[1])
    problem, keys = coin_flip(bias, feedback), jax.random.split(jax.random.fold_in(key, 3), config.seeds)
    estimators = {
        "backprop": backprop(problem, WHOLE, num_particles=64),
        "ES": evolution_strategies(problem, WHOLE, sigma=0.2, num_pairs=64),
    }
    start, outer = jnp.array(config.coin.start), optax.sgd(config.coin.learning_rate / 5)
    trained = {name: descents(one, outer, start, keys, config.outer_steps) for name, one in estimators.items()}
    return {"rule": paths, "descent": trained, "stable": bias / (1 - feedback), "optimal": bias / (1 - 2 * feedback)}


def incentives(config):
    """Return expected scores of reports, alone and against an honest rival, and the best report for every feedback."""
    bias, feedback = config.game.bias, config.game.feedback
    report, honest = np.linspace(0.005, 0.995, 397), bias / (1 - feedback)
    kinds = {"belief": np.full_like(report, honest), "alone": bias + feedback * report}
    kinds["zero-sum"] = bias + feedback * (report + honest) / 2
    score = lambda name, p, r: np.asarray(expected_score(name, p, r))
    curves = {f"{name}, {kind}": score(name, report, r) for name in SCORES for kind, r in kinds.items()}
    for name in SCORES:
        curves[f"{name}, zero-sum"] = curves[f"{name}, zero-sum"] - score(name, honest, kinds["zero-sum"])
    feedbacks = np.linspace(-0.6, 0.45, 43)
    centred = lambda strength: 0.35 + strength * (report - 0.35)  # the honest report is 0.35 for every strength
    best = {name: [report[np.argmax(score(name, report, centred(one)))] for one in feedbacks] for name in SCORES}
    return {"report": report, "honest": honest, "score": curves, "feedback": feedbacks, "best": best, "belief": 0.35}


def human_choice(config, key):
    """Return the gradient of the Brier score with respect to the logit of a report, for a response that jumps."""
    low, high, limit = CHOICE.values()
    response = lambda p: jnp.where(p < limit, low, high)
    report = np.linspace(0.15, 0.9, config.points)
    theta = jnp.asarray(np.log(report / (1 - report)), jnp.float32)
    key, seeds, found = jax.random.fold_in(key, 4), config.seeds, {}
    for name, zero_sum in GAMES.items():
        problem = prediction_game("brier", response=response, zero_sum=zero_sum)
        smooth = evolution_strategies(problem, WHOLE, sigma=REPORT_SIGMA, num_pairs=config.pairs)
        gradient = estimates(smooth, {"player": theta, "rival": theta} if zero_sum else theta, key, seeds)
        found[f"backprop, {name}"] = -estimates(backprop(problem, WHOLE), theta, key, seeds)
        found[f"ES, {name}"] = -(gradient["player"] if zero_sum else gradient)

    def exact(at):
        held = 2 * (np.asarray(response(at)) - at) * at * (1 - at)
        smoothed = {f"ES, {name}": smoothed_score(response, at, zero_sum) for name, zero_sum in GAMES.items()}
        return {f"backprop, {name}": held for name in GAMES} | smoothed

    fine = np.linspace(report[0], report[-1], FINE)
    return {"theta": report, "measured": found, "exact": exact(report), "fine": fine, "line": exact(fine)}


def smoothed_score(response, report, zero_sum):
    """Return E[ε S / σ²] at the logit of a report, on a grid of the noise of the player and the rival."""
    points = 241 if zero_sum else 4001  # with two noises a jump is a curve in the grid, and its errors cancel
    z = np.linspace(-6, 6, points)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    score = lambda p, r: -(r * (1 - p) ** 2 + (1 - r) * p**2)
    found = []
    for at in np.log(report / (1 - report)):
        p = 1 / (1 + np.exp(-(at + REPORT_SIGMA * z)))[:, None]
        q = p.T if zero_sum else np.zeros((1, 1))
        r = np.asarray(response((p + q) / 2 if zero_sum else p))
        gain = score(p, r) - (score(q, r) if zero_sum else 0)
        found.append(z * weight @ (gain @ weight if zero_sum else gain[:, 0]) / REPORT_SIGMA)
    return np.array(found)


def self_plays(config, key):
    """Return the reports during training, alone and in the zero-sum game, with backprop and with ES."""
    start = jnp.asarray(np.log(config.game.start / (1 - config.game.start)), jnp.float32)
    keys, outer = jax.random.split(jax.random.fold_in(key, 5), config.seeds), optax.adam(config.game.learning_rate)
    found = {}
    for score in SCORES:
        for name, zero_sum in GAMES.items():
            problem = build_game(config, score, zero_sum=zero_sum)
            smooth = evolution_strategies(problem, WHOLE, sigma=0.1, num_pairs=64)
            both, project = ({"player": start, "rival": start}, self_play) if zero_sum else (start, None)
            held = descents(backprop(problem, WHOLE), outer, start, keys[:2], config.outer_steps)
            logits = descents(smooth, outer, both, keys, config.outer_steps, project)
            found[f"{score}, {name}, backprop"] = jax.nn.sigmoid(held)
            found[f"{score}, {name}, ES"] = jax.nn.sigmoid(logits["player"] if zero_sum else logits)
    return found
