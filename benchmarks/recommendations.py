"""Measure how often the estimator that `ml.diagnose` recommends leads to the best descent.

    python -m benchmarks.recommendations [--problems NAME ...] [--points 30] [--seed 2] [--into FOLDER]

At random points of nine problems every candidate descends, with the same inner steps and the same step lengths. The
smoothed loss at the end is evaluated on held-out perturbations by a loop in this file. A choice is a hit if its mean
loss over repeated descents exceeds the lowest of all candidates by at most a tenth of the gain of the best descent, or
by at most two standard errors. Recommending nothing means to stay at the point. The evaluation shares no code with
`ml.diagnose`.

After every point, points.jsonl is written, and recommendations.json with one row for each problem. Points that are
already in the folder count and are not repeated.
"""

import argparse
import json
import pathlib
import time
from collections import Counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metalearn as ml
from benchmarks.results import read, write

PAIRS, UPDATES, HELD_OUT = 8, 12, 64  # pairs per update; updates; antithetic pairs for evaluating a loss
STEP = 0.5  # the length of the first step in σ; the lengths decrease linearly
MARGIN, ERRORS = 0.1, 2.0
NOTHING = "none of them"


class Setting(NamedTuple):
    """A problem, its truncation and σ, the box from which points are drawn, and the repetitions of each descent."""

    problem: ml.InnerProblem
    truncation: ml.Truncation
    sigma: float
    low: tuple[float, ...] | float
    high: tuple[float, ...] | float
    repeats: int = 16


def ridge():
    """Build ridge regression on forty noisy examples of twenty features, half of which are relevant."""
    random = np.random.default_rng(5)
    inputs = random.normal(size=(80, 20)) / np.sqrt(20)
    targets = inputs @ np.where(np.arange(20) < 10, 1.0, 0.0) + 0.5 * random.normal(size=80)
    return ml.problems.l2_tuning(inputs[:40], targets[:40], inputs[40:], targets[40:], learning_rate=0.08)


def small_network():
    """Train a 4-8-1 network on 16 points by SGD with momentum: θ is the log rate and the logit of the momentum."""
    random = np.random.default_rng(6)
    inputs, targets = (jnp.asarray(random.normal(size=(rows, 16)), jnp.float32) for rows in (4, 1))
    data = ml.data.Data(inputs, targets)
    optimizer = lambda theta: optax.sgd(jnp.exp(theta[0]), jax.nn.sigmoid(theta[1]))
    return ml.training(ml.regression(ml.mlp((4, 8, 1), "tanh"), data), optimizer)


def squared(problem):
    """Replace the loss by x², capped at 4: the cubic loss falls to −∞ if it diverges, which a cap does not bound."""
    return ml.saturate(problem._replace(loss=lambda x, theta, key: jnp.square(x)), 4.0)


PROBLEMS = {
    "phase walk": lambda: Setting(ml.problems.phase_walk(), ml.Truncation(20, 5), 0.1, -0.6, 0.6),
    "influence balancing": lambda: Setting(ml.problems.influence_balancing(), ml.Truncation(100, 10), 0.1, -1.0, 1.0),
    "noisy linear": lambda: Setting(
        ml.problems.noisy_linear_quadratic(target=1.0, noise=1.0), ml.Truncation(20, 4), 0.1, (-0.5,) * 10, (0.7,) * 10
    ),
    "l2 tuning": lambda: Setting(ridge(), ml.Truncation(50, 5), 0.3, -4.0, 1.5),
    "cubic loss": lambda: Setting(
        squared(ml.problems.cubic_loss(log_learning_rate=True)), ml.Truncation(40, 8), 0.03, -1.0, 1.07
    ),
    "double well": lambda: Setting(
        ml.saturate(ml.problems.double_well(log_learning_rate=True), 2.0), ml.Truncation(40, 8), 0.05, -2.0, 0.68
    ),
    "Lorenz": lambda: Setting(
        ml.saturate(ml.problems.lorenz(noise=0.1), 2500.0), ml.Truncation(400, 40), 0.05, (1.8, 2.8), (2.8, 3.8)
    ),
    "momentum": lambda: Setting(small_network(), ml.Truncation(60, 10), 0.1, (-4.0, -1.0), (1.5, 3.0)),
    "digits": lambda: Setting(
        ml.problems.digits_training(40, hidden=8, batch_size=16), ml.Truncation(40, 8), 0.1, (-2.0, -3.0), (1.5, 1.5), 8
    ),
}


def candidates(problem, truncation, sigma):
    """Return the candidates, all with the same number of inner steps per episode."""
    whole = ml.Truncation(truncation.horizon, truncation.horizon)
    return {
        "NRES": ml.noise_reuse_es(problem, truncation, sigma=sigma, num_pairs=PAIRS),
        "PES": ml.persistent_es(problem, truncation, sigma=sigma, num_pairs=PAIRS),
        "truncated ES": ml.evolution_strategies(problem, truncation, sigma=sigma, num_pairs=PAIRS),
        "perturbed backprop": ml.backprop(problem, whole, sigma=sigma, num_particles=2 * PAIRS),
        "perturbed truncated backprop": ml.backprop(problem, truncation, sigma=sigma, num_particles=2 * PAIRS),
    }


def descent(estimator, sigma):
    """Return `(theta, key) -> theta`, which takes steps of given lengths against the gradient of one episode each."""
    windows = estimator.description.truncation.num_windows

    def update(theta, step):
        key, length = step
        start, *keys = jax.random.split(key, windows + 1)

        def window(state, key):
            gradient, state, _ = estimator.estimate(theta, state, key)
            return state, gradient

        gradient = jnp.mean(jax.lax.scan(window, estimator.init(theta, start), jnp.stack(keys))[1], axis=0)
        size = jnp.linalg.norm(gradient)
        usable = jnp.isfinite(size) & (size > 0)
        return theta - jnp.where(usable, length / jnp.where(usable, size, 1.0), 0.0) * jnp.where(
            usable, gradient, 0.0
        ), None

    lengths = STEP * sigma * (1 - jnp.arange(UPDATES) / UPDATES)
    return lambda theta, key: jax.lax.scan(update, theta, (jax.random.split(key, UPDATES), lengths))[0]


def smoothed_loss(problem, horizon, sigma):
    """Return `(theta, key) -> L_σ(θ)`, the mean over antithetic pairs of episodes, with a plain loop over the map."""

    def episode(theta, key):
        def step(state, key):
            move, look = jax.random.split(key)
            state = problem.step(state, theta, move)
            return state, problem.loss(state, theta, look)

        first, rest = jax.random.split(key)
        return jnp.mean(jax.lax.scan(step, problem.init(theta, first), jax.random.split(rest, horizon))[1])

    def loss(theta, key):
        noise, runs = jax.random.split(key)
        shifts = sigma * jax.random.normal(noise, (HELD_OUT, *theta.shape), theta.dtype)
        places, keys = jnp.concatenate([theta + shifts, theta - shifts]), jax.random.split(runs, HELD_OUT)
        return jnp.mean(jax.vmap(episode)(places, jnp.concatenate([keys, keys])))

    return loss


def build_judge(setting):
    """Return `(theta, key) -> (loss at θ, {candidate: final losses [repeats]})`; each program is compiled once."""
    problem, truncation, sigma = setting[:3]
    loss = ml.jit(smoothed_loss(problem, truncation.horizon, sigma), "the smoothed loss", calls=100)
    descents = {
        name: ml.jit(jax.vmap(descent(one, sigma), (None, 0)), f"descents by {name}", calls=30)
        for name, one in candidates(problem, truncation, sigma).items()
    }

    def judge(theta, key):
        held_out, descend = jax.random.split(key)
        losses = {}
        for index, (name, one) in enumerate(descents.items()):
            ends = one(theta, jax.random.split(jax.random.fold_in(descend, index), setting.repeats))
            losses[name] = np.array([loss(end, held_out) for end in ends])
        return float(loss(theta, held_out)), losses

    return judge


def find_hits(start, losses):
    """Return which choices are hits, and the mean losses; `losses` maps names to those of repeated descents."""
    losses = {name: np.asarray(values, np.float64) for name, values in losses.items()}
    means = {name: float(np.mean(values)) for name, values in losses.items()} | {NOTHING: start}
    errors = {name: float(np.std(values, ddof=1) / np.sqrt(len(values))) for name, values in losses.items()}
    errors |= {NOTHING: 0.0}
    best = min(means, key=means.__getitem__)
    allowed = lambda name: max(MARGIN * (start - means[best]), ERRORS * float(np.hypot(errors[name], errors[best])))
    return {name: means[name] - means[best] <= allowed(name) for name in means}, means


def summarize_pilot(report):
    """Return bias and signal-to-noise ratio per inner step with their errors."""
    bias, signal = report.bias, report.signal_to_noise_per_step
    return [bias.value, bias.error, signal.value, signal.error, report.signal_to_noise.value]


def measure_points(name, count, seed, known):
    """Yield one dictionary for each point of a problem that is not among the known ones."""
    setting, random = PROBLEMS[name](), np.random.default_rng((seed, list(PROBLEMS).index(name)))
    judge = build_judge(setting)
    for index in range(count):
        theta, began = jnp.asarray(random.uniform(setting.low, setting.high), jnp.float32), time.process_time()
        if (seed, index) in known:
            continue
        apart = jax.random.fold_in(jax.random.key(seed), index)
        card = ml.diagnose(setting.problem, theta, setting.sigma, setting.truncation, jax.random.fold_in(apart, 0))
        hits, means = find_hits(*judge(theta, jax.random.fold_in(apart, 1)))
        yield {
            "problem": name,
            "seed": seed,
            "index": index,
            "theta": np.asarray(theta).tolist(),
            "recommended": card.recommendation.method,
            "reason": card.recommendation.reason,
            "hit": hits[card.recommendation.method],
            "hits": hits,
            "losses": means,
            "kappa": card.kappa,
            "pilot": {report.name: summarize_pilot(report) for report in card.comparison.reports},
            "seconds": time.process_time() - began,
        }


def count_hits(points):
    """Count the hits of a problem. A point matters if some candidate is not a hit."""
    matter = [point for point in points if not all(hit for name, hit in point["hits"].items() if name != NOTHING)]
    return {
        "problem": points[0]["problem"],
        "points": len(points),
        "hits": sum(point["hit"] for point in points),
        "points that matter": len(matter),
        "hits that matter": sum(point["hit"] for point in matter),
        "recommended": dict(Counter(point["recommended"] for point in points)),
        "hits of one for all": {name: sum(point["hits"][name] for point in points) for name in points[0]["hits"]},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--points", type=int, default=30)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path("runs"))
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    ml.cache_programs()
    path, lines = arguments.into / "recommendations.json", arguments.into / "points.jsonl"
    rows = {row["problem"]: row for row in (read(path) if path.exists() else [])}
    everything = [json.loads(line) for line in lines.read_text().splitlines()] if lines.exists() else []
    for name in arguments.problems:
        points = [point for point in everything if point["problem"] == name]
        known = {(point["seed"], point["index"]) for point in points}
        for point in measure_points(name, arguments.points, arguments.seed, known):
            points.append(point)
            with lines.open("a") as file:
                file.write(json.dumps(point) + "\n")
            rows[name] = count_hits(points)
            write(path, rows.values())
        print(rows[name], f"{sum(point['seconds'] for point in points):.0f} s of processor time", flush=True)


if __name__ == "__main__":
    main()
