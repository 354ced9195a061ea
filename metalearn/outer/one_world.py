"""Meta-training with the same random numbers in every episode, chosen by the key of the run."""

from collections.abc import Callable
from typing import Any

from metalearn.compilation import jit
from metalearn.estimators import GradientEstimator
from metalearn.outer.readings import reading_key
from metalearn.types import Key


def one_world(build: Callable[[Key], GradientEstimator]) -> GradientEstimator:
    """Return an estimator whose episodes all use the random numbers of one key, which it receives from `meta_train`.

    `Truncation(key=...)` does the same with a key that is a constant of the program, so that each key needs a program
    of its own. Here the key is an argument. The goals that `meta_train` watches receive the same key, so that
    `(theta, key) -> ml.meta_loss(problem, theta, key, horizon)` evaluates the episode that is trained on.

    Args:
      build: `key -> estimator`, which passes the key to the estimator's `Truncation`.
    """

    def begin(theta, key):
        world = reading_key(key)
        return world, build(world).init(theta, key)

    init = jit(begin, "the start of an episode")  # traced once for all keys

    def estimate(theta, state, key) -> tuple[Any, Any, Any]:
        world, inner = state
        gradient, inner, metrics = build(world).estimate(theta, inner, key)
        return gradient, (world, inner), metrics

    return GradientEstimator(init, estimate)
