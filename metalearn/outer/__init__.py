"""Floor 3: what is done with gradients: compare them at a point, or follow them.

Pure like the floors below: no files, no figures, no tracking; progress and logging come in as callbacks.
"""

from metalearn.outer.comparison.compare import compare
from metalearn.outer.comparison.report import Comparison, Measurement, Report
from metalearn.outer.diagnosis.anatomy import Anatomy, Law, anatomy, lyapunov_law, on_plane
from metalearn.outer.diagnosis.diagnose import Diagnosis, diagnose
from metalearn.outer.diagnosis.recommend import Recommendation
from metalearn.outer.diagnosis.window_jacobians import (
    Spectrum,
    predicted_variance,
    truncation_spectrum,
    window_jacobians,
)
from metalearn.outer.evaluation.baselines import learning_curves, swept_rate
from metalearn.outer.evaluation.evaluate import evaluate
from metalearn.outer.evaluation.results import Curves, Evaluation
from metalearn.outer.held_out import held_out_loss
from metalearn.outer.history import Best, History, Snapshot
from metalearn.outer.meta_train import first_snapshot, meta_train
from metalearn.outer.search.evolve import evolve
from metalearn.outer.search.population import Population, population_based_training
from metalearn.outer.search.random_search import grid_search, random_search, uniform
from metalearn.outer.search.trials import Trials
from metalearn.outer.trajectories import outer_trajectories

__all__ = [
    "Anatomy",
    "Best",
    "Comparison",
    "Curves",
    "Diagnosis",
    "Evaluation",
    "History",
    "Law",
    "Measurement",
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
