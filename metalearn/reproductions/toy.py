"""Toy regression, whose optimum lies behind a range of chaos: Vicol, Metz & Sohl-Dickstein 2021 (arXiv 2112.13835)."""

import time
from collections.abc import Iterator, Sequence

import jax.numpy as jnp
import numpy as np
import optax

from metalearn.estimators import GradientEstimator, backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.inner import Truncation, toy_regression
from metalearn.reproductions.descents import iterates, meta_losses
from metalearn.reproductions.result import Result

HORIZON, NUM_STEPS = 100, 20_000
PROBLEM = toy_regression(HORIZON, objective="sum")
WINDOWS, WHOLE = Truncation(HORIZON, 10), Truncation(HORIZON, HORIZON)
PAIRS = {"sigma": 0.3, "num_pairs": 50}
STUCK, OPTIMUM = (2421, 2425), (560, 570)


def descend(estimator: GradientEstimator, seeds: Sequence[int] = (0, 1, 2)) -> tuple[np.ndarray, np.ndarray]:
    """The median of L over the last tenth `[seeds]`, and the first of the first 1000 outer steps with L < 700, −1 for none."""
    thetas = iterates(estimator, optax.adam(0.01, b1=0.99), (-4.0, -4.0), seeds, NUM_STEPS)
    rows = jnp.concatenate([thetas[:, :1000], thetas[:, -NUM_STEPS // 10 :: 10]], axis=1)
    losses = meta_losses(PROBLEM, rows, HORIZON)
    early, last = losses[:, :1000], losses[:, 1000:]
    first = np.where((early < 700).any(axis=1), np.argmax(early < 700, axis=1), -1)
    return np.median(last, axis=1), first


def results() -> Iterator[Result]:
    """L at the end: persistent and noise-reuse ES at the optimum, truncated methods at the border of chaos."""
    cases = {
        "PES": (persistent_es(PROBLEM, WINDOWS, **PAIRS), (0, 1, 2), OPTIMUM),
        "NRES": (noise_reuse_es(PROBLEM, WINDOWS, **PAIRS), (0, 1, 2), OPTIMUM),
        "truncated ES": (evolution_strategies(PROBLEM, WINDOWS, **PAIRS), (0, 1, 2), STUCK),
        "truncated ES, σ = 1": (
            evolution_strategies(PROBLEM, WINDOWS, sigma=1.0, num_pairs=50),
            (0, 1, 2),
            (1400, 1650),
        ),
        "truncated backprop": (backprop(PROBLEM, WINDOWS), (0,), STUCK),
    }
    for name, (estimator, seeds, (low, high)) in cases.items():
        began = time.perf_counter()
        losses, first = descend(estimator, seeds)
        spent = time.perf_counter() - began
        yield Result("toy regression", f"{name}: L at the end", low, high, tuple(losses.tolist()), spent)
        if name in ("PES", "NRES"):
            band = (600, 900) if name == "PES" else (580, 850)
            yield Result("toy regression", f"{name}: first outer step with L < 700", *band, tuple(first.tolist()), 0.0)
