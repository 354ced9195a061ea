"""Influence balancing, where the sign of the gradient depends on more than 40 steps.

Tallec & Ollivier 2017 (arXiv 1705.08209); Vicol, Metz & Sohl-Dickstein 2021 (arXiv 2112.13835). n = 23, p = 10, θ_0 =
½, SGD 1e-4, 3000 outer steps of one episode that is never reset; the optimum is θ* = −1/6. Estimators that forget
earlier steps move away from it.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import optax

from metalearn.estimators import (
    GradientEstimator,
    backprop,
    evolution_strategies,
    forward_mode,
    noise_reuse_es,
    persistent_es,
)
from metalearn.inner.problems.known import influence_balancing
from metalearn.inner.unroll import Truncation
from metalearn.reproductions.measurements import iterates
from metalearn.reproductions.result import NOT_FOUND, Result

PROBLEM = influence_balancing(23, 10)
NUM_STEPS, RATE, SIGMA, OPTIMUM = 3000, 1e-4, 0.1, -1 / 6
STEPWISE = Truncation(NUM_STEPS, 1)
HUNDREDS = Truncation(100 * NUM_STEPS, 100)
PUBLISHED = f"{NOT_FOUND}: curves (plot_influence_balancing.py)"


def descend(estimator: GradientEstimator, seeds: Sequence[int] = (0, 1, 2), rate: float = RATE) -> np.ndarray:
    """Return the last iterate of every seed."""
    return np.asarray(iterates(estimator, optax.sgd(rate), 0.5, seeds, NUM_STEPS + 1)[:, -1])


def results() -> Iterator[Result]:
    """Yield θ at the end of meta-training for each estimator."""
    many = {"sigma": SIGMA, "num_pairs": 500}
    close = (OPTIMUM - 1e-5, OPTIMUM + 1e-5)
    cases = {
        "forward mode": (forward_mode(PROBLEM, STEPWISE), (0,), close),
        "PES, 500 pairs": (persistent_es(PROBLEM, STEPWISE, **many), (0, 1, 2), close),
        "NRES, 500 pairs": (noise_reuse_es(PROBLEM, STEPWISE, **many), (0, 1, 2), close),
        "truncated backprop, W = 1": (backprop(PROBLEM, STEPWISE), (0,), (3.2587, 3.2607)),
        "truncated backprop, W = 100, mean of the window": (backprop(PROBLEM, HUNDREDS), (0,), (1.69, 1.71)),
        "truncated ES, W = 1": (evolution_strategies(PROBLEM, STEPWISE, **many), (0, 1, 2), (3.227, 3.292)),
    }
    for name, (estimator, seeds, (low, high)) in cases.items():
        began = time.perf_counter()
        ends = descend(estimator, seeds)
        spent = time.perf_counter() - began
        yield Result("influence balancing", f"{name}: θ at the end", low, high, tuple(ends.tolist()), spent, PUBLISHED)
