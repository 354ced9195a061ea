"""How good an optimiser is: learning curves on benchmarks, beside baselines whose learning rates are swept for each."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn import trees
from metalearn.inner.benchmark import Benchmark
from metalearn.inner.checks import check_count
from metalearn.inner.derived import every
from metalearn.inner.problem import Key, check_key
from metalearn.inner.task import Task, evaluation
from metalearn.inner.training import training
from metalearn.inner.unroll import unroll
from metalearn.outer.judgement import Curves, Evaluation, Row
from metalearn.outer.report import Measured
from metalearn.outer.sampling import Progress

CAP = 20.0  # losses beyond it, and those that are not finite, read as it
RATES = tuple(10.0 ** (-4 + k / 3) for k in range(13))  # from 1e-4 to 1
SWEEP_SEEDS = 4
STRIDE = 10  # steps between two readings of all validation data, each as dear as several steps

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
    """Train the benchmark's network from several seeds and read all validation data after every tenth step (or as many
    as divide its number of steps).

    Args:
      benchmark: what is trained.
      optimizer: an optax transformation, such as a learned optimiser at its θ.
      key: of all seeds: start and minibatches.
      num_seeds: trainings.
      task: what is descended where it is not the benchmark's own cross-entropy.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
    """
    check_key(key)
    check_count("num_seeds", num_seeds)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(
            f"optimizer must be an optax transformation, such as optax.adam(1e-3) or learned(theta); {optimizer!r} was given."
        )
    found = jax.jit(lambda keys: _curves(benchmark, optimizer, keys, task))(jax.random.split(key, num_seeds))
    return _host(benchmark, *found)


def evaluate(
    optimizers: Mapping[str, Any],
    benchmarks: Mapping[str, Benchmark],
    key: Key,
    *,
    num_seeds: int = 8,
    baselines: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Judge optimisers on benchmarks, those they were tuned on and others, beside baselines tuned for each.

    A baseline's learning rate is swept on every benchmark over 13 values from 1e-4 to 1, constant and with linear decay
    to zero, with four seeds of its own, and chosen by the mean validation loss along the run. Those to be judged are
    not tuned again. All see the same fresh seeds.

    Args:
      optimizers: name -> optax transformation, or (transformation, Task) where more than the optimiser was tuned; for
        one that depends on the benchmark (its number of steps, its network) a function of the benchmark that returns
        either.
      benchmarks: name -> benchmark.
      key: of all seeds.
      num_seeds: trainings of each.
      baselines: False to leave them out.
      progress: called as `progress("evaluation", done, total)`.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
    """
    _check(optimizers, benchmarks, key, num_seeds)
    rows, total = [], len(benchmarks) * (len(optimizers) + 2 * len(BASELINES) * baselines)
    key_sweep, key_seeds = jax.random.split(key)
    done = 0
    for name, benchmark in benchmarks.items():
        entries = {}
        for baseline in BASELINES if baselines else ():
            for schedule in ("constant", "linear"):
                rate = swept_rate(benchmark, baseline, schedule, key_sweep)
                entries[f"{baseline}, {schedule}"] = (baseline_optimizer(benchmark, baseline, schedule, rate), rate)
        entries |= {label: (optimizer, float("nan")) for label, optimizer in optimizers.items()}
        found = {}
        for label, (optimizer, rate) in entries.items():
            transformation, task = _at(optimizer, benchmark)
            curves = learning_curves(benchmark, transformation, key_seeds, num_seeds=num_seeds, task=task)
            found[label] = _row(name, label, rate, curves)
            done += 1
            if progress is not None:
                progress("evaluation", done, total)
        rows += [dataclasses.replace(row, speed_up=_speed_up(row, found)) for row in found.values()]
    return Evaluation(tuple(rows))


def baseline_optimizer(benchmark: Benchmark, name: str, schedule: str, rate: Any) -> optax.GradientTransformation:
    """SGD, momentum (0.9), Adam or AdamW (decay 0.01), its learning rate constant or going to zero linearly."""
    falling = lambda count: rate * jnp.maximum(1 - count / benchmark.num_steps, 0)
    return BASELINES[name](falling if schedule == "linear" else lambda count: rate)


def swept_rate(benchmark: Benchmark, name: str, schedule: str, key: Key) -> float:
    """The learning rate with the smallest mean validation loss, of 13, over four seeds."""

    def score(rate):
        curves = _curves(benchmark, baseline_optimizer(benchmark, name, schedule, rate), keys, None)
        return jnp.mean(curves[0])

    keys = jax.random.split(key, SWEEP_SEEDS)
    scores = jax.jit(lambda rates: jax.lax.map(score, rates))(jnp.asarray(RATES, jnp.result_type(float)))
    return RATES[int(np.argmin(scores))]


def _at(optimizer: Any, benchmark: Benchmark) -> tuple[Any, Any]:
    """The transformation and the task that an entry means on a benchmark."""
    given = optimizer if hasattr(optimizer, "init") or isinstance(optimizer, tuple) else optimizer(benchmark)
    return (given, None) if hasattr(given, "init") else given


def _curves(benchmark, optimizer, keys, task):
    """Capped validation losses `[num_seeds, T / stride]`, test losses, test errors and whether it diverged, `[num_seeds]`."""
    task = benchmark.task() if task is None else task
    read = [evaluation(benchmark.network, data) for data in (benchmark.validation, benchmark.test)]
    error = evaluation(benchmark.network, benchmark.test, metric="error_rate")
    stride, nothing = math.gcd(benchmark.num_steps, STRIDE), jnp.zeros(())
    problem = every(training(task, lambda theta: optimizer, read[0]), stride)
    capped = lambda losses: jnp.where(losses < CAP, losses, CAP)  # what is not a number is not smaller

    def one(key):
        start, steps = jax.random.split(key)
        state, losses = unroll(problem, problem.init(nothing, start), nothing, steps, benchmark.num_steps // stride)
        losses, test = capped(losses), capped(read[1](state.params, steps))
        diverged = ~trees.all_finite(state.params) | (losses[-1] >= CAP)
        return losses, test, error(state.params, steps), diverged

    return jax.vmap(one)(keys)


def _host(benchmark, validation, test_loss, test_error, diverged) -> Curves:
    validation, test_loss, test_error = (np.asarray(one, np.float64) for one in (validation, test_loss, test_error))
    steps = benchmark.num_steps // validation.shape[1] * np.arange(1, validation.shape[1] + 1)
    return Curves(steps, validation, test_loss, test_error, float(np.mean(diverged)))


def _row(benchmark, name, rate, curves) -> Row:
    measured = lambda values: Measured(float(np.mean(values)), _error(values))
    return Row(
        benchmark, name, rate, measured(curves.validation.mean(axis=1)), measured(curves.validation[:, -1]),
        measured(curves.test_loss), measured(curves.test_error), float("nan"), curves,
    )  # fmt: skip


def _error(values) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def _speed_up(row, found) -> float:
    """Adam's steps to its last mean loss over those of this row to the same, both first crossings of smoothed curves."""
    adams = [found[name] for name in ("Adam, constant", "Adam, linear") if name in found]
    if not adams:
        return float("nan")
    adam = min(adams, key=lambda one: one.mean_loss.value)
    curve, own = _smooth(adam.curves), _smooth(row.curves)
    steps = row.curves.steps
    reached = lambda values: steps[int(np.argmax(values <= curve[-1]))]
    return float(reached(curve) / reached(own)) if np.any(own <= curve[-1]) else float("nan")


def _smooth(curves):
    """The mean curve, averaged over a fiftieth of the run about each reading and at least its neighbours, less at both ends."""
    mean = curves.validation.mean(axis=0)
    places, half = np.arange(len(mean)), max(1, len(mean) // 100)
    reach = np.minimum(half, np.minimum(places, places[::-1]))
    sums = np.cumsum(np.concatenate([[0.0], mean]))
    return (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)


def _check(optimizers, benchmarks, key, num_seeds) -> None:
    check_key(key)
    check_count("num_seeds", num_seeds)
    known = isinstance(benchmarks, Mapping) and benchmarks and isinstance(optimizers, Mapping)
    if not known or not all(isinstance(one, Benchmark) for one in benchmarks.values()):
        raise TypeError(
            "optimizers and benchmarks must be mappings from names, such as {'Adam': optax.adam(1e-3)} and "
            "{'digits': ml.digits_benchmark()}."
        )
    for benchmark in benchmarks.values():
        benchmark.check()
    for name, optimizer in optimizers.items():
        if not (hasattr(optimizer, "init") or callable(optimizer) or isinstance(optimizer, tuple)):
            raise TypeError(
                f"{name!r} must be an optax transformation, a pair (transformation, Task), or a function of a benchmark "
                f"returning either; {optimizer!r} was given."
            )
        _, task = (optimizer, None) if hasattr(optimizer, "init") or callable(optimizer) else optimizer
        if task is not None and len(benchmarks) > 1:
            raise ValueError(
                f"{name!r} brings a Task, which holds the training data of one benchmark, and there are {len(benchmarks)}. Give a "
                "function of the benchmark, such as lambda benchmark: ml.everything(benchmark).at(theta)."
            )
        for place, benchmark in benchmarks.items():
            _check_usable(name, optimizer, place, benchmark)


def _check_usable(name, optimizer, place, benchmark) -> None:
    """Refuse what cannot take one step on a benchmark."""
    try:
        transformation, _ = _at(optimizer, benchmark)
        params = jax.eval_shape(benchmark.network.init, jax.random.key(0))
        jax.eval_shape(lambda params: transformation.update(params, transformation.init(params), params), params)
    except Exception as error:
        raise TypeError(
            f"{name!r} cannot take a step on {place!r} ({type(error).__name__}: {str(error).partition(chr(10))[0]}). Give an "
            "optax transformation, such as optax.adam(1e-3), a pair (transformation, Task), or a function of a benchmark "
            "that returns either."
        ) from error
