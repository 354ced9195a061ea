"""Evaluate optimisers on benchmarks, together with baselines whose learning rates are swept for each benchmark."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_bool, check_count
from metalearn.inner.problem import check_key
from metalearn.inner.training.benchmark import Benchmark
from metalearn.inner.training.training import training
from metalearn.intervals import error_of_mean
from metalearn.outer.comparison.report import Measurement
from metalearn.outer.evaluation.baselines import BASELINES, SCHEDULES, baseline_optimizer, learning_curves, swept_rate
from metalearn.outer.evaluation.results import Evaluation, Row
from metalearn.outer.evaluation.speed_up import NO_ADAM, SpeedUp, speed_up
from metalearn.types import Key, Progress


def evaluate(
    optimizers: Mapping[str, Any],
    benchmarks: Mapping[str, Benchmark],
    key: Key,
    *,
    num_seeds: int = 8,
    baselines: bool = True,
    progress: Progress | None = None,
) -> Evaluation:
    """Evaluate optimisers on benchmarks, together with baselines that are tuned for each benchmark.

    Benchmarks can be those that the optimisers were tuned on, or others. The learning rate of a baseline is swept on
    every benchmark over 13 values from 1e-4 to 1, constant and with linear decay to zero, with four separate seeds; the
    rate with the smallest validation loss, averaged over the run, is used. The given optimisers are not tuned again.
    All optimisers are evaluated on the same new seeds. Every loss, test error and speed-up has an interval over seeds,
    for the fixed validation and test data of the benchmark.

    Args:
      optimizers: name -> optax transformation, or (transformation, Task) if more than the optimiser was tuned. If it
        depends on the benchmark (its number of steps, its network), give a function of the benchmark that returns
        either.
      benchmarks: name -> benchmark.
      key: the randomness of all seeds.
      num_seeds: the number of trainings of each optimiser.
      baselines: False to leave the baselines out.
      progress: called as `progress("evaluation", done, total)`.

    Returns:
      An `Evaluation`.

    Raises:
      TypeError: `optimizers` or `benchmarks` is not a mapping, an entry is of another type or cannot take a step, `key`
        is not a typed key, or `num_seeds` is not a whole number.
      ValueError: `num_seeds` is below 1, an optimiser has the name of a baseline, an optimiser brings a task and there
        are several benchmarks, or two parts of a benchmark's data have an example in common.
    """
    _check(optimizers, benchmarks, key, num_seeds, baselines)
    rows, total = [], len(benchmarks) * (len(optimizers) + 2 * len(BASELINES) * baselines)
    key_sweep, key_seeds = jax.random.split(key)
    done = 0
    for name, benchmark in benchmarks.items():
        entries = {}
        for baseline in BASELINES if baselines else ():
            for schedule in SCHEDULES:
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


def _at(optimizer: Any, benchmark: Benchmark) -> tuple[Any, Any]:
    """Return the transformation and the task of an entry for a benchmark."""
    given = optimizer if hasattr(optimizer, "init") or isinstance(optimizer, tuple) else optimizer(benchmark)
    return (given, None) if hasattr(given, "init") else given


def _row(benchmark, name, rate, curves) -> Row:
    measured = lambda values: Measurement(float(np.mean(values)), error_of_mean(values))
    return Row(
        benchmark, name, rate, measured(curves.validation.mean(axis=1)), measured(curves.validation[:, -1]),
        measured(curves.test_loss), measured(curves.test_error), NO_ADAM, curves,
    )  # fmt: skip


def _speed_up(row, found) -> SpeedUp:
    """Return the speed-up over the swept Adam with the smaller mean loss."""
    adams = [found[name] for name in ("Adam, constant", "Adam, linear") if name in found]
    if not adams:
        return NO_ADAM
    return speed_up(row.curves, min(adams, key=lambda one: one.mean_loss.value).curves)


def _check(optimizers, benchmarks, key, num_seeds, baselines) -> None:
    check_key(key)
    check_count("num_seeds", num_seeds)
    check_bool("baselines", baselines)
    known = isinstance(benchmarks, Mapping) and benchmarks and isinstance(optimizers, Mapping)
    if not known or not all(isinstance(one, Benchmark) for one in benchmarks.values()):
        raise TypeError(
            "optimizers and benchmarks must be mappings from names, such as {'Adam': optax.adam(1e-3)} and "
            "{'digits': ml.problems.digits_benchmark()}."
        )
    for benchmark in benchmarks.values():
        benchmark.check()
    swept = {f"{name}, {schedule}" for name in BASELINES for schedule in SCHEDULES}
    if baselines and swept & set(optimizers):
        raise ValueError(
            f"{sorted(swept & set(optimizers))} are names of swept baselines; use other names for your optimisers."
        )
    for name, optimizer in optimizers.items():
        pair = isinstance(optimizer, tuple) and len(optimizer) == 2
        if not (hasattr(optimizer, "init") or callable(optimizer) or pair):
            raise TypeError(
                f"{name!r} must be an optax transformation, a pair (transformation, Task), or a function of a benchmark "
                f"returning either; {optimizer!r} was given. For a Tuning give tuning.at(theta)."
            )
        _, task = (optimizer, None) if hasattr(optimizer, "init") or callable(optimizer) else optimizer
        if task is not None and len(benchmarks) > 1:
            raise ValueError(
                f"{name!r} has a Task, which contains the training data of one benchmark, but there are {len(benchmarks)}. Give a "
                "function of the benchmark, such as lambda benchmark: ml.hyperparameters.all_hyperparameters(benchmark).at(theta)."
            )
        for place, benchmark in benchmarks.items():
            _check_usable(name, optimizer, place, benchmark)


def _check_usable(name, optimizer, place, benchmark) -> None:
    """Check that an entry can take one step on a benchmark."""
    try:
        transformation, task = _at(optimizer, benchmark)
        problem = training(benchmark.task() if task is None else task, lambda theta: transformation, cap=None)
        nothing, seed = jnp.zeros(()), jax.random.key(0)
        jax.eval_shape(lambda key: problem.step(problem.init(nothing, key), nothing, key), seed)
    except Exception as error:
        raise TypeError(
            f"{name!r} cannot take a step on {place!r} ({type(error).__name__}: {str(error).partition(chr(10))[0]}). Give an "
            "optax transformation, such as optax.adam(1e-3), a pair (transformation, Task), or a function of a benchmark "
            "that returns either."
        ) from error
