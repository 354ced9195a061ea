"""Outer trajectories: meta-training from several starts at once, with one or several estimators."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.brief import brief_help
from metalearn.compilation import jit
from metalearn.estimators import GradientEstimator
from metalearn.inner.checks import refusal, summarize_error
from metalearn.inner.problem import InnerProblem
from metalearn.landscape import Plane
from metalearn.outer.meta_train import meta_train
from metalearn.threads import in_these_modes
from metalearn.types import Key, Progress, Theta

LAST = 0.1  # the share of a trajectory whose mean is the end point


@brief_help
class Descent(NamedTuple):
    """An estimator with the settings of its meta-training.

    Attributes:
      build: a function of the problem that returns the estimator.
      learning_rate, num_steps: the learning rate of Adam and the number of outer steps.
      label: the estimator's name in tables and figures; by default its key in the mapping of descents.
    """

    build: Callable[[InnerProblem], GradientEstimator]
    learning_rate: float
    num_steps: int
    label: str = ""


def outer_trajectories(
    estimator: GradientEstimator,
    optimizer: optax.GradientTransformation,
    starts: Theta,
    key: Key,
    num_steps: int,
    *,
    low: Theta | None = None,
    high: Theta | None = None,
) -> tuple[Theta, dict[str, jax.Array]]:
    """Run `meta_train` from every start, mapped in one program.

    Args:
      estimator, optimizer, num_steps: as in `meta_train`.
      starts: θ with one leading axis, `[num_starts, ...]`.
      key: a typed key; it is split into one key for each start.
      low, high: the corners of the box that θ is projected to; no box by default.

    Returns:
      `(thetas, metrics)`: θ before each step and at the end, `[num_starts, num_steps + 1, ...]`, and the estimator's
      metrics, `[num_starts, num_steps]` each.

    Raises:
      TypeError: as in `meta_train`.
      ValueError: as in `meta_train`.
    """
    bounded = None if low is None and high is None else lambda theta: _clip(theta, low, high)

    def descend(start, key):
        theta, history = meta_train(estimator, optimizer, start, key, num_steps, project=bounded)
        return jax.tree.map(lambda past, end: jnp.concatenate([past, end[None]]), history.theta, theta), history.metrics

    count = len(jax.tree.leaves(starts)[0])
    descents = jit(jax.vmap(descend), "outer trajectories", calls=1)
    return descents(starts, jax.random.split(key, count))


def end_points(thetas) -> np.ndarray:
    """Return the end points of trajectories `[num_starts, num_steps + 1, 2]`: the mean of their last tenth.

    Args:
      thetas: θ before each step and at the end, as `outer_trajectories` returns it.

    Returns:
      An array `[num_starts, 2]`.
    """
    thetas = np.asarray(thetas)
    return thetas[:, -max(1, round(LAST * thetas.shape[1])) :].mean(axis=1)


def run_descents(
    descents: Mapping[str, Descent],
    problem: InnerProblem,
    plane: Plane,
    starts: jax.Array,
    key: Key,
    progress: Progress,
) -> Iterator[tuple[str, Descent, Any]]:
    """Meta-train with every estimator from the same starts, with Adam, and with θ projected to the plane.

    Two estimators run at a time; the results are yielded in the order of `descents`.

    Args:
      descents: the estimators by name.
      problem, plane: the inner problem, whose θ is the pair of coordinates, and the plane of these coordinates.
      starts: `[num_starts, 2]`.
      key: the randomness of the estimators.
      progress: called as `progress(name, done, total)`.

    Yields:
      The name, its `Descent` with a label, and `(thetas, metrics)` as `outer_trajectories` returns them. If the
      estimator cannot be traced or run on this problem, the third entry is the reason as a string.
    """
    low, high = (jnp.array([getattr(axis, end) for axis in plane[:2]], float) for end in ("low", "high"))

    def travel(descent):
        estimator = descent.build(problem)
        once = lambda theta: estimator.estimate(theta, estimator.init(theta, key), key)
        refused = refusal(once, starts[0])
        if refused:
            return refused
        optimizer = optax.adam(descent.learning_rate)
        try:
            moved = outer_trajectories(estimator, optimizer, starts, key, descent.num_steps, low=low, high=high)
            return jax.block_until_ready(moved)
        except FloatingPointError:  # raised by JAX's debugging modes
            raise
        except Exception as error:  # the other estimators still run
            return summarize_error(error)

    pool = ThreadPoolExecutor(max_workers=2)
    try:
        found = pool.map(in_these_modes(travel), descents.values())
        for index, ((name, descent), moved) in enumerate(zip(descents.items(), found)):
            yield name, descent._replace(label=descent.label or name), moved
            progress("outer trajectories", index + 1, len(descents))
    finally:
        pool.shutdown(cancel_futures=True)


def _clip(theta, low, high):
    for bound, choose in ((low, jnp.maximum), (high, jnp.minimum)):
        if bound is not None:
            theta = jax.tree.map(
                lambda leaf, end, choose=choose: choose(leaf, jnp.asarray(end, leaf.dtype)), theta, bound
            )
    return theta
