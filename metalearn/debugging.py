"""Support for `jax_debug_nans` and `jax_debug_infs`, the modes in which a NaN or an infinity in a result is an error.

This library treats divergence as data: it masks and counts diverged runs, and marks unknown numbers by NaN. In the
debugging modes, a NaN of the problem is passed on so that JAX detects it, and the library's own marks become 0. The
modes are read when a program is traced, and each program is traced once for each mode.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def sought() -> tuple[bool, bool]:
    """Return whether JAX raises errors at NaN, and whether it does at infinities."""
    config: Any = jax.config
    return bool(config.jax_debug_nans), bool(config.jax_debug_infs)


def finite(values: Any) -> jax.Array:
    """Return `jnp.isfinite(values)`, but True where JAX should raise an error, so that such values are not masked."""
    nans, infinities = sought()
    found = jnp.isfinite(values)
    found = found | jnp.isnan(values) if nans else found
    return found | jnp.isinf(values) if infinities else found


def unknown(mark: float = float("nan")) -> float:
    """Return the mark of an unknown number (NaN or an infinity), or 0 if JAX would raise an error at the mark."""
    return 0.0 if (mark != mark and sought()[0]) or (mark in (float("inf"), -float("inf")) and sought()[1]) else mark


def log(values: jax.Array) -> jax.Array:
    """Return ln x, with −∞ at 0. If JAX would raise an error at −∞, the most negative finite number replaces it."""
    if not sought()[1]:
        return jnp.log(values)
    return jnp.where(values == 0, jnp.finfo(values.dtype).min, jnp.log(jnp.where(values == 0, 1, values)))


def check(name: str, results: Any) -> None:
    """Check the results of a program for NaN and infinities in JAX's debugging modes.

    JAX's own check misses some repeated calls of a program.

    Raises:
      FloatingPointError: a result is NaN in the mode `jax_debug_nans`, or infinite in the mode `jax_debug_infs`.
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
                f"{name} returned {found}, which is an error in this debugging mode of JAX. Call it again under "
                "jax.disable_jit() to find the operation that produced it."
            )


@contextlib.contextmanager
def unwatched() -> Iterator[None]:
    """Disable the checks for code of other libraries that uses NaN, infinities and rank promotion on purpose."""
    with jax.debug_nans(False), jax.debug_infs(False), jax.numpy_rank_promotion("allow"):
        yield
