"""Evaluate optimisers: learning curves on benchmarks, compared with baselines whose learning rates are swept."""

from metalearn.outer.evaluation.baselines import learning_curves, swept_rate
from metalearn.outer.evaluation.evaluate import evaluate
from metalearn.outer.evaluation.results import Curves, Evaluation

__all__ = ["Curves", "Evaluation", "evaluate", "learning_curves", "swept_rate"]
