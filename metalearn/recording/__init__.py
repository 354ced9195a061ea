"""Recording of runs: the run folder, Weights & Biases, checkpoints.

A run is always recorded in its own folder. Weights & Biases is an optional copy. No result depends on a service or on
the place where it is recorded.
"""

from metalearn.recording.checkpoints import (
    extend_evaluations,
    load_optimizer,
    load_snapshot,
    save_optimizer,
    save_snapshot,
)
from metalearn.recording.collected import Collected, Collection, collect_runs
from metalearn.recording.files import RunFolderError
from metalearn.recording.folders import read_status
from metalearn.recording.histories import log_history
from metalearn.recording.landscapes import read_landscape
from metalearn.recording.pixel_store import PixelStore
from metalearn.recording.provenance import collect_provenance
from metalearn.recording.results import NotSaved, load, save_result
from metalearn.recording.run_folder import LocalRun, read_metrics
from metalearn.recording.tiles import LandscapeFolder, Tiles
from metalearn.recording.tracking import Run, Tracker, open_run
from metalearn.recording.values import by_path
from metalearn.recording.weights_and_biases import WandbRun

__all__ = [
    "Collected",
    "Collection",
    "LandscapeFolder",
    "LocalRun",
    "NotSaved",
    "PixelStore",
    "Run",
    "RunFolderError",
    "Tiles",
    "Tracker",
    "WandbRun",
    "by_path",
    "collect_provenance",
    "collect_runs",
    "extend_evaluations",
    "load",
    "load_optimizer",
    "load_snapshot",
    "log_history",
    "open_run",
    "read_landscape",
    "read_metrics",
    "read_status",
    "save_optimizer",
    "save_result",
    "save_snapshot",
]
