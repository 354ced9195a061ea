"""Ready-made callbacks of `meta_train`: `callback=[ml.callbacks.log(run), ml.callbacks.save("run.npz")]`.

A callback is a function of the outer step, θ and the history since the last call. It is called after each chunk, in the
order of the list. If it returns True, or a string with the reason, training ends after this chunk.
"""

from pathlib import Path
from typing import Any

from metalearn.outer.stopping import Callback, stop_early
from metalearn.recording import log_history, save_snapshot

__all__ = ["log", "save", "stop_early"]


def log(run: Any, prefix: str = "") -> Callback:
    """Return a callback that logs every outer step, as `recording.log_history` does.

    Args:
      run, prefix: as in `recording.log_history`.
    """

    def callback(step, theta, history):
        log_history(run, history, prefix)

    return callback


def save(path: str | Path) -> Callback:
    """Return a callback that saves the snapshot to a file, from which `recording.load_snapshot` reads it.

    Put it after callbacks that may end training, so that the file records the end.

    Args:
      path: the file, replaced after each chunk.
    """

    def callback(step, theta, history):
        save_snapshot(path, history.snapshot)

    return callback
