"""Compare estimators along a trajectory of θ with the targets at the θ of each episode.

An online estimator is unbiased for a fixed θ. If θ moves, its states and perturbations depend on earlier θ:
*hysteresis*. The trajectory is given, so that the bias is that of the estimate and does not depend on the optimiser.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.estimators import GradientEstimator
from metalearn.estimators.average import joint_share
from metalearn.estimators.base import SHARES
from metalearn.memoization import memoize
from metalearn.outer.comparison.plan import Plan, PlannedEpisodes
from metalearn.types import Theta

MOST_EPISODES = 16  # the largest number of episodes of the trajectory whose targets are measured


def plan_along(plan: Plan, estimators: dict[str, GradientEstimator], thetas: Theta) -> Plan:
    """Return the runs of a comparison along a trajectory.

    Each run returns the gradients of several episodes, concatenated to one vector.

    Args:
      plan: the runs at one θ.
      estimators: the estimators by name.
      thetas: θ before each estimate, `[num_steps, ...]`.

    Raises:
      ValueError: the trajectory is shorter than an episode.
    """
    described = [one.description for one in estimators.values() if one.description is not None]
    length = max((one.truncation.num_windows for one in described), default=1)
    steps = len(jax.tree.leaves(thetas)[0])
    count = steps // length
    if not count:
        raise ValueError(f"along must contain at least one episode ({length} estimates); {steps} were given.")
    chosen = tuple(sorted(set(np.linspace(0, count - 1, min(count, MOST_EPISODES)).round().astype(int).tolist())))
    middle = np.array([episode * length + length // 2 for episode in chosen])
    cut = jax.tree.map(lambda leaf: jnp.asarray(leaf)[: count * length], thetas)
    places = jax.tree.map(lambda leaf: leaf[middle], cut)
    return plan._replace(
        runs={
            tag: PlannedEpisodes(_following(run.estimator, length, chosen), cut, run.count)
            if tag in estimators
            else PlannedEpisodes(_at_each(run.estimator), _placed(run.theta, places), run.count)
            for tag, run in plan.runs.items()
        }
    )


def _placed(theta: Any, places: Theta) -> Any:
    """Return the argument of a reference at every place: θ itself, or a `SmoothedPoint` with this θ."""
    if not hasattr(theta, "blocks"):
        return places
    count = len(jax.tree.leaves(places)[0])
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), theta)._replace(theta=places)


@memoize
def _following(estimator: GradientEstimator, length: int, chosen: tuple[int, ...]) -> GradientEstimator:
    """Return one run of an estimator along a trajectory, with the mean gradient over the windows of chosen episodes."""

    def estimate(thetas, state, key):
        def window(state, step):
            theta, key = step
            gradient, state, metrics = estimator.estimate(theta, state, key)
            return state, (gradient, metrics)

        keys = jax.random.split(key, len(jax.tree.leaves(thetas)[0]))
        state, (gradients, metrics) = jax.lax.scan(window, state, (thetas, keys))
        parts = lambda leaf: leaf.reshape(-1, length, *leaf.shape[1:]).mean(axis=1)[jnp.array(chosen)]
        return jax.tree.map(parts, gradients), state, _over(metrics, len(keys) // length)

    return GradientEstimator(
        lambda thetas, key: estimator.init(jax.tree.map(lambda leaf: leaf[0], thetas), key), estimate
    )


@memoize
def _at_each(target: GradientEstimator) -> GradientEstimator:
    """Return a reference at several places, with the same randomness at each."""

    def estimate(places, state, key):
        one = lambda place: target.estimate(place, (), key)
        gradients, _, metrics = jax.lax.map(one, places)
        return gradients, state, _over(metrics, 1)

    return GradientEstimator(lambda places, key: (), estimate)


def episodes_along(estimators: dict[str, GradientEstimator], thetas: Theta) -> int:
    """Return the number of episodes of a trajectory; an episode is as long as that of the longest estimator."""
    described = [one.description for one in estimators.values() if one.description is not None]
    length = max((one.truncation.num_windows for one in described), default=1)
    return len(jax.tree.leaves(thetas)[0]) // length


def _over(metrics, episodes):
    """Return the mean of the metrics over all steps, and the inner steps per episode."""
    shares = {name: jnp.mean(metrics[name]) for name in SHARES if name in metrics}
    if "worst_share" in metrics:
        sizes = metrics.get("absolute_loss", jnp.abs(metrics["loss"]))
        shares |= {"absolute_loss": jnp.mean(sizes), "worst_share": joint_share(metrics["worst_share"], sizes)}
    return {"loss": jnp.mean(metrics["loss"]), "inner_steps": jnp.sum(metrics["inner_steps"]) / episodes} | shares
