"""Write large files in a thread, so that the run goes on meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
import numpy as np

from metalearn import trees

LARGE = 2**24  # bytes of a snapshot that is written in a thread; smaller ones take milliseconds


class BackgroundWriter:
    """Write one file at a time; use it as a context manager, which ends when the last file is written.

    `write` returns at once if the file is large, and first waits for the file before it. An error of a write is raised
    by the next call of `write`, or at the end.
    """

    def __init__(self):
        self._pool = ThreadPoolExecutor(1, "writer")
        self._last: Future | None = None

    def write(self, action: Callable[[], Any], size: int) -> None:
        """Call a function that writes `size` bytes, in the thread if they are at least `LARGE`.

        Raises:
          RunFolderError: the file before it could not be written, or a small one cannot be.
        """
        self.wait()
        if size < LARGE:
            action()
        else:
            self._last = self._pool.submit(action)

    def wait(self) -> None:
        """Wait until the last file is written, and raise its error."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:  # the error of the run is more important
            self.wait()


def on_host(tree: Any) -> Any:
    """Return a pytree with NumPy arrays in place of JAX's, except keys: the copy leaves the device free."""
    return jax.tree.map(lambda leaf: leaf if trees.is_key(leaf) else np.asarray(leaf), tree)
