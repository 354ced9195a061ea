"""The parameters of the Lorenz system: Li et al. 2023, Noise-reuse in online evolution strategies (arXiv 2304.12180).

T = 2000, W = 100, σ = 0.04, SGD from (3.116, 3.7); workers are at independent times of their episodes (staggered).
Particles, rates, numbers of outer steps and seeds are those of the authors' lorenz_script.sh. Training is on one start,
the test is on starts with N(0, I) added. Iterates jitter, so a method is evaluated by the median test loss over the
last tenth of them. The test loss has a heavy tail: near the optimum a mean over 100 starts is off by several units,
hence 1000 starts.

The test loss is about 314 at the start. The bands: methods that are unbiased for a smoothed loss are below the methods
with truncated windows (62 … 90); methods that follow the derivative of the whole episode, which explodes, are above
200. The authors' UORO has one rank-one update for each inner step; ours has one for each window, with less variance.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import optax

from metalearn.estimators import (
    GradientEstimator,
    backprop,
    evolution_strategies,
    forward_gradient,
    noise_reuse_es,
    persistent_es,
    uoro,
)
from metalearn.inner.problems.chaotic import lorenz
from metalearn.inner.unroll import Truncation
from metalearn.reproductions.measurements import iterates, meta_losses
from metalearn.reproductions.result import NOT_FOUND, Result

HORIZON, START = 2000, (3.116, 3.7)
PROBLEM, TEST = lorenz(), lorenz(noise=1.0)
STAGGERED, WHOLE = Truncation(HORIZON, 100, stagger=True), Truncation(HORIZON, HORIZON)
SIGMA, SEEDS = 0.04, (101, 103, 107, 109, 113)
PUBLISHED = f"{NOT_FOUND}: settings (lorenz_script.sh)"


def losses_under_test(thetas, num_episodes: int = 100) -> np.ndarray:
    """Return the test loss at `[seeds, count, 2]` meta-parameters."""
    return meta_losses(TEST, thetas, HORIZON, num_episodes)


def descend(
    estimator: GradientEstimator, learning_rate, num_steps: int, seeds: Sequence[int] = SEEDS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the test loss and log a, medians over the last tenth, `[seeds]` each, and all iterates."""
    thetas = iterates(estimator, optax.sgd(learning_rate), START, seeds, num_steps)
    last = thetas[:, -num_steps // 10 :: num_steps // 200]
    return (
        np.median(losses_under_test(last, 1000), axis=1),
        np.median(np.asarray(last)[..., 0], axis=1),
        np.asarray(thetas),
    )


def settings(name: str) -> tuple[GradientEstimator, Any, int]:
    """Return the estimator, the learning rate and the outer steps of a method, as in the authors' script."""
    pairs, falling = {"sigma": SIGMA, "num_pairs": 200}, optax.piecewise_constant_schedule(1e-5, {1000: 0.1})
    return {
        "full ES": lambda: (evolution_strategies(PROBLEM, WHOLE, sigma=SIGMA, num_pairs=10), 3e-5, 2000),
        "NRES": lambda: (noise_reuse_es(PROBLEM, STAGGERED, **pairs), 1e-5, 5000),
        "PES": lambda: (persistent_es(PROBLEM, STAGGERED, **pairs), falling, 10_000),
        "truncated ES": lambda: (evolution_strategies(PROBLEM, STAGGERED, **pairs), 3e-4, 5000),
        "truncated backprop": lambda: (backprop(PROBLEM, STAGGERED, num_particles=200), 3e-4, 10_000),
        "full backprop": lambda: (backprop(PROBLEM, WHOLE), 1e-8, 1000),
        "DODGE": lambda: (forward_gradient(PROBLEM, STAGGERED, num_directions=200), 1e-10, 5000),
        "UORO": lambda: (uoro(PROBLEM, STAGGERED, num_particles=200), 1e-13, 5000),
    }[name]()


BANDS = {
    "full ES": (-np.inf, 55),
    "NRES": (-np.inf, 55),
    "PES": (-np.inf, 62),
    "truncated ES": (62, 90),
    "truncated backprop": (62, 90),
    "full backprop": (200, np.inf),
    "DODGE": (200, np.inf),
    "UORO": (200, np.inf),
}
SLOW = ("PES", "UORO")


def results() -> Iterator[Result]:
    """Yield the final test loss of every method, except for the two slowest ones."""
    return _results([name for name in BANDS if name not in SLOW])


def slow_results() -> Iterator[Result]:
    """Yield the final test loss of the two slowest methods."""
    return _results(SLOW)


def _results(names):
    for name in names:
        began = time.perf_counter()
        losses, _, _ = descend(*settings(name))
        spent, (low, high) = time.perf_counter() - began, BANDS[name]
        yield Result("Lorenz", f"{name}: test loss", low, high, tuple(losses.tolist()), spent, PUBLISHED)
