"""An experiment of named parts, each computed once and kept in the folder of its run, from which it continues."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from metalearn.application.progress import show_progress
from metalearn.application.runs import open_experiment
from metalearn.recording import Run
from metalearn.types import Progress


class Parts(NamedTuple):
    """The open run of an experiment of parts, and the progress to report to."""

    run: Run
    progress: Progress

    def compute(self, name: str, function: Callable[[], Mapping[str, Any]]) -> dict[str, np.ndarray]:
        """Return the arrays of a part: those in arrays/<name>.npz, or else what the function returns, which is kept."""
        path = self.run.folder / "arrays" / f"{name}.npz"
        if not path.exists():
            began = time.perf_counter()
            self.run.arrays(name, function())
            self.run.log({f"seconds/{name}": time.perf_counter() - began}, step=0)
        with np.load(path) as stored:
            found = {key: stored[key] for key in stored.files}
        self.progress(name, 1, 1)
        return found


@contextlib.contextmanager
def open_parts(config: Any, name: str) -> Iterator[Parts]:
    """Open the run of an experiment that is computed in parts.

    An interrupted run continues with `resume`, and computes only the parts that are missing.

    Args:
      config: its `folder`, `resume` and `tracker` are read.
      name: the name of the run.
    """
    with open_experiment(config, name) as run, show_progress() as progress:
        yield Parts(run, progress)
