"""The θ that a history keeps, and the memory for them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_count, is_known
from metalearn.types import Theta

Keep = str | int
WORDS = ("all", "chunks", "last")


class Room(NamedTuple):
    """The rows of one chunk: their number, and the row for each step.

    `slot(step, begin)` is the row of θ before a step of a chunk that begins at `begin`. Rows at or beyond `size`
    are not written.
    """

    size: int
    slot: Callable[[Any, Any], Any]


def check_keep(keep: Keep) -> None:
    """Check that `keep` is one of `WORDS` or a stride.

    Raises:
      TypeError: `keep` is neither a string nor a whole number.
      ValueError: `keep` is an unknown word, or below 1.
    """
    if not isinstance(keep, str):
        check_count("keep", keep)
    elif keep not in WORDS:
        raise ValueError(
            f"keep must be one of {', '.join(WORDS)}, or a whole number of outer steps; {keep!r} was given."
        )


def reserve_room(keep: Keep, length: int) -> Room:
    """Return the rows for the θ that are kept of a chunk of at most `length` outer steps."""
    if keep == "last":
        return Room(1, lambda step, begin: 0)
    if keep == "chunks":
        return Room(1, lambda step, begin: step - begin)
    stride = _stride(keep)
    if stride == 1:
        return Room(length, lambda step, begin: step - begin)
    size = -(-length // stride)
    slot = lambda step, begin: jnp.where(step % stride == 0, step // stride - -(-begin // stride), size)
    return Room(size, slot)


def kept_steps(keep: Keep, begin: int, end: int) -> np.ndarray:
    """Return the outer steps of a chunk before which θ is kept, in the order of the rows."""
    if keep in ("chunks", "last"):
        return np.array([begin if keep == "chunks" else end - 1])
    stride = _stride(keep)
    return np.arange(-(-begin // stride) * stride, end, stride)


def _stride(keep) -> int:
    return 1 if keep == "all" else int(keep)


class Thetas:
    """The θ of a history: in one array on the host that is filled chunk by chunk, unless they are traced."""

    def __init__(self, keep: Keep, chunks: list[tuple[int, int]]):
        self.keep, self.chunks = keep, chunks
        self.steps: list[np.ndarray] = []
        self.parts: list[Theta] = []
        self.filled = 0

    def add(self, rows: Theta, begin: int, end: int) -> Theta:
        """Store the θ of a chunk, and return them."""
        steps = kept_steps(self.keep, begin, end)
        rows = jax.tree.map(lambda leaf: (np.asarray(leaf) if is_known(leaf) else leaf)[: len(steps)], rows)
        if self.keep == "last":
            self.steps, self.parts = [steps], [rows]
            return rows
        self.steps.append(steps)
        if len(self.chunks) == 1 or not is_known(rows):
            self.parts.append(rows)
        else:
            self._fill(rows, len(steps))
        return rows

    def _fill(self, rows, count) -> None:
        if not self.parts:
            total = sum(len(kept_steps(self.keep, *chunk)) for chunk in self.chunks)
            self.parts = [jax.tree.map(lambda leaf: np.empty((total, *leaf.shape[1:]), leaf.dtype), rows)]
        for whole, part in zip(jax.tree.leaves(self.parts[0]), jax.tree.leaves(rows)):
            whole[self.filled : self.filled + count] = part
        self.filled += count

    def joined(self) -> tuple[Theta, np.ndarray]:
        """Return all θ, and the outer steps before which they were recorded."""
        steps = np.concatenate(self.steps)
        if len(self.parts) == 1:
            return jax.tree.map(lambda leaf: leaf[: len(steps)], self.parts[0]), steps
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *self.parts), steps
