"""Counts that may exceed the range of 32-bit integers, which are JAX's default.

The largest possible value of a count is known before a program runs. If it fits, the count is an int32 inside the
program; otherwise it is a floating-point number. Counts of many programs are added on the host as 64-bit integers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def count_type(most: int | None) -> Any:
    """Return the dtype of a count inside a program.

    Args:
      most: the largest possible value of the count; None if it is unknown.
    """
    return jnp.int32 if most is not None and most <= np.iinfo(np.int32).max else jnp.result_type(float)


def count(number: int, kind: Any) -> jax.Array:
    """Return a count as an array of a dtype from `count_type`."""
    return jnp.asarray(np.asarray(number, kind))


def total(counts: Sequence[Any], most: int | None) -> jax.Array:
    """Return the sum of a few counts inside a program. `most` is the largest possible sum; None if it is unknown."""
    kind = count_type(most)
    return jnp.sum(jnp.stack([jnp.asarray(one).astype(kind) for one in counts]), dtype=kind)
