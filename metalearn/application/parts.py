"""An experiment of named parts, which are stored in the run folder, so that a resumed run does not repeat them."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from metalearn.application.progress import show_progress
from metalearn.application.runs import open_experiment
from metalearn.recording import Run
from metalearn.recording.files import short
from metalearn.recording.weights_and_biases import tell
from metalearn.types import Progress


class Parts(NamedTuple):
    """The open run of an experiment of parts, and the function for progress."""

    run: Run
    progress: Progress

    def compute(self, name: str, function: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Return the arrays of a part: from arrays/<name>.npz if it exists, else from the function, and store them."""
        path = self.run.folder / "arrays" / f"{name}.npz"
        found = _stored(path)
        if found is None:
            began = time.perf_counter()
            self.run.arrays(name, function())
            self.run.log({f"seconds/{name}": time.perf_counter() - began}, step=0)
            with np.load(path) as stored:
                found = {key: stored[key] for key in stored.files}
        self.progress(name, 1, 1)
        return found


def _stored(path: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a file, or None if there is no intact file."""
    if not path.exists():
        return None
    try:
        with open(path, "rb") as stream, np.load(stream) as stored:
            return {key: stored[key] for key in stored.files}
    except Exception as error:
        tell(f"{short(path)} is damaged ({type(error).__name__}). It is computed again.")
        return None


@contextlib.contextmanager
def open_parts(config: Any, name: str) -> Iterator[Parts]:
    """Open the run of an experiment that is computed in parts.

    An interrupted run continues with `resume`, and computes only the parts that are missing.

    Args:
      config: the configuration, with `folder`, `resume` and `tracker`.
      name: the name of the run.
    """
    with open_experiment(config, name) as run, show_progress() as progress:
        yield Parts(run, progress)
