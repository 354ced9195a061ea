"""Floor 3: what is done with gradients: compare them at a point, or follow them.

The outer loop (`meta_train`) and what it keeps are here; `comparison`, `evaluation`, `search` and `diagnosis` are rooms
of their own. Functions are pure as on the floors below: no files, no figures, no tracking; progress and logging are
callbacks.
"""

from metalearn.outer.comparison import Comparison, Measurement, Report, compare
from metalearn.outer.evaluation import Curves, Evaluation, evaluate, learning_curves, swept_rate
from metalearn.outer.held_out import held_out_loss
from metalearn.outer.history import Best, History, Snapshot
from metalearn.outer.meta_train import first_snapshot, meta_train
from metalearn.outer.study import Study
from metalearn.outer.trajectories import Descent, end_points, outer_trajectories, run_descents

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
    "compare",
    "end_points",
    "evaluate",
    "first_snapshot",
    "held_out_loss",
    "learning_curves",
    "meta_train",
    "outer_trajectories",
    "run_descents",
    "swept_rate",
]
