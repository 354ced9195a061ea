"""Helpers of the checks: the result of a check, its failures, and comparisons of trees."""

import contextlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees


class Checked(NamedTuple):
    """The result of a check.

    Attributes:
      passed: one sentence for each requirement that was checked.
      skipped: one sentence for each requirement that could not be checked, with the reason.
    """

    passed: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __str__(self):
        return "\n".join([*self.passed, *self.skipped])


def require(condition: Any, sentence: str) -> None:
    """Raise an `AssertionError` with the sentence if the condition is false."""
    if not condition:
        raise AssertionError(sentence)


@contextlib.contextmanager
def attempt(what: str):
    """Convert any error in the block to an `AssertionError` that says what was attempted."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise AssertionError(f"{what} failed with {type(error).__name__}: {reason}") from error


def forms(tree: Any) -> dict[str, str]:
    """Return a dictionary from the path of each leaf to its dtype and shape."""
    name = lambda leaf: f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__
    return {place: name(leaf) for place, leaf in _leaves(tree)}


def numbers(leaf: Any) -> np.ndarray:
    """Return a leaf as a NumPy array; for a typed key, its data."""
    return np.asarray(jax.random.key_data(leaf) if trees.is_key(leaf) else leaf)


def through_host(tree: Any) -> Any:
    """Copy a tree to the host and back, as a checkpoint does."""

    def copy(leaf):
        if trees.is_key(leaf):
            return jax.random.wrap_key_data(jnp.asarray(numbers(leaf)), impl=jax.random.key_impl(leaf))
        return jnp.asarray(np.array(leaf))

    return jax.tree.map(copy, tree)


def same_bits(a: Any, b: Any) -> bool:
    """Return whether two trees have the same structure, dtypes and bits; NaN equals NaN."""
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    pairs = [(numbers(x), numbers(y)) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b))]
    return all(x.dtype == y.dtype and x.tobytes() == y.tobytes() for x, y in pairs)


def largest_difference(a: Any, b: Any) -> float:
    """Return the largest difference between two trees, relative to max(1, the largest absolute value of the leaf)."""

    def difference(x, y):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if not np.array_equal(np.isfinite(x), np.isfinite(y)):
            return np.inf
        known = np.isfinite(x)
        scale = max(1.0, np.max(np.abs(x[known]), initial=0.0))
        return np.max(np.abs(x[known] - y[known]), initial=0.0) / scale

    return float(max(jax.tree.leaves(jax.tree.map(difference, a, b))))


def _leaves(tree):
    return [(jax.tree_util.keystr(path) or "itself", leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
