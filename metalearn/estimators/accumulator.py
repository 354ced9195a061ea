"""The reset of accumulators at the start of an episode."""

from typing import Any

import jax
import jax.numpy as jnp

from metalearn import trees


def restart(clock: jax.Array, first: Any, carried: Any) -> Any:
    """Return `first` at the first window of an episode, when the clock is 0, and `carried` at the others.

    Args:
      clock: the index of the window in its episode, as `Method.window` receives it.
      first, carried: pytrees of the same structure.
    """
    return trees.where(clock == 0, first, carried)


def reset_accumulator(clock: jax.Array, accumulated: Any) -> Any:
    """Return zeros at the first window of an episode, and `accumulated` at the others.

    Args:
      clock: the index of the window in its episode, as `Method.window` receives it.
      accumulated: the accumulator, any pytree.
    """
    return restart(clock, jax.tree.map(jnp.zeros_like, accumulated), accumulated)
