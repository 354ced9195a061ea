"""Floor 0: `jax_debug_nans` and `jax_debug_infs`, in which any NaN or infinity that a program returns is an error.

Divergence is data in this library: it is masked, counted, and marked by NaN. In these modes a NaN of the problem goes
on to where JAX sees it, and marks of the library read 0. Programs ask when they are traced, and are traced once for
each mode.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def sought() -> tuple[bool, bool]:
    """Whether JAX stops at NaN, and at infinities."""
    config: Any = jax.config
    return bool(config.jax_debug_nans), bool(config.jax_debug_infs)


def finite(values: Any) -> jax.Array:
    """`jnp.isfinite`, true as well of what JAX is to stop at, so that nothing masks it."""
    nans, infinities = sought()
    found = jnp.isfinite(values)
    found = found | jnp.isnan(values) if nans else found
    return found | jnp.isinf(values) if infinities else found


def unknown(mark: float = float("nan")) -> float:
    """The mark of a number that is not known, NaN or an infinity; 0 where JAX would stop at it."""
    return 0.0 if (mark != mark and sought()[0]) or (mark in (float("inf"), -float("inf")) and sought()[1]) else mark


def log(values: jax.Array) -> jax.Array:
    """ln x, −∞ at 0; the smallest number in its place where JAX would stop at it."""
    if not sought()[1]:
        return jnp.log(values)
    return jnp.where(values == 0, jnp.finfo(values.dtype).min, jnp.log(jnp.where(values == 0, 1, values)))


def check(name: str, results: Any) -> None:
    """Stop where JAX should have: its check of a program's results misses some of the later calls.

    Raises:
      FloatingPointError: a result is what is sought.
    """
    nans, infinities = sought()
    for leaf in jax.tree.leaves(results) if nans or infinities else ():
        if not isinstance(leaf, jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.inexact):
            continue
        values = np.asarray(leaf, np.float64)
        found = (
            "NaN" if nans and np.isnan(values).any() else "infinity" if infinities and np.isinf(values).any() else ""
        )
        if found:
            raise FloatingPointError(
                f"{name} returned {found}, which is an error in this debugging mode of JAX. Call it again under jax.disable_jit() to see "
                "the operation that made it."
            )


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Programs of others, which mark by NaN and infinities what they do not know."""
    with jax.debug_nans(False), jax.debug_infs(False):
        yield
