"""Meta-training, and its tools: compare estimators, evaluate optimisers, search, and diagnose.

The outer loop (`meta_train`) and its history are in this package; `comparison`, `evaluation`, `search` and `diagnosis`
are subpackages. Functions write no files, draw no figures and track nothing. Progress and logging are callbacks.
"""

from metalearn.outer.comparison import Comparison, Measurement, Report, compare
from metalearn.outer.evaluation import Curves, Evaluation, evaluate, learning_curves, swept_rate
from metalearn.outer.held_out import held_out_loss
from metalearn.outer.history import Best, History, Snapshot
from metalearn.outer.meta_train import first_snapshot, meta_train
from metalearn.outer.observables import observable_names, observe
from metalearn.outer.study import Study
from metalearn.outer.trajectories import Descent, end_points, outer_trajectories, run_descents
from metalearn.outer.turning_point import TurningPoint, turning_point

__all__ = [
    "Best",
    "Comparison",
    "Curves",
    "Descent",
    "Evaluation",
    "History",
    "Measurement",
    "Report",
    "Snapshot",
    "Study",
    "TurningPoint",
    "compare",
    "end_points",
    "evaluate",
    "first_snapshot",
    "held_out_loss",
    "learning_curves",
    "meta_train",
    "observable_names",
    "observe",
    "outer_trajectories",
    "run_descents",
    "swept_rate",
    "turning_point",
]
