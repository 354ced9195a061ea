"""What groups of a configuration describe: θ and a plane through it, estimators, benchmarks."""

import functools
import inspect
import shlex
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hydra.utils import instantiate
from omegaconf import OmegaConf

from metalearn.estimators import GradientEstimator
from metalearn.inner.checks import check_seed
from metalearn.inner.problem import InnerProblem
from metalearn.inner.training.benchmark import Benchmark
from metalearn.inner.unroll import Truncation
from metalearn.landscape import Axis, Plane, plane_through
from metalearn.outer.trajectories import Descent
from metalearn.recording.values import plain

UNKNOWN_SIGMA = "The axes of problem.plane are not in the units of theta: give problem.plane.sigma in theirs, or plane_sigma of a study."
AXIS = "{}: {{_target_: metalearn.landscape.Axis, name: …, low: …, high: …}}"


def parse_theta(values: Any, name: str = "problem.theta") -> Any:
    """Numbers and lists of a configuration as arrays; mappings stay what they are.

    Raises:
      ValueError: something is neither, or not finite in float32.
    """
    if isinstance(values, Mapping):
        return {entry: parse_theta(value, f"{name}.{entry}") for entry, value in values.items()}
    leaves = jax.tree.leaves(plain(values), is_leaf=lambda leaf: leaf is None)
    try:
        if any(leaf is None or isinstance(leaf, bool) for leaf in leaves):
            raise TypeError
        with np.errstate(over="ignore"):
            array = np.array(values, np.float32)
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} must be a number, a list of numbers or a mapping of these; {values} was given."
        ) from None
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite in float32; {values} was given.")
    return jnp.asarray(array)


def build_estimator(settings: Mapping, problem: InnerProblem, entry: Mapping, key: jax.Array) -> GradientEstimator:
    """One estimator of the configuration group, on the episodes that `problem` describes.

    Args:
      settings: the problem's part of the configuration: horizon, length, repeat_randomness, and, where given,
        stagger and shared_minibatches.
      problem: what was built from it.
      entry: label, whole and build of an estimator.
      key: the randomness of every episode, where it is repeated.
    """
    horizon = settings["horizon"]
    repeated = key if settings["repeat_randomness"] else None
    how = {name: settings.get(name, False) for name in ("stagger", "shared_minibatches")}
    truncation = Truncation(horizon, horizon if entry["whole"] else settings["length"], key=repeated, **how)
    return build_problem(entry["build"], f"build of the estimator {entry['label']}", problem, truncation)


def build_problem(settings: Mapping, place: str, *arguments: Any) -> Any:
    """What an entry with `_partial_: true` describes, called with the arguments that the experiment knows.

    Raises:
      TypeError, ValueError: it describes no function, or one that does not take what the entry gives it; the sentence
        begins with the place.
    """
    function = instantiate(settings, _convert_="all")
    if not callable(function):
        raise ValueError(f"{place} must have a _target_ and _partial_: true; it is {settings!r}.")
    made = function if isinstance(function, functools.partial) else functools.partial(function)
    try:
        inspect.signature(made.func).bind(*made.args, *arguments, **made.keywords)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{place}: {error}; check the values given to {settings['_target_']}.") from None
    return made(*arguments)


def build_benchmarks(matrix: Mapping) -> dict[str, Benchmark]:
    """The benchmarks of the `matrix` group.

    Raises:
      ValueError: an entry is no benchmark, or its parts have examples in common.
    """
    found = {}
    for name, settings in matrix.items():
        one = instantiate(settings) if isinstance(settings, Mapping) else settings
        if not isinstance(one, Benchmark):
            raise ValueError(
                f"matrix.{name} must be a benchmark, such as {{_target_: metalearn.problems.wine_benchmark}}, and is {one!r}; "
                f"leave it out with {shlex.quote(f'~matrix.{name}')}."
            )
        one.check()
        found[name] = one
    return found


def outer_settings(settings: Mapping, name: str, entry: Mapping) -> dict[str, Any]:
    """How an estimator of the group is descended with: its own `outer`, where the problem has none for it by name."""
    return {**entry["outer"], **(settings.get("outer") or {}).get(name, {})}


def build_descents(config: Any, key: jax.Array, sigma: float | None = None) -> dict[str, Descent]:
    """How every estimator of a configuration is followed: with trajectories.pairs, and trajectories.length_factor of its steps.

    Args:
      config: problem, estimators and trajectories.
      key: the randomness of every episode, where the problem repeats it.
      sigma: of the perturbations of the coordinates of a plane; by default that of the problem.
    """

    def descent(name, entry):
        outer = outer_settings(config.problem, name, entry)
        num_steps = max(1, round(outer["num_steps"] * config.trajectories.length_factor))
        build = lambda problem: build_estimator(config.problem, problem, entry, key)
        return Descent(build, outer["learning_rate"], num_steps, entry.label)

    changed = {"pairs": config.trajectories.pairs, "problem": {} if sigma is None else {"sigma": sigma}}
    entries = OmegaConf.merge(config, changed).estimators
    return {name: descent(name, entry) for name, entry in entries.items()}


def outer_optimizer(outer: Any) -> optax.GradientTransformation:
    """Adam, with the decay and the clipping of the configuration."""
    rate = optax.cosine_decay_schedule(outer.learning_rate, outer.num_steps) if outer.decay else outer.learning_rate
    clip = optax.identity() if outer.clip_norm is None else optax.clip_by_global_norm(outer.clip_norm)
    return optax.chain(clip, optax.adam(rate))


def parse_seed(seed: Any) -> jax.Array:
    """The random key of a configuration's seed.

    Raises:
      TypeError, ValueError: the seed is no whole number from 0 to 2³² − 1.
    """
    return jax.random.key(check_seed("seed", seed))


def build_plane(problem: Mapping, theta: Any) -> Plane | None:
    """The plane of a problem; None where it has none.

    Its axes are the two entries of θ, or, with `plane.directions: {x: u, y: v}`, steps from θ along u and v.

    Raises:
      ValueError: θ does not have two entries and no directions are given, or they do not fit it.
    """
    if problem["plane"] is None:
        return None
    axes = instantiate({name: problem["plane"].get(name) for name in "xy"}, _convert_="all")
    if not all(isinstance(axis, Axis) for axis in axes.values()):
        raise ValueError(f"problem.plane must have two axes, {AXIS.format('x')} and {AXIS.format('y')}, or be null.")
    directions = problem["plane"].get("directions")
    if directions is not None:
        u, v = (parse_theta(directions[name], f"problem.plane.directions.{name}") for name in "xy")
        return plane_through(theta, axes["x"], axes["y"], u, v)
    if not isinstance(theta, jax.Array) or theta.shape != (2,):
        raise ValueError(
            "problem.plane needs a theta with two entries, or directions: {x: ..., y: ...} of the form of theta; "
            "set problem.plane=null to leave the landscape out."
        )
    return Plane(axes["x"], axes["y"], _two_entries)


def _two_entries(x, y):
    return jnp.stack([x, y])


def build_split_estimator(
    settings: Any, name: str | None, benchmark: Any, problem: InnerProblem, entry: Any, key: jax.Array
):
    """An estimator on one benchmark; those of the matrix, which have a name, have as many windows an episode as the
    configuration's problem.

    Raises:
      ValueError: the steps of a benchmark cannot be cut into so many windows.
    """
    if name is not None:
        windows, steps = settings.horizon // settings.length, benchmark.num_steps
        if steps % windows:
            raise ValueError(
                f"matrix.{name} trains for {steps} steps, which cannot be cut into the {windows} windows of problem.horizon / "
                "problem.length; change one of them."
            )
        settings = {**settings, "horizon": steps, "length": steps // windows}
    return build_estimator(settings, problem, entry, key)
