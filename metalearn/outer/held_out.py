"""The meta-loss on episodes that the outer loop does not see."""

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
    """`(theta, key) -> (1/N) Σ_i L(θ; key_i)`: the meta-loss over episodes of their own, for
    `meta_train(evaluate=...)`; made within `ml.over_devices` it spreads them. Losses that are not finite are read as
    estimators read them (docs/divergence.md).

    Args:
      problem: the inner problem; on held-out data, `training(task, optimizer, meta_loss=evaluation(network, test))`.
      horizon: T, inner steps of an episode.
      num_episodes: N.

    Raises:
      TypeError, ValueError: a count is no whole number of at least 1, or the problem no InnerProblem, or made for
        another horizon.
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
    """Refuse what does not return one number for a θ.

    Raises:
      TypeError: it is no function, or returns something else.
    """
    if not callable(evaluate):
        raise TypeError(f"evaluate must be a function (theta, key) -> scalar; {evaluate!r} was given.")
    try:
        inspect.signature(evaluate).bind(theta, key)
    except TypeError as error:
        raise TypeError(f"evaluate must be a function (theta, key) -> scalar; {evaluate!r} has {error}.") from error
    found = jax.eval_shape(evaluate, theta, key)
    if jnp.shape(found) != () or not jnp.issubdtype(jnp.result_type(found), jnp.floating):
        raise TypeError(f"evaluate must return one floating-point number; it returned {found}.")
