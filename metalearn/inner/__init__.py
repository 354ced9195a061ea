"""Inner problems.

An `InnerProblem` is an iterated map s ← F(s, θ) with an observable ℓ(s, θ). Examples are the training of a network
(`training`), the logistic map and the Lorenz system (`problems`). `learned` holds optimisers whose weights are θ.
"""

from metalearn.inner.derived import final_loss, in_windows, strided
from metalearn.inner.differentiable import check_problem
from metalearn.inner.distribution import task_distribution
from metalearn.inner.divergence import saturate
from metalearn.inner.objectives import averaged_loss, minimum_loss, quantile_loss, time_to_reach, weighted_loss
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation, meta_loss, unroll

__all__ = [
    "InnerProblem",
    "Truncation",
    "averaged_loss",
    "check_problem",
    "final_loss",
    "in_windows",
    "meta_loss",
    "minimum_loss",
    "quantile_loss",
    "saturate",
    "strided",
    "task_distribution",
    "time_to_reach",
    "unroll",
    "weighted_loss",
]
