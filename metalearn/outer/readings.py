"""Readings of the outer loop at its start and after every chunk: the evaluation, and the watched goals."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.compilation import jit
from metalearn.inner.checks import check_count, is_known, scalar, summarize_error
from metalearn.memoization import memoize
from metalearn.outer.held_out import Evaluate, check_evaluate
from metalearn.outer.history import OF_EVALUATIONS, Best, Snapshot
from metalearn.outer.stopping import PATIENCE
from metalearn.types import Key, Scalar, Theta

EVALUATE = "evaluate"
COLUMNS = (*OF_EVALUATIONS, EVALUATE, "evaluation", "inner_steps_spent", "theta")  # of a history, besides metrics

Goal = Callable[[Theta, Key], Scalar] | Callable[[Theta], Scalar]


def check_readings(
    evaluate: Evaluate | None, watch: Mapping[str, Goal] | None, stages: Any, theta: Theta, key: Key
) -> dict[str, Any]:
    """Return the functions to evaluate, name -> program of θ and a key; the name of the evaluation is "evaluate".

    Raises:
      TypeError: `evaluate` or a goal is not a function of the documented form or does not return one floating-point
        number, or `watch` is not a mapping from names.
      ValueError: a goal has the name of another column of the history.
    """
    measures = {}
    if evaluate is not None:
        check_evaluate(evaluate, theta, key)
        measures[EVALUATE] = _measure(evaluate, False)
    if watch is None:
        return measures
    if not isinstance(watch, Mapping):
        raise TypeError(f'watch must be a mapping, such as {{"test loss": function}}; {watch!r} was given.')
    taken = {*COLUMNS, *(_metrics(stages, theta, key) if watch else ())}
    for name, goal in watch.items():
        if not isinstance(name, str) or not name:
            raise TypeError(f"The names of the goals in watch must be strings; {name!r} was given.")
        if name in taken or name.startswith("theta/"):
            raise ValueError(
                f"watch has a goal named {name!r}, which is already a column of the history; choose another name. "
                f"Names in use are {', '.join(sorted(taken))}."
            )
        measures[name] = _checked_goal(f"watch[{name!r}]", goal, theta, key)
    return measures


def check_stop(stop_on: str | None, patience: int | None, measures: Mapping[str, Any]) -> int | None:
    """Return the patience, which is five readings by default, or None without `stop_on`.

    Raises:
      TypeError: `patience` is not a whole number.
      ValueError: `patience` is below 1 or given without `stop_on`, or `stop_on` is not the name of a reading.
    """
    if stop_on is None:
        if patience is not None:
            raise ValueError("patience is used with stop_on only; give stop_on too, or omit patience.")
        return None
    if not isinstance(stop_on, str) or stop_on not in measures:
        known = ", ".join(map(repr, measures)) or "nothing: give evaluate or watch"
        raise ValueError(f"stop_on must be the name of a reading ({known}); {stop_on!r} was given.")
    check_count("patience", PATIENCE if patience is None else patience)
    return PATIENCE if patience is None else patience


def _metrics(stages, theta, key) -> set[str]:
    """Return the names of the metrics of all estimators of a schedule."""
    leaves, structure = jax.tree.flatten((theta, key))
    forms = tuple(jax.ShapeDtypeStruct(jnp.shape(leaf), leaf.dtype) for leaf in map(jnp.asarray, leaves))
    return {name for stage in stages.values() for name in _metrics_of(stage, structure, forms)}


@memoize
def _metrics_of(estimator, structure, forms) -> tuple[str, ...]:
    report = lambda theta, key: estimator.estimate(theta, estimator.init(theta, key), key)[2]
    return tuple(jax.eval_shape(report, *jax.tree.unflatten(structure, forms)))


def _checked_goal(name, goal, theta, key) -> Any:
    form = f"{name} must be a function of theta, or of theta and a key, that returns one number"
    if not callable(goal):
        raise TypeError(f"{form}; {goal!r} was given.")
    try:
        measure = _measure(goal, _needs_no_key(goal, theta, key))
        found = jax.eval_shape(measure.__wrapped__, theta, key)
    except Exception as error:
        raise TypeError(
            f"{form} and that JAX can trace; this one cannot be called ({summarize_error(error)})."
        ) from error
    scalar(name, found)
    return measure


def _needs_no_key(goal, theta, key) -> bool:
    """Return whether a goal is a function of θ alone; optional arguments do not count unless one is called `key`."""
    try:
        signature = inspect.signature(goal)
    except ValueError:  # of some built-in functions
        return True
    try:
        signature.bind(theta)
    except TypeError:
        signature.bind(theta, key)
        return False
    return "key" not in signature.parameters


@memoize
def _measure(function, alone: bool) -> Any:
    return jit(lambda theta, key: function(theta) if alone else function(theta, key), "the evaluation")


@memoize
def _together(measures) -> Any:
    """Return one program for several measures, in which XLA computes only once what they have in common."""
    return jit(lambda theta, key: {name: measure(theta, key) for name, measure in measures}, "the evaluation")


def reading_key(key: Key) -> Key:
    """Return the key of all readings of a run, given the key that starts its estimator."""
    return jax.random.fold_in(key, 2**31)


class Readings:
    """The readings of a call of `meta_train`, all with one key."""

    def __init__(self, measures: Mapping[str, Any], key: Key, stop_on: str | None, patience: int | None):
        self.chosen_by, self.patience = stop_on or EVALUATE, patience
        self.names, self.measure = list(measures), functools.partial(_together(tuple(measures.items())), key=key)
        self.seen: list[tuple[Any, Any, dict[str, Any]]] = []
        self.told = 0

    def look(self, step: int, snapshot: Snapshot) -> Snapshot:
        """Evaluate θ, and keep it if it is the best so far and the patience is not over."""
        if not self.names:
            return snapshot
        values = trees.gathered(jax.tree.map(jnp.asarray, self.measure(snapshot.theta)))
        self.seen.append((step, snapshot.inner_steps, values))
        if self.chosen_by not in values:
            return snapshot
        loss, best = values[self.chosen_by], snapshot.best
        better = jnp.isfinite(loss) & ((best.step < 0) | (loss < best.loss))
        if self.patience is not None:
            better = better & (best.waited < self.patience)
        found = Best(snapshot.theta, loss, snapshot.step, jnp.zeros_like(best.waited))
        return snapshot._replace(best=trees.where(better, found, best._replace(waited=best.waited + 1)))

    def all(self) -> dict[str, Any]:
        """Return all readings."""
        return self._columns(self.seen)

    def unreported(self) -> dict[str, Any]:
        """Return the readings since the last call."""
        new, self.told = self.seen[self.told :], len(self.seen)
        return self._columns(new)

    def _columns(self, seen):
        steps, spent = [step for step, _, _ in seen], [inner_steps for _, inner_steps, _ in seen]
        known = is_known(spent)  # JAX would truncate integers to 32 bits
        inner_steps = np.array(spent, np.int64) if known else jnp.stack([jnp.asarray(one, float) for one in spent])
        named = {"loss" if name == EVALUATE else name: name for name in self.names or [EVALUATE]}
        stacked = lambda name: jnp.stack([values[name] for _, _, values in seen]) if seen else jnp.zeros(0)
        readings = {column: stacked(name) for column, name in named.items()}
        return {"step": jnp.array(steps, jnp.int32), "inner_steps": inner_steps} | readings


def best_theta(snapshot: Snapshot) -> Theta:
    """Return the θ with the smallest reading; the last θ if no reading was finite."""
    return trees.where(snapshot.best.step < 0, snapshot.theta, snapshot.best.theta)
