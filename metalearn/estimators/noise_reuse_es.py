"""Noise-reuse evolution strategies (ES-Single): online and unbiased, with one perturbation per episode."""

import functools

from metalearn.estimators.base import GradientEstimator
from metalearn.estimators.generalized_persistent_es import generalized_persistent_es
from metalearn.estimators.particles import check_common
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.types import Theta


def noise_reuse_es(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    sigma: float | Theta,
    num_pairs: int,
    directions: str = "gaussian",
    fitness: str = "raw",
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator by online evolution strategies with one perturbation per episode.

        g_t = ε (L_t(θ+ε) − L_t(θ−ε)) / (2σ²),   ε ~ N(0, σ²I) drawn at the start of the episode and kept.

    With θ frozen, the mean over the windows of an episode equals the full ES estimate with the same ε (docs/theory.md
    §2.8). It is unbiased for ∇L_σ, and on linear losses its variance is (d+1)‖∇L‖² per pair for any number of windows.
    This is `generalized_persistent_es` with noise_period = horizon.

    Where a run diverges with positive probability, the smoothed meta-loss of a problem without a cap is infinite, and
    estimates are dominated by those runs: see `saturate`.

    Args:
      problem, sigma, num_pairs, directions, fitness, chunk_size: as in `persistent_es`.
      truncation: horizon and window; `stagger=True` lets every estimate see all parts of the horizon.

    Raises:
      TypeError, ValueError: as `persistent_es`.

    References:
      Li et al. 2023, Variance-reduced gradient estimation via noise-reuse in online evolution strategies (arXiv
      2304.12180); Vicol, Kolter, Swersky 2023, Low-variance gradient estimation in unrolled computation graphs with
      ES-Single (arXiv 2304.11153).
    """
    check_common(problem, truncation, chunk_size)
    estimate = functools.partial(generalized_persistent_es, problem, truncation, noise_period=truncation.horizon)
    return estimate(sigma=sigma, num_pairs=num_pairs, directions=directions, fitness=fitness, chunk_size=chunk_size)
