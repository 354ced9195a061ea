"""Floor 3: what is done with gradients: compare them at a point, or follow them.

Pure like the floors below: no files, no figures, no tracking; progress and logging come in as callbacks.
"""

from metalearn.outer.anatomy import Anatomy, Law, anatomy, lyapunov_law, on_plane
from metalearn.outer.compare import compare
from metalearn.outer.diagnose import Diagnosis, diagnose
from metalearn.outer.meta_train import History, meta_train
from metalearn.outer.recommend import Recommendation
from metalearn.outer.report import Comparison, Measured, Report
from metalearn.outer.trajectories import outer_trajectories
from metalearn.outer.windows import Spectrum, predicted_variance, truncation_spectrum, window_jacobians

__all__ = [
    "Anatomy",
    "Comparison",
    "Diagnosis",
    "History",
    "Law",
    "Measured",
    "Recommendation",
    "Report",
    "Spectrum",
    "anatomy",
    "compare",
    "diagnose",
    "lyapunov_law",
    "meta_train",
    "on_plane",
    "outer_trajectories",
    "predicted_variance",
    "truncation_spectrum",
    "window_jacobians",
]
