"""Several processes of one run: the first reads and writes files, and sends the contents to the others."""

import pickle
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

Result = TypeVar("Result")


def is_first() -> bool:
    """Return whether this is the process that writes files; it is the only one without `jax.distributed`."""
    return jax.process_index() == 0


def in_first_process(action: Callable[[], Result]) -> Result:
    """Call a function in the first process, and return its result, or raise its error, in every process.

    All processes must make the same calls in the same order. The state of a disk depends on the process and on the
    time. All processes must follow the decision of one, because their computations wait for each other.
    """
    if jax.process_count() == 1:
        return action()
    outcome = None, None
    if is_first():
        try:
            outcome = action(), None
        except Exception as error:
            outcome = None, error
    found, error = pickle.loads(_shared(pickle.dumps(outcome)))
    if error is not None:
        raise error
    return found


def _shared(content: bytes) -> bytes:
    """Return the bytes of the first process."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    mine = np.frombuffer(content if is_first() else bytes(size), np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(mine)).astype(np.uint8).tobytes()
