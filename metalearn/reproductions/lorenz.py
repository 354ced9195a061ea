"""The parameters of the Lorenz system: Li et al. 2023, Noise-reuse in online evolution strategies (arXiv 2304.12180).

T = 2000, W = 100, σ = 0.04, SGD from (3.116, 3.7), workers at independent times of their episodes (staggered). Trained
on one start, tested on starts with N(0, I) added. Iterates jitter, so a method is judged by the median test loss over
the last tenth of them. Its tail is heavy: near the optimum a mean over 100 starts is off by several units, hence 1000.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import optax

from metalearn.estimators import GradientEstimator, backprop, evolution_strategies, noise_reuse_es
from metalearn.inner.problems.chaotic import lorenz
from metalearn.inner.unroll import Truncation
from metalearn.reproductions.measurements import iterates, meta_losses
from metalearn.reproductions.result import NOT_FOUND, Result

HORIZON, START = 2000, (3.116, 3.7)
PROBLEM, TEST = lorenz(), lorenz(noise=1.0)
STAGGERED, WHOLE = Truncation(HORIZON, 100, stagger=True), Truncation(HORIZON, HORIZON)
SIGMA = 0.04
PUBLISHED = f"{NOT_FOUND}: settings (lorenz_script.sh)"


def losses_under_test(thetas, num_episodes: int = 100) -> np.ndarray:
    """The test loss at `[seeds, count, 2]` meta-parameters."""
    return meta_losses(TEST, thetas, HORIZON, num_episodes)


def descend(
    estimator: GradientEstimator, learning_rate, num_steps: int, seeds: Sequence[int] = (0, 1, 2)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The test loss and log a, medians over the last tenth, `[seeds]` each, and all iterates."""
    thetas = iterates(estimator, optax.sgd(learning_rate), START, seeds, num_steps)
    last = thetas[:, -num_steps // 10 :: num_steps // 200]
    return (
        np.median(losses_under_test(last, 1000), axis=1),
        np.median(np.asarray(last)[..., 0], axis=1),
        np.asarray(thetas),
    )


def results() -> Iterator[Result]:
    """The test loss at the end."""
    cases = {
        "full ES": (evolution_strategies(PROBLEM, WHOLE, sigma=SIGMA, num_pairs=10), 3e-5, 2000, (-np.inf, 55)),
        "NRES": (noise_reuse_es(PROBLEM, STAGGERED, sigma=SIGMA, num_pairs=200), 1e-5, 5000, (-np.inf, 55)),
        "truncated ES": (evolution_strategies(PROBLEM, STAGGERED, sigma=SIGMA, num_pairs=200), 3e-4, 5000, (62, 80)),
        "truncated backprop": (backprop(PROBLEM, STAGGERED, num_particles=50), 3e-4, 10_000, (62, 80)),
    }
    for name, (estimator, rate, num_steps, (low, high)) in cases.items():
        began = time.perf_counter()
        losses, _, _ = descend(estimator, rate, num_steps)
        spent = time.perf_counter() - began
        yield Result("Lorenz", f"{name}: test loss", low, high, tuple(losses.tolist()), spent, PUBLISHED)
