"""The meta-loss on episodes that are independent of the outer loop."""

import inspect
from collections.abc import Callable

import jax
import jax.numpy as jnp

from metalearn.estimators.devices import spread_here
from metalearn.inner.checks import check_count
from metalearn.inner.divergence import bounded
from metalearn.inner.problem import InnerProblem, check_horizon
from metalearn.inner.unroll import unroll_episode
from metalearn.types import Key, Scalar, Theta

Evaluate = Callable[[Theta, Key], Scalar]


def held_out_loss(problem: InnerProblem, horizon: int, num_episodes: int) -> Evaluate:
    """Return a function `(theta, key) -> (1/N) Σ_i L(θ; key_i)`, the mean meta-loss over N independent episodes.

    Use it as `evaluate` of `meta_train`. If it is created within `ml.over_devices`, the episodes are spread over the
    devices. Losses that are not finite are replaced as in the estimators (docs/divergence.md).

    Args:
      problem: the inner problem. For held-out data use
        `training(task, optimizer, meta_loss=metric_loss(network, test))`.
      horizon: T, inner steps of an episode.
      num_episodes: N.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, or a count is not a whole number.
      ValueError: `problem` is made for another horizon, or a count is below 1.
    """
    check_count("horizon", horizon)
    check_count("num_episodes", num_episodes)
    check_horizon(problem, horizon)

    _, spread = spread_here(num_episodes)

    def one(theta, key):
        return jnp.mean(bounded(unroll_episode(problem, theta, key, horizon)[1]))

    losses = spread(lambda theta, keys: jax.vmap(lambda key: one(theta, key))(keys))

    def evaluate(theta, key):
        return jnp.mean(losses(theta, jax.random.split(key, num_episodes)))

    return evaluate


def check_evaluate(evaluate: Evaluate, theta: Theta, key: Key) -> None:
    """Check that `evaluate` returns one number for a θ and a key.

    Raises:
      TypeError: `evaluate` is not a function of θ and a key, or does not return one floating-point number.
    """
    if not callable(evaluate):
        raise TypeError(f"evaluate must be a function (theta, key) -> scalar; {evaluate!r} was given.")
    try:
        inspect.signature(evaluate).bind(theta, key)
    except TypeError as error:
        raise TypeError(
            f"evaluate must be a function (theta, key) -> scalar; {evaluate!r} was given ({error})."
        ) from error
    try:
        found = jax.eval_shape(evaluate, theta, key)
    except Exception as error:
        raise TypeError(
            f"evaluate cannot be called with this theta and a key ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}). It must be a function (theta, key) -> scalar in JAX."
        ) from error
    if (
        not isinstance(found, jax.ShapeDtypeStruct)
        or found.shape != ()
        or not jnp.issubdtype(found.dtype, jnp.floating)
    ):
        raise TypeError(f"evaluate must return one floating-point number; it returned {found}.")
