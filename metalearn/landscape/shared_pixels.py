"""Pixels that are shared by the processes of `jax.distributed`."""

import hashlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils


def check_same_pixels(values: np.ndarray) -> None:
    """Check that all processes have the same pixels, because bands are shared by their numbers.

    Raises:
      ValueError: the pixels of two processes differ.
    """
    if jax.process_count() == 1:
        return
    mine = np.frombuffer(hashlib.sha256(values.tobytes()).digest(), np.int32)
    if np.any(np.asarray(multihost_utils.process_allgather(mine)) != mine):
        raise ValueError(
            "The processes of this run do not compute the same pixels: one has a part of the picture that another has not. "
            "Make the same call in all of them, with `keep` and `known` that agree, as ml.recording.Tiles does."
        )


@jax.enable_x64(True)
def gather(parts: list[Any], nothing: Any, sizes: list[int]) -> list[Any]:
    """Return the bands of all processes in order; each of n processes has every n-th band.

    Args:
      parts: the bands of this process, NamedTuples of arrays.
      nothing: a band without pixels.
      sizes: the pixels of every band.
    """
    count, longest = jax.process_count(), max(sizes)
    rounds = -(-len(sizes) // count)
    parts = [*parts, *([nothing] * (rounds - len(parts)))]
    padded = [np.stack([np.pad(leaf, (0, longest - len(leaf))) for leaf in leaves]) for leaves in zip(*parts)]
    shared = [np.asarray(multihost_utils.process_allgather(leaf)).swapaxes(0, 1) for leaf in padded]
    every = [leaf.reshape(rounds * count, longest) for leaf in shared]
    return [type(nothing)(*(leaf[index, :size] for leaf in every)) for index, size in enumerate(sizes)]
