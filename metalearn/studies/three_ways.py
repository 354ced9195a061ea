"""Measurements of `experiments/three_ways.py`: backprop, a policy gradient, a genetic algorithm and CMA-ES on one loss.

The network is one neuron, f(x) = sin(w_1 x + w_2), and its data are those of another such neuron. The loss has local
minima in w_1, because a wrong frequency fits only a part of the data.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.compilation import jit
from metalearn.estimators import backprop
from metalearn.inner.problem import InnerProblem
from metalearn.inner.score_function import score_function
from metalearn.inner.unroll import Truncation, meta_loss
from metalearn.intervals import share_interval
from metalearn.outer import meta_train
from metalearn.outer.search.evolve import evolve

INPUTS = np.linspace(-2, 2, 24).astype(np.float32)
TARGET = (4.0, 0.5)  # the weights of the neuron that made the data
CHOICES, NOISE = 8, 0.3  # choices of a policy per estimate, and the standard deviation of those that are normal
TRAINED = 25  # steps of the inner training whose hyperparameters are tuned
LONGER = 4  # a run takes this many times its evaluations, for the comparison at equal time
KEPT = 120  # steps of a run that are kept, besides its start
METHODS = {"backprop": None, "policy gradient": None, "genetic algorithm": "genetic", "CMA-ES": "cma_es"}


class Contest(NamedTuple):
    """One loss of two numbers θ.

    Attributes:
      problem: the loss, as an inner problem of `horizon` steps.
      policy: the same with choices, whose loss has the derivative of `score_function`.
      horizon: the number of steps of `problem`.
      cost: the number of evaluations of a step of backprop, and of a step of the policy gradient.
      box: the corners (low, high) between which starts are drawn.
      names: the names of the two numbers.
      solved: the loss below which a run counts as solved; None for 1.2 times the smallest on the grid of `surface`.
    """

    problem: InnerProblem
    policy: InnerProblem
    horizon: int
    cost: tuple[int, int]
    box: tuple[tuple[float, float], tuple[float, float]]
    names: tuple[str, str]
    solved: float | None


def neuron(theta):
    """Return the outputs of the neuron for all inputs."""
    return jnp.sin(theta[0] * INPUTS + theta[1])


def at_once(loss: Callable[..., Any]) -> InnerProblem:
    """Convert a loss of θ and a key to an inner problem of one step."""
    return InnerProblem(
        lambda theta, key: jnp.zeros(()), lambda state, theta, key: state, lambda _, theta, key: loss(theta, key)
    )


def normal_choices(mean, key):
    """Draw independent normal choices around a mean, and return them with the logarithms of their densities."""
    choices = jax.lax.stop_gradient(mean[None] + NOISE * jax.random.normal(key, (CHOICES, *mean.shape)))
    return choices, -jnp.square((choices - mean[None]) / NOISE) / 2


def contests() -> dict[str, Contest]:
    """Return the contests: regression (with a gradient), decisions (without one), and hyperparameters of training."""
    target, (low, high) = neuron(jnp.array(TARGET)), ((0.0, -np.pi), (8.0, np.pi))

    def regression(theta, key):
        return jnp.mean(jnp.square(neuron(theta) - target))

    def sampled_outputs(theta, key):
        outputs, log_density = normal_choices(neuron(theta), key)
        return score_function(jnp.square(outputs - target[None]), log_density)

    def decisions(theta, key):
        return jnp.mean((neuron(theta) > 0) != (target > 0), dtype=theta.dtype)

    def sampled_decisions(theta, key):
        logits = jnp.broadcast_to(4 * neuron(theta), (CHOICES, len(INPUTS)))
        chosen = jax.random.bernoulli(key, jax.nn.sigmoid(logits))
        log_probability = jax.nn.log_sigmoid(jnp.where(chosen, logits, -logits))
        return score_function(jnp.asarray(chosen != (target > 0)[None], theta.dtype), log_probability)

    training = inner_training(regression)
    wait = lambda theta, key: meta_loss(training, theta, key, TRAINED)

    def sampled_trainings(theta, key):
        tried, log_density = normal_choices(theta, key)
        return score_function(jax.vmap(wait, (0, None))(tried, key), jnp.sum(log_density, axis=1))

    weights, tuned = ("frequency $w_1$", "phase $w_2$"), ("log₁₀ learning rate", "logit of the momentum")
    both = {"horizon": 1, "cost": (3, CHOICES + 2), "box": (low, high), "names": weights, "solved": 0.05}
    return {
        "regression": Contest(at_once(regression), at_once(sampled_outputs), **both),
        "decisions": Contest(at_once(decisions), at_once(sampled_decisions), **both),
        "hyperparameters": Contest(
            training, at_once(sampled_trainings), TRAINED, (3, CHOICES), ((-2.0, -4.0), (1.5, 4.0)), tuned, None
        ),
    }


def inner_training(loss) -> InnerProblem:
    """Return the training of the neuron with momentum from 8 starts; θ is the rate and the momentum."""
    starts = np.array(TARGET) + np.random.default_rng(0).uniform(-1.5, 1.5, (8, 2))

    def init(theta, key):
        weights = jnp.asarray(starts, theta.dtype)
        return weights, jnp.zeros_like(weights)

    def step(state, theta, key):
        weights, velocity = state
        gradients = jax.vmap(jax.grad(loss), (0, None))(weights, key)
        velocity = jax.nn.sigmoid(theta[1]) * velocity - 10.0 ** theta[0] * gradients
        return weights + velocity, velocity

    return InnerProblem(init, step, lambda state, theta, key: jnp.mean(jax.vmap(loss, (0, None))(state[0], key)))


def surface(contest: Contest, resolution: int) -> dict[str, np.ndarray]:
    """Return the loss on a grid of the box."""
    (left, bottom), (right, top) = contest.box
    x, y = np.linspace(left, right, resolution), np.linspace(bottom, top, resolution)
    grid = jnp.stack(jnp.meshgrid(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)), axis=-1)
    return {
        "x": x,
        "y": y,
        "loss": np.asarray(jit(lambda grid: jax.lax.map(jax.vmap(make_loss(contest)), grid), "surface", 1)(grid)),
    }


def make_loss(contest: Contest):
    return lambda theta: meta_loss(contest.problem, theta, jax.random.key(0), contest.horizon)


def compete(contest: Contest, method: str, key, seeds: int, evaluations: int, settings) -> dict[str, Any]:
    """Run a method from random starts, which are the same for every method.

    Args:
      contest, method, key, seeds: the loss, the name of the method, and random starts.
      evaluations: the number of evaluations of a run; the run continues to `LONGER` times as many.
      settings: `learning_rate` of Adam, `sigma` and `population` of the searches.

    Returns:
      `theta` `[seeds, steps, 2]`, the result of the method at this step: the θ of a descent, or the best member so far
      of a search; its `loss`; `evaluations` and `seconds` `[steps]`, of one run, in processor time without compilation.
    """
    low, high = (jnp.asarray(corner, jnp.float32) for corner in contest.box)
    starts = jax.random.uniform(key, (seeds, 2), minval=low, maxval=high)
    keys = jax.random.split(jax.random.fold_in(key, 1), seeds)
    cost, run = (_search if METHODS[method] else _descent)(contest, method, LONGER * evaluations, settings)
    program = jit(jax.vmap(run), method, calls=2)
    jax.block_until_ready(program(starts, keys))
    began = time.process_time()  # other programs on the machine do not count
    path = jax.block_until_ready(program(starts, keys))
    seconds = (time.process_time() - began) / seeds
    kept = np.unique(np.round(np.linspace(0, path.shape[1], KEPT + 1)).astype(int))
    path = jnp.concatenate([starts[:, None], path], axis=1)[:, kept]
    loss = jit(jax.vmap(jax.vmap(make_loss(contest))), "losses along the way", calls=1)(path)
    return {"theta": path, "loss": loss, "evaluations": cost * kept, "seconds": seconds * kept / kept[-1]}


def _descent(contest, method, evaluations, settings):
    """Return the evaluations of one step of Adam, and a function that returns the θ after each step."""
    whole = method == "backprop"
    cost = contest.cost[0 if whole else 1]
    problem, horizon = (contest.problem, contest.horizon) if whole else (contest.policy, 1)
    estimator, outer = backprop(problem, Truncation(horizon, horizon)), optax.adam(settings["learning_rate"])
    steps = max(evaluations // cost, 1)

    def run(start, key):
        theta, history = meta_train(estimator, outer, start, key, steps)
        return jnp.concatenate([history.theta[1:], theta[None]])

    return cost, run


def _search(contest, method, evaluations, settings):
    """Return the evaluations of one generation, and a function that returns the best members after each generation."""
    loss, size = make_loss(contest), settings["population"]
    how = {"population_size": size, "sigma": settings["sigma"]}

    def run(start, key):
        evaluate: Any = lambda theta, key: loss(theta)
        _, trials = evolve(evaluate, METHODS[method], start, key, max(evaluations // size, 1), **how)
        seen: Any = jnp.where(jnp.isfinite(trials.loss), trials.loss, jnp.inf)
        better = lambda one, other: jnp.where(seen[other] < seen[one], other, one)
        best = jax.lax.associative_scan(better, jnp.arange(len(seen)))
        return trials.theta[best[size - 1 :: size]]

    return size, run


def judged(runs: dict[str, dict[str, Any]], solved: float, evaluations: int) -> list[dict[str, Any]]:
    """Return a row for each method at equal evaluations, and one at equal time, which is that of the slowest method.

    "solved" is the fraction of solved runs, from "solved_low" to "solved_high" with 95 % confidence (Wilson).
    """
    at_equal = {name: int(np.searchsorted(run["evaluations"], evaluations, "right")) - 1 for name, run in runs.items()}
    most = max(run["seconds"][at_equal[name]] for name, run in runs.items())
    at_time = {name: max(int(np.searchsorted(run["seconds"], most, "right")) - 1, 0) for name, run in runs.items()}
    rows = []
    for kind, places in (("evaluations", at_equal), ("time", at_time)):
        for name, place in places.items():
            run = runs[name]
            ends = np.asarray(run["loss"])[:, place].astype(float)
            low, middle, high = np.quantile(ends, (0.25, 0.5, 0.75))
            successes = int(np.sum(ends < solved))
            least, most_solved = share_interval(successes, len(ends))
            rows.append({"equal": kind, "method": name, "evaluations": int(run["evaluations"][place]),
                         "milliseconds": 1e3 * float(run["seconds"][place]), "median": middle, "lower_quartile": low,
                         "upper_quartile": high, "solved": successes / len(ends),
                         "solved_low": least, "solved_high": most_solved})  # fmt: skip
    return rows
