"""The weight decay of a linear model: Vicol, Metz & Sohl-Dickstein 2021 (arXiv 2112.13835).

The data are a synthetic replacement for the UCI yacht data. Windows of one step, never reset, 2 pairs, σ = 0.01, Adam
3e-3, 50 000 outer steps. The true optimum is log λ = 3.82; estimators that see only one step converge to 3.58. Iterates
jitter, so the result is the median over the last tenth.
"""

import importlib.resources
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import optax

from metalearn.estimators import backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import l2_tuning
from metalearn.inner.unroll import Truncation
from metalearn.reproductions.measurements import iterates
from metalearn.reproductions.result import Result

NUM_STEPS = 50_000
STEPWISE = Truncation(NUM_STEPS, 1)
PAIRS = {"sigma": 0.01, "num_pairs": 2}
PUBLISHED = "no number for these data; optimum 1.33 for UCI yacht (plot_uci.py)"


def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return training inputs and targets, and validation inputs and targets."""
    with (importlib.resources.files("metalearn.reproductions") / "l2_tuning_data.npz").open("rb") as file:
        arrays = dict(np.load(file))
    x, y, count = arrays["X"], arrays["y"], int(arrays["ntrain"])
    return x[:count], y[:count], x[count:], y[count:]


def problem() -> InnerProblem:
    """Return weight decay tuning on these data."""
    return l2_tuning(*data())


def descend(make: Callable[..., Any], seeds: Sequence[int] = (0, 1, 2), **settings: Any) -> np.ndarray:
    """Return the median of θ over the last tenth of the iterates, `[seeds]`."""
    thetas = iterates(make(problem(), STEPWISE, **settings), optax.adam(3e-3), 0.0, seeds, NUM_STEPS)
    return np.median(thetas[:, -NUM_STEPS // 10 :], axis=1)


def results() -> Iterator[Result]:
    """Yield log λ at the end of meta-training for each estimator."""
    cases = {
        "truncated backprop": (backprop, (0,), {}, (3.53, 3.63)),
        "truncated ES": (evolution_strategies, (0, 1, 2), PAIRS, (3.53, 3.63)),
        "NRES": (noise_reuse_es, (0, 1, 2), PAIRS, (3.77, 3.87)),
        "PES": (persistent_es, (0, 1, 2), PAIRS, (3.6, 4.4)),
    }
    for name, (make, seeds, settings, (low, high)) in cases.items():
        began = time.perf_counter()
        ends = descend(make, seeds, **settings)
        spent = time.perf_counter() - began
        yield Result("weight decay", f"{name}: log λ", low, high, tuple(ends.tolist()), spent, PUBLISHED)
