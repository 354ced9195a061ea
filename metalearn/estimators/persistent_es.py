"""Persistent evolution strategies: online and unbiased, with a new perturbation in every window."""

import functools

from metalearn.estimators.base import GradientEstimator
from metalearn.estimators.generalized_persistent_es import generalized_persistent_es
from metalearn.estimators.particles import check_common
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.types import Theta


def persistent_es(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    sigma: float | Theta,
    num_pairs: int,
    directions: str = "gaussian",
    fitness: str = "raw",
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator by evolution strategies that credit each window to all perturbations of its episode so far.

        g_t = ξ_t (L_t⁺ − L_t⁻) / (2σ²),   ξ_t = Σ_{τ ≤ t} ε_τ,   ε_τ ~ N(0, σ²I) new in each window.

    With θ frozen, the mean over an episode is unbiased for the gradient of the meta-loss smoothed with noise that is
    independent between windows (docs/theory.md §2.7). On losses that are not quadratic this target differs from ∇L_σ.
    The variance decreases with the number of windows if the gradients of the windows are equal, and increases with it
    if they are independent (docs/theory.md §4.4). This is `generalized_persistent_es` with noise_period = length.

    Where a run diverges with positive probability, the smoothed meta-loss of a problem without a cap is infinite, and
    estimates are dominated by those runs: see `saturate`.

    Args:
      problem: the inner problem; it need not be differentiable.
      truncation: horizon and window; with length == horizon the method is full ES.
      sigma: σ, the standard deviation of the perturbation in the space of θ: one number, or the structure of θ with a
        number or an array of the leaf's shape for each leaf.
      num_pairs: number of pairs ±ε; each takes 2·length inner steps per estimate.
      directions: "gaussian"; "orthogonal", the same distribution with pairs that are orthogonal in blocks of d, for
        less variance; "sphere" or "rademacher", which smooth L by another distribution (docs/theory.md §2.11).
      fitness: "raw" for the losses; "ranks" or "normalised", which replace them by their centred ranks, or by
        (ℓ − mean)/standard deviation, over all members of an estimate. Both add a bias (docs/theory.md §2.14).
      chunk_size: pairs advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, `sigma` is not a number or
        numbers, or `num_pairs` or `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, `sigma` is not positive and finite, `directions` or `fitness`
        is another name, or `num_pairs` or `chunk_size` is below 1. `init` raises it if `sigma` does not fit θ.

    References:
      Vicol, Metz, Sohl-Dickstein 2021, Unbiased gradient estimation in unrolled computation graphs with persistent
      evolution strategies (arXiv 2112.13835).
    """
    check_common(problem, truncation, chunk_size)
    estimate = functools.partial(generalized_persistent_es, problem, truncation, noise_period=truncation.length)
    return estimate(sigma=sigma, num_pairs=num_pairs, directions=directions, fitness=fitness, chunk_size=chunk_size)
