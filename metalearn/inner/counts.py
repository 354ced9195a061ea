"""Counts that may pass the largest 32-bit integer, which is the largest integer that JAX has by default.

Inside a program, a count is an int32 as long as its largest value, which is known before the program runs, fits;
otherwise it is a floating-point number. Counts of many programs are added on the host, in 64-bit integers.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def count_type(most: int | None) -> Any:
    """The type of a count inside a program.

    Args:
      most: the largest value that it can take; None where that is unknown.
    """
    return jnp.int32 if most is not None and most <= np.iinfo(np.int32).max else jnp.result_type(float)


def count(number: int, kind: Any) -> jax.Array:
    """A count as an array of a type of `count_type`."""
    return jnp.asarray(np.asarray(number, kind))


def total(counts: Sequence[Any], most: int | None) -> jax.Array:
    """The sum of a few counts inside a program, which is at most `most` where that is known."""
    kind = count_type(most)
    return jnp.sum(jnp.stack([jnp.asarray(one).astype(kind) for one in counts]), dtype=kind)
