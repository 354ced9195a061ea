"""Toy regression, whose optimum is behind a chaotic region: Vicol, Metz & Sohl-Dickstein 2021 (arXiv 2112.13835)."""

import time
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.estimators import backprop, clip_gradient, combine, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.figures import draw_trajectories, later
from metalearn.inner.problems.chaotic import toy_regression
from metalearn.inner.unroll import Truncation, meta_loss
from metalearn.landscape import Axis, Plane, render
from metalearn.outer.meta_train_checks import Stages
from metalearn.reproductions.measurements import iterates, meta_losses
from metalearn.reproductions.result import NOT_FOUND, Picture, Result

HORIZON, NUM_STEPS, NUM_GROWING = 100, 20_000, 6000
PROBLEM = toy_regression(HORIZON, objective="sum")
WINDOWS, WHOLE = Truncation(HORIZON, 10), Truncation(HORIZON, HORIZON)
PAIRS = {"sigma": 0.3, "num_pairs": 50}
STUCK, OPTIMUM = (2421, 2425), (560, 570)
PUBLISHED = f"{NOT_FOUND}: curves (plot_toy_regression.py)"


def descend(
    estimator: Stages, seeds: Sequence[int] = (0, 1, 2), num_steps: int = NUM_STEPS
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run meta-training from several seeds.

    Returns:
      The median of L over the last tenth, `[seeds]`; the first of the first 1000 outer steps with L < 700, or −1,
      `[seeds]`; every hundredth iterate, `[seeds, num_steps / 100, 2]`.
    """
    thetas = iterates(estimator, optax.adam(0.01, b1=0.99), (-4.0, -4.0), seeds, num_steps)
    rows = jnp.concatenate([thetas[:, :1000], thetas[:, -num_steps // 10 :: 10]], axis=1)
    losses = meta_losses(PROBLEM, rows, HORIZON)
    early, last = losses[:, :1000], losses[:, 1000:]
    first = np.where((early < 700).any(axis=1), np.argmax(early < 700, axis=1), -1)
    return np.median(last, axis=1), first, np.asarray(thetas[:, ::100])


def growing_windows() -> Stages:
    """Build a schedule of windows that grow from 10 steps to the whole episode.

    The estimator is that of Metz et al. 2018 (arXiv 1810.10180): reparametrised backprop and ES with the same σ,
    averaged by inverse variance. Windows of 10 lead to the border of chaos, longer ones away from it. Without clipping,
    in one of five seeds, one exploded gradient dominates Adam's second moment, and θ no longer moves.
    """

    def stage(length):
        windows = Truncation(HORIZON, length)
        smooth = backprop(PROBLEM, windows, num_particles=50, sigma=PAIRS["sigma"])
        return clip_gradient(combine([smooth, evolution_strategies(PROBLEM, windows, **PAIRS)]), 100.0)

    return {0: stage(10), 1000: stage(25), 2000: stage(50), 3000: stage(100)}


def heat_map(paths: dict[str, np.ndarray]) -> Picture:
    """Draw the descents over L."""
    axes = Axis("θ₀, log rate at the start", -6.0, 6.0), Axis("θ₁, log rate at the end", -6.0, 6.0)
    plane = Plane(*axes, lambda x, y: jnp.stack([x, y]))
    key = jax.random.key(0)
    values = render(lambda theta: meta_loss(PROBLEM, theta, key, HORIZON), plane, 241, chunk_size=4096)
    figure = later(
        draw_trajectories, values, plane, paths, value_name="L", title="Toy regression: squares start, dots end"
    )
    return Picture("toy", figure)


def results() -> Iterator[Result | Picture]:
    """Yield the final L: persistent and noise-reuse ES reach the optimum, truncated methods the border of chaos."""
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
        "ES and backprop, W growing": (growing_windows(), (0, 1, 2), OPTIMUM),
    }
    paths = {}
    for name, (estimator, seeds, (low, high)) in cases.items():
        began = time.perf_counter()
        losses, first, paths[name] = descend(
            estimator, seeds, NUM_GROWING if isinstance(estimator, dict) else NUM_STEPS
        )
        spent = time.perf_counter() - began
        published = "no number: a schedule of our own" if isinstance(estimator, dict) else PUBLISHED
        yield Result("toy regression", f"{name}: L at the end", low, high, tuple(losses.tolist()), spent, published)
        if name in ("PES", "NRES"):
            band, steps = (600, 900) if name == "PES" else (580, 850), tuple(first.tolist())
            yield Result("toy regression", f"{name}: first outer step with L < 700", *band, steps, 0.0, PUBLISHED)
    yield heat_map(paths)
