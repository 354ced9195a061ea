"""Run many independent episodes of an estimator at a fixed θ, and measure their cost."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn.compilation import Program, asked_effort, jit
from metalearn.estimators import GradientEstimator
from metalearn.estimators.chunk_size import cache_chunk, even_chunk
from metalearn.memoization import memoize
from metalearn.outer.dominance import dominance
from metalearn.threads import in_these_modes, modes, on_every_device
from metalearn.types import Key, Progress, Theta

BATCHES = 8
SECONDS, FEWEST_TIMINGS, MOST_TIMINGS = 0.3, 3, 20
LONG = 3.0  # seconds of a run, from which two timings are enough


@dataclasses.dataclass(frozen=True)
class Episodes:
    """The results of one estimator in many episodes; everything is float64 on the host.

    Attributes:
      means: the mean estimate of each episode, `[num_episodes, d]`.
      squares: the mean of ‖g_t‖² over the windows of each episode, `[num_episodes]`.
      inner_steps: inner steps per episode, including the burn-in.
      seconds, seconds_error: time per episode without compilation; NaN if it was not measured.
      fraction_diverged, fraction_capped: fractions of the particles, averaged over the windows.
      loss: the mean loss of the estimates.
      dominance: the share of the loss that is due to the worst 1 % of the particles, or 0 if it is small
        (`outer.dominance`).
    """

    means: np.ndarray
    squares: np.ndarray
    inner_steps: float
    seconds: float
    seconds_error: float
    fraction_diverged: float
    fraction_capped: float
    loss: float
    dominance: float

    @property
    def mean(self) -> np.ndarray:
        return self.means.mean(axis=0)

    @property
    def variance(self) -> float:
        """Return the trace of the covariance of one episode's estimate."""
        return float(self.means.var(axis=0, ddof=1).sum()) if len(self.means) > 1 else float("nan")


class Batch(NamedTuple):
    """A compiled batch of episodes: `run(theta, keys)` with `size` keys; an estimate averages over `particles`."""

    run: Callable[[Theta, jax.Array], Any]
    size: int
    particles: int


def compile_episodes(estimator: GradientEstimator, theta: Theta, num_episodes: int, key: Key) -> Batch:
    """Compile one program for a batch of independent episodes at a fixed θ.

    Each episode starts from `estimator.init` and contains every window once. The program is cached, and is reused for
    other θ of the same shapes.
    """
    leaves, tree = jax.tree.flatten(jax.eval_shape(lambda theta: theta, theta))
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    implementation, under = str(jax.random.key_impl(key)), (modes(), device, asked_effort())
    make, numbers = shared_program(estimator)
    numbers = tuple(map(jnp.asarray, numbers))
    together, windows = _together(estimator.description, theta, num_episodes)
    size = together * max(
        1, num_episodes // (BATCHES * together)
    )  # whole groups, because a remainder would need a second program
    calls = -(-num_episodes // size)
    forms = tuple(map(jax.typeof, numbers))
    run = _compile(make, tree, tuple(leaves), forms, windows, together, size, calls, implementation, under)
    particles = 1 if estimator.description is None else estimator.description.num_particles
    return Batch(lambda theta, keys: run(theta, keys, numbers), size, particles)


def shared_program(estimator: GradientEstimator) -> tuple[Any, Any]:
    """Return `(make, numbers)`. Estimators with the same `make` share programs; others are their own `make`."""
    family = estimator.estimate.family if isinstance(estimator.estimate, Program) else None
    return (estimator, ()) if family is None or family.init is not estimator.init else (family.make, family.numbers)


def _together(description, theta, num_episodes) -> tuple[int, int]:
    """Return how many episodes run together, and the windows of each."""
    if description is None:
        return 1, 1
    particles = description.num_particles
    room = cache_chunk(description.problem, theta, 64 * particles) // particles
    return even_chunk(num_episodes, max(room, 1)), description.truncation.num_windows


@memoize
def _compile(make, tree, leaves, forms, windows, together, size, calls, implementation, under) -> Any:
    """Compile; `under` holds the settings that affect the compilation, as a part of the cache key."""

    def episode(estimator, theta, key):
        keys = jax.random.split(key, windows + 1)

        def window(state, key):
            gradient, state, metrics = estimator.estimate(theta, state, key)
            return state, (ravel_pytree(gradient)[0], metrics)

        return jax.lax.scan(window, estimator.init(theta, keys[0]), keys[1:])[1]

    def episodes(theta, keys, numbers):
        estimator = make if isinstance(make, GradientEstimator) else make(numbers)
        return jax.lax.map(lambda key: episode(estimator, theta, key), keys, batch_size=together)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0, impl=implementation), size))
    return jit(episodes, "episodes", calls).ahead(jax.tree.unflatten(tree, leaves), keys, forms)


def run_episodes(
    batch: Batch, theta: Theta, key: Key, num_episodes: int, *, name: str = "", progress: Progress | None = None
) -> Episodes:
    """Run a program at θ for `num_episodes` episodes; on a single CPU device two batches run at a time.

    The time of an episode is NaN; `seconds_per_episode` measures it.
    """
    size = batch.size
    keys = jax.random.split(key, -(-num_episodes // size) * size).reshape(-1, size)
    one = in_these_modes(lambda keys: jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), batch.run(theta, keys)))
    parts = []
    for part in on_every_device(one, keys) if jax.local_device_count() == 1 else map(one, keys):
        parts.append(part)
        if progress is not None:
            progress(name, min(len(parts) * size, num_episodes), num_episodes)
    gradients, metrics = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:num_episodes], *parts)
    with np.errstate(over="ignore", invalid="ignore"):  # the square of an exploding gradient is infinite
        means, squares = gradients.mean(axis=1), np.square(gradients).sum(axis=2).mean(axis=1)
    return Episodes(
        means=means,
        squares=squares,
        inner_steps=float(metrics["inner_steps"].sum(axis=1).mean()),
        seconds=math.nan,
        seconds_error=math.nan,
        fraction_diverged=float(metrics["fraction_diverged"].mean()),
        fraction_capped=float(np.mean(metrics.get("fraction_capped", 0.0))),
        loss=float(np.nanmean(metrics["loss"])) if np.isfinite(metrics["loss"]).any() else float("nan"),
        dominance=dominance(metrics, batch.particles),
    )


def seconds_per_episode(batch: Batch, theta: Theta, key: Key) -> tuple[float, float]:
    """Measure the time per episode of a batch, and its standard error, when nothing else runs.

    It is the mean over at least `FEWEST_TIMINGS` runs, and over more runs (at most `MOST_TIMINGS`) until they take
    `SECONDS`. The first run is discarded if it is shorter than `SECONDS`. If the first run takes `LONG` or more, two
    runs are timed, and the standard error is |t₁ − t₂|/2, with one degree of freedom. The batch must have run before.
    """
    keys = jax.block_until_ready(jax.random.split(key, batch.size))

    def once():
        began = time.perf_counter()
        jax.block_until_ready(batch.run(theta, keys))
        return time.perf_counter() - began

    first = once()
    taken = [first] if first > SECONDS else []  # a long run is hardly affected by cold caches
    fewest = FEWEST_TIMINGS if first < LONG else 2
    while len(taken) < fewest or (sum(taken) < SECONDS and len(taken) < MOST_TIMINGS):
        taken.append(once())
    spread = float(np.std(taken, ddof=1)) / math.sqrt(len(taken))
    return float(np.mean(taken)) / batch.size, spread / batch.size


def time_episode(batch: Batch, run, found: Episodes, key: Key) -> tuple[float, float]:
    """Measure as `seconds_per_episode`; equal episodes are timed alone, because a batch computes them once for all."""
    if len(found.means) > 1 and np.array_equal(found.means, np.broadcast_to(found.means[:1], found.means.shape)):
        batch = compile_episodes(run.estimator, run.theta, 1, key)
    return seconds_per_episode(batch, run.theta, key)
