"""The outer trajectories that a configuration describes."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from omegaconf import OmegaConf

from metalearn.application.build import build_estimator, outer_settings
from metalearn.inner.checks import refusal, summarize_error
from metalearn.inner.problem import InnerProblem
from metalearn.landscape import Plane
from metalearn.outer.trajectories import outer_trajectories
from metalearn.threads import in_these_modes
from metalearn.types import Key, Progress

LAST = 0.1  # of a trajectory, whose mean is where it ends


def end_points(thetas) -> np.ndarray:
    """Where trajectories `[num_starts, num_steps + 1, 2]` end: the mean of their last tenth."""
    thetas = np.asarray(thetas)
    return thetas[:, -max(1, round(LAST * thetas.shape[1])) :].mean(axis=1)


def descents(
    config: Any, problem: InnerProblem, plane: Plane, starts: jax.Array, key: Key, episode: Key, progress: Progress
) -> Iterator[tuple[str, Any, Any]]:
    """Descend with every estimator of a configuration from the same starts, by Adam, θ kept in the plane.

    Two estimators at a time, in their order.

    Args:
      config: problem, estimators and trajectories (pairs, length_factor).
      problem, plane: θ is the pair of coordinates.
      starts: `[num_starts, 2]`.
      key: the randomness of the estimators.
      episode: that of every episode, where the problem repeats it.
      progress: called as `progress(name, done, total)`.

    Yields:
      The estimator's name, its entry of the configuration, and `(thetas, metrics)` as `ml.outer_trajectories` returns
      them, or, where the estimator cannot be traced or run on this problem, why.
    """
    entries = OmegaConf.merge(config, {"pairs": config.trajectories.pairs}).estimators
    low, high = (jnp.array([getattr(axis, end) for axis in plane[:2]], float) for end in ("low", "high"))

    def travel(name, entry):
        outer = outer_settings(config.problem, name, entry)
        num_steps = max(1, round(outer["num_steps"] * config.trajectories.length_factor))
        estimator = build_estimator(config.problem, problem, entry, episode)
        once = lambda theta: estimator.estimate(theta, estimator.init(theta, key), key)
        refused = refusal(once, starts[0])
        if refused:
            return refused
        optimizer = optax.adam(outer["learning_rate"])
        try:
            moved = outer_trajectories(estimator, optimizer, starts, key, num_steps, low=low, high=high)
            return jax.block_until_ready(moved)
        except FloatingPointError:  # of JAX's debugging modes
            raise
        except Exception as error:  # costs no other estimator
            return summarize_error(error)

    pool = ThreadPoolExecutor(max_workers=2)
    try:
        found = pool.map(in_these_modes(travel), entries, entries.values())
        for index, (name, moved) in enumerate(zip(entries, found)):
            yield name, entries[name], moved
            progress("outer trajectories", index + 1, len(entries))
    finally:
        pool.shutdown(cancel_futures=True)
