"""Tune the hyperparameters of a benchmark by a search without gradients, as baselines of meta-training."""

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import optax

from metalearn.inner.checks import check_choice
from metalearn.inner.derived import strided
from metalearn.inner.training.benchmark import Benchmark
from metalearn.inner.training.hyperparameter_sets import Tuning, all_hyperparameters
from metalearn.inner.training.task import Task
from metalearn.outer.held_out import Evaluate, held_out_loss
from metalearn.outer.search.evolve import evolve
from metalearn.outer.search.random_search import random_search, uniform
from metalearn.recording.checkpoints import load_snapshot, save_snapshot
from metalearn.recording.processes import is_first
from metalearn.types import Progress, Theta

SEARCHES = {"random_search": "random search", "cma_es": "CMA-ES", "genetic": "genetic algorithm"}


def check_searches(names: Sequence[str], tuning: Tuning) -> None:
    """Check that every search can be run.

    Args:
      names: the names of the searches.
      tuning: the hyperparameters to search.

    Raises:
      ValueError: a name is not in `SEARCHES`, or `random_search` is given and the tuning has no box to draw from.
      ImportError: evosax is missing.
    """
    check_known(names)
    if "random_search" in names and tuning.box is None and tuning.learned is None:
        raise ValueError(
            "random_search draws from the box of the tuning, and this tuning has no box; leave it out of searches."
        )


def check_known(names: Sequence[str]) -> None:
    """Check the names of searches.

    Raises:
      ValueError: `names` is not a list, or a name is not in `SEARCHES`.
      ImportError: evosax is missing.
    """
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise ValueError(f"searches must be a list, such as searches=[{names}]; {names!r} was given.")
    for name in names:
        check_choice("Every one of searches", name, SEARCHES)
    if set(names) - {"random_search"} and importlib.util.find_spec("evosax") is None:
        raise ImportError("searches need evosax: pip install 'metalearn[search]', or leave them out with searches=[].")


def held_out(benchmark: Benchmark, tuning: Tuning, num_episodes: int) -> Evaluate:
    """Return the mean validation loss of new trainings as a function `(theta, key) -> scalar`.

    The validation loss is read every gcd(T, 10)-th step of a training of T steps.

    Args:
      benchmark, tuning: the benchmark to train, and its hyperparameters as functions of θ.
      num_episodes: the number of trainings to average.
    """
    stride = math.gcd(benchmark.num_steps, 10)
    read = benchmark.problem(tuning.optimizer, "validation", task=tuning.task)
    return held_out_loss(strided(read, stride), benchmark.num_steps // stride, num_episodes)


def build_hyperparameters(benchmarks: Mapping[str, Benchmark], without: str) -> dict[str, tuple[Benchmark, Tuning]]:
    """Build a `Tuning` of all hyperparameters for every benchmark.

    Args:
      benchmarks: name -> benchmark.
      without: the override to suggest in the error message if a network is not a perceptron.

    Raises:
      ValueError: the network of a benchmark is not a perceptron.
    """
    tunings = {}
    for name, benchmark in benchmarks.items():
        try:
            tunings[name] = benchmark, all_hyperparameters(benchmark, learning_rate=5e-4)
        except ValueError as error:
            raise ValueError(f"{name}: {error} {without} evaluates without them.") from error
    return tunings


def searched(
    path: Path,
    name: str,
    benchmark: Benchmark,
    tuning: Tuning,
    key: jax.Array,
    num_inner_steps: int,
    population_size: int,
    progress: Progress,
) -> Theta:
    """Run a search and return its best θ, or load θ from `path` if the file exists.

    Each trial is one training.

    Args:
      path: the file that stores θ.
      name: one of `SEARCHES`.
      benchmark, tuning: the benchmark to train, and the hyperparameters with the initial θ.
      key: the randomness of all trials.
      num_inner_steps: the inner steps of all trials together, rounded down to whole generations.
      population_size: members of a generation.
      progress: called as `progress(name of the search, done, total)`.
    """
    if path.exists():
        return load_snapshot(path, tuning.theta)
    evaluate, trials = held_out(benchmark, tuning, 1), num_inner_steps // benchmark.num_steps
    box: Any = tuning.box
    if name == "random_search":
        theta, _ = random_search(evaluate, uniform(*box), key, max(trials, 1), progress=progress)
    else:
        generations = max(trials // population_size, 1)
        size = {"population_size": population_size, "sigma": 0.3}
        theta, _ = evolve(evaluate, name, tuning.theta, key, generations, **size, progress=progress)
    if is_first():
        save_snapshot(path, theta)
    return theta


def on_each(
    tunings: Mapping[str, tuple[Benchmark, Tuning]], thetas: Mapping[str, Theta]
) -> Callable[[Benchmark], tuple[optax.GradientTransformation, Task | None]]:
    """Return a function of a benchmark for `ml.evaluate`: the optimiser and the task at the benchmark's own θ."""
    tuned = [(benchmark, tuning.at(thetas[name])) for name, (benchmark, tuning) in tunings.items()]
    return lambda benchmark: next(found for one, found in tuned if one is benchmark)
