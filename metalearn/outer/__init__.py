"""Floor 3: what is done with gradients: compare them at a point, or follow them.

Pure like the floors below: no files, no figures, no tracking; progress and logging come in as callbacks.
"""

from metalearn.outer.anatomy import Anatomy, Law, anatomy, lyapunov_law, on_plane
from metalearn.outer.baselines import learning_curves, swept_rate
from metalearn.outer.compare import compare
from metalearn.outer.diagnose import Diagnosis, diagnose
from metalearn.outer.evaluate import evaluate
from metalearn.outer.evolve import evolve
from metalearn.outer.held_out import held_out_loss
from metalearn.outer.history import Best, History, Snapshot
from metalearn.outer.judgement import Curves, Evaluation
from metalearn.outer.meta_train import first_snapshot, meta_train
from metalearn.outer.population import Population, population_based_training
from metalearn.outer.recommend import Recommendation
from metalearn.outer.report import Comparison, Measured, Report
from metalearn.outer.search import grid_search, random_search, uniform
from metalearn.outer.trajectories import outer_trajectories
from metalearn.outer.trials import Trials
from metalearn.outer.windows import Spectrum, predicted_variance, truncation_spectrum, window_jacobians

__all__ = [
    "Anatomy",
    "Best",
    "Comparison",
    "Curves",
    "Diagnosis",
    "Evaluation",
    "History",
    "Law",
    "Measured",
    "Population",
    "Recommendation",
    "Report",
    "Snapshot",
    "Spectrum",
    "Trials",
    "anatomy",
    "compare",
    "diagnose",
    "evaluate",
    "evolve",
    "first_snapshot",
    "grid_search",
    "held_out_loss",
    "learning_curves",
    "lyapunov_law",
    "meta_train",
    "on_plane",
    "outer_trajectories",
    "population_based_training",
    "predicted_variance",
    "random_search",
    "swept_rate",
    "truncation_spectrum",
    "uniform",
    "window_jacobians",
]
