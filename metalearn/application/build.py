"""Build θ, the plane through it, estimators and benchmarks from the groups of a configuration."""

import functools
import inspect
import shlex
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from omegaconf import OmegaConf

from metalearn.application.targets import instantiate
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
    """Convert the numbers and lists of a configuration to float32 arrays; mappings keep their structure.

    Args:
      values: the value of the configuration.
      name: the name of the entry, for error messages.

    Raises:
      ValueError: a value is not a number, a list of numbers or a mapping of these, or is not finite in float32.
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
    """Build one estimator of the configuration group for the episodes of `problem`.

    Args:
      settings: the problem's part of the configuration: `horizon`, `length`, `repeat_randomness`, and optionally
        `stagger` and `shared_minibatches`.
      problem: the problem that was built from `settings`.
      entry: `label`, `whole` and `build` of an estimator.
      key: the randomness of every episode, if `repeat_randomness` is set.
    """
    horizon = settings["horizon"]
    repeated = key if settings["repeat_randomness"] else None
    how = {name: settings.get(name, False) for name in ("stagger", "shared_minibatches")}
    truncation = Truncation(horizon, horizon if entry["whole"] else settings["length"], key=repeated, **how)
    return build_problem(entry["build"], f"build of the estimator {entry['label']}", problem, truncation)


def build_problem(settings: Mapping, place: str, *arguments: Any) -> Any:
    """Call the function that an entry with `_partial_: true` describes with the given arguments.

    Args:
      settings: the entry of the configuration.
      place: the name of the entry; error messages begin with it.
      *arguments: the positional arguments that the experiment provides.

    Raises:
      ValueError: the entry does not describe a function.
      TypeError: the function does not accept these arguments and the values of the entry.
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
    """Build the benchmarks of the `matrix` group.

    Raises:
      ValueError: an entry is not a benchmark, or two parts of its data have an example in common.
    """
    found = {}
    for name, settings in matrix.items():
        one = instantiate(settings) if isinstance(settings, Mapping) else settings
        if not isinstance(one, Benchmark):
            raise ValueError(
                f"matrix.{name} must be a benchmark, such as {{_target_: metalearn.problems.wine_benchmark}}; it is {one!r}. "
                f"Leave it out with {shlex.quote(f'~matrix.{name}')}."
            )
        one.check()
        found[name] = one
    return found


def outer_settings(settings: Mapping, name: str, entry: Mapping) -> dict[str, Any]:
    """Return the outer settings of an estimator: its own `outer`, overridden by the problem's `outer` for its name.

    Args:
      settings: the part `problem` of the configuration.
      name: the name of the estimator.
      entry: the entry of the estimator.
    """
    return {**entry["outer"], **(settings.get("outer") or {}).get(name, {})}


def build_descents(config: Any, key: jax.Array, sigma: float | None = None) -> dict[str, Descent]:
    """Build the `Descent` of every estimator of a configuration.

    Every estimator takes `trajectories.pairs` pairs and `trajectories.length_factor` times its own number of steps.

    Args:
      config: a configuration with `problem`, `estimators` and `trajectories`.
      key: the randomness of every episode, if the problem repeats it.
      sigma: the standard deviation of perturbations of the coordinates of a plane; that of the problem by default.
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
    """Build Adam with the learning-rate decay and the gradient clipping of the configuration."""
    rate = optax.cosine_decay_schedule(outer.learning_rate, outer.num_steps) if outer.decay else outer.learning_rate
    clip = optax.identity() if outer.clip_norm is None else optax.clip_by_global_norm(outer.clip_norm)
    return optax.chain(clip, optax.adam(rate))


def read_list(config: Mapping, name: str) -> list[Any]:
    """Return an entry of a configuration that must be a list.

    Args:
      config: the configuration.
      name: the name of the entry.

    Raises:
      ValueError: the entry is a single value or a mapping.
    """
    value = plain(config[name])
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list, such as {name}=[{value}]; {value!r} was given.")
    return value


def parse_seed(seed: Any) -> jax.Array:
    """Return the random key of a configuration's seed.

    Raises:
      TypeError: the seed is not a whole number.
      ValueError: the seed is not between 0 and 2³² − 1.
    """
    return jax.random.key(check_seed("seed", seed))


def build_plane(problem: Mapping, theta: Any) -> Plane | None:
    """Build the plane of a problem, or return None if the configuration has none.

    The axes are the two entries of θ. With `plane.directions: {x: u, y: v}` they are steps from θ along u and v.

    Args:
      problem: the part `problem` of the configuration.
      theta: the initial θ.

    Raises:
      ValueError: θ does not have two entries and no directions are given, or the directions do not have the structure
        and shapes of θ.
    """
    if problem["plane"] is None:
        return None
    if not isinstance(problem["plane"], Mapping):
        raise ValueError(
            f"problem.plane must have two axes, {AXIS.format('x')} and y, or be null; {problem['plane']!r} was given."
        )
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
    """Build an estimator for one benchmark.

    A benchmark of the matrix has a name. Its episodes are cut into as many windows as those of the configuration's
    problem.

    Raises:
      ValueError: the number of steps of a benchmark is not a multiple of the number of windows.
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
