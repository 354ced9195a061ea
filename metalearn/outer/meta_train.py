"""The outer loop: descend the meta-loss with any estimator and any optax optimiser."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn import trees
from metalearn.estimators import GradientEstimator
from metalearn.inner.checks import check_count
from metalearn.inner.problem import Key, Theta, check_key, check_theta


class History(NamedTuple):
    """What the outer loop saw: `theta` BEFORE each step, `[num_steps, ...]`, and the estimator's metrics, `[num_steps]`
    each.
    """

    theta: Theta
    metrics: dict[str, jax.Array]


def meta_train(
    estimator: GradientEstimator,
    optimizer: optax.GradientTransformation,
    theta: Theta,
    key: Key,
    num_steps: int,
    *,
    project: Callable[[Theta], Theta] | None = None,
    chunk_length: int | None = None,
    callback: Callable[[int, Theta, History], None] | None = None,
) -> tuple[Theta, History]:
    """θ ← θ + update(g), g from the estimator, for `num_steps` outer steps in `lax.scan` chunks.

    The randomness of outer step i is fold_in(key, i): chunk length has no influence on any number.

    Args:
      estimator: a gradient estimator.
      optimizer: the outer optimiser.
      theta: the starting point, any pytree of floating-point arrays.
      key: a typed key.
      num_steps: outer steps, at least 1.
      project: applied to θ after each update, for instance to keep it in a box.
      chunk_length: outer steps in one program; all by default.
      callback: called as `callback(step, theta, history)` after each chunk, with the history of that chunk, to log or
        to show progress.

    Returns:
      `(theta, history)`.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
    """
    check_theta(theta)
    check_key(key)
    check_count("num_steps", num_steps)
    if chunk_length is not None:
        check_count("chunk_length", chunk_length)
    if not isinstance(estimator, GradientEstimator):
        raise TypeError(
            f"estimator must be a GradientEstimator such as ml.persistent_es(...); {estimator!r} was given."
        )
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"optimizer must be an optax transformation such as optax.adam(0.01); {optimizer!r} was given.")
    key_init, key_steps = jax.random.split(key)
    length = num_steps if chunk_length is None else min(chunk_length, num_steps)

    def outer_step(carry, index):
        theta, state, optimizer_state = carry
        gradient, state, metrics = estimator.estimate(theta, state, jax.random.fold_in(key_steps, index))
        updates, optimizer_state = optimizer.update(gradient, optimizer_state, theta)
        moved = optax.apply_updates(theta, updates)
        moved = moved if project is None else project(moved)
        return (moved, state, optimizer_state), History(theta, metrics)

    run = jax.jit(lambda carry, indices: jax.lax.scan(outer_step, carry, indices))
    theta = trees.strong(theta)
    carry = (theta, estimator.init(theta, key_init), optimizer.init(theta))
    parts = []
    for first in range(0, num_steps, length):
        carry, part = run(carry, jnp.arange(first, min(first + length, num_steps)))
        parts.append(part)
        if callback is not None:
            callback(first + len(jax.tree.leaves(part)[0]), carry[0], jax.tree.map(np.asarray, part))
    return carry[0], jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
