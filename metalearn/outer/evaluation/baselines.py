"""Learning curves of optimisers on benchmarks, and baselines whose learning rates are swept for each benchmark."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn import trees
from metalearn.compilation import jit
from metalearn.inner.checks import check_choice, check_count
from metalearn.inner.derived import strided
from metalearn.inner.problem import check_key, split_episode
from metalearn.inner.training.benchmark import Benchmark
from metalearn.inner.training.minibatch_indices import read_network_state
from metalearn.inner.training.task import Task, metric_loss
from metalearn.inner.training.training import training
from metalearn.inner.unroll import unroll_episode
from metalearn.outer.evaluation.results import RATES, Curves
from metalearn.types import Key

SCHEDULES = ("constant", "linear")
CAP = 20.0  # larger losses, and losses that are not finite, are replaced by it
SWEEP_SEEDS = 4
STRIDE = 10  # steps between two evaluations on all validation data, each of which costs as much as several steps

BASELINES = {
    "SGD": lambda rate: optax.sgd(rate),
    "momentum": lambda rate: optax.sgd(rate, 0.9),
    "Adam": lambda rate: optax.adam(rate),
    "AdamW": lambda rate: optax.adamw(rate, weight_decay=1e-2),
}


def learning_curves(
    benchmark: Benchmark,
    optimizer: optax.GradientTransformation,
    key: Key,
    *,
    num_seeds: int = 8,
    task: Task | None = None,
) -> Curves:
    """Train the benchmark's network from several seeds, and evaluate all validation data every gcd(T, 10)-th step.

    Args:
      benchmark: the network and the data, trained for T steps.
      optimizer: an optax transformation, such as a learned optimiser at its θ.
      key: the randomness of all seeds: initialisation and minibatches.
      num_seeds: the number of trainings.
      task: the task to train on, if it is not the benchmark's own cross-entropy.

    Returns:
      The `Curves`.

    Raises:
      TypeError: `key` is not a typed key, `num_seeds` is not a whole number, or `optimizer` is not an optax
        transformation.
      ValueError: `num_seeds` is below 1, or two parts of the benchmark's data have an example in common.
    """
    check_key(key)
    check_count("num_seeds", num_seeds)
    benchmark.check()
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            f"optimizer must be an optax transformation, such as optax.adam(1e-3) or learned(theta); {optimizer!r} was given."
        )
    curves = jit(lambda keys: _curves(benchmark, optimizer, keys, task), "learning curves", calls=1)
    found = curves(jax.random.split(key, num_seeds))
    return _host(benchmark, *found)


def baseline_optimizer(benchmark: Benchmark, name: str, schedule: str, rate: Any) -> optax.GradientTransformation:
    """Build SGD, momentum (0.9), Adam or AdamW (weight decay 0.01), with a constant or linearly decaying rate."""
    _check_baseline(name, schedule)
    falling = lambda count: rate * jnp.maximum(1 - count / benchmark.num_steps, 0)
    return BASELINES[name](falling if schedule == "linear" else lambda count: rate)


def _check_baseline(name, schedule) -> None:
    check_choice("name", name, BASELINES)
    check_choice("schedule", schedule, SCHEDULES)


def swept_rate(benchmark: Benchmark, name: str, schedule: str, key: Key) -> float:
    """Return the learning rate with the smallest mean validation loss over four seeds, out of 13 rates.

    Args:
      benchmark: the network and the data.
      name: "SGD", "momentum", "Adam" or "AdamW".
      schedule: "constant" or "linear".
      key: the randomness of the seeds.

    Raises:
      TypeError: `key` is not a typed key.
      ValueError: `name` or `schedule` is unknown, or two parts of the benchmark's data have an example in common.
    """
    check_key(key)
    benchmark.check()
    _check_baseline(name, schedule)

    def score(rate):
        curves = _curves(benchmark, baseline_optimizer(benchmark, name, schedule, rate), keys, None)
        return jnp.mean(curves[0])

    keys = jax.random.split(key, SWEEP_SEEDS)
    sweep = jit(lambda rates: jax.lax.map(score, rates), f"a sweep of the rate of {name}", calls=1)
    scores = sweep(jnp.asarray(RATES, jnp.result_type(float)))
    return RATES[int(np.argmin(scores))]


def _curves(benchmark, optimizer, keys, task):
    """Return the capped validation losses `[num_seeds, T / stride]`, and the test losses, the test errors and whether
    each seed diverged, `[num_seeds]`.
    """
    task = benchmark.task() if task is None else task
    read = [metric_loss(benchmark.network, data) for data in (benchmark.validation, benchmark.test)]
    error = metric_loss(benchmark.network, benchmark.test, metric="error_rate")
    stride, nothing = math.gcd(benchmark.num_steps, STRIDE), jnp.zeros(())
    problem = strided(training(task, lambda theta: optimizer, read[0], cap=None), stride)
    capped = lambda losses: jnp.where(losses < CAP, losses, CAP)  # NaN is not smaller than the cap

    def one(key):
        _, steps = split_episode(key)
        state, losses = unroll_episode(problem, nothing, key, benchmark.num_steps // stride)
        at_end = state.params, steps, read_network_state(state.network_state)
        losses, test = capped(losses), capped(read[1](*at_end))
        diverged = ~trees.all_finite(state.params) | (losses[-1] >= CAP)
        return losses, test, error(*at_end), diverged

    return jax.vmap(one)(keys)


def _host(benchmark, validation, test_loss, test_error, diverged) -> Curves:
    validation, test_loss, test_error = (np.asarray(one, np.float64) for one in (validation, test_loss, test_error))
    steps = benchmark.num_steps // validation.shape[1] * np.arange(1, validation.shape[1] + 1)
    return Curves(steps, validation, test_loss, test_error, float(np.mean(diverged)))
