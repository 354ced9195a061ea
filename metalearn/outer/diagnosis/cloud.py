"""The cloud of runs about θ: full-horizon ES, where the two ends of its pairs go, and where training stops to converge."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.compilation import jit
from metalearn.dynamics import tangent
from metalearn.inner.divergence import read_window
from metalearn.inner.problem import InnerProblem, split_episode
from metalearn.inner.unroll import Truncation, unroll
from metalearn.landscape.measure import trains
from metalearn.memoization import memoize
from metalearn.threads import in_these_modes, on_every_device
from metalearn.types import Key, Theta

CHUNK = 16  # pairs run together
CLOUD_CALLS = 32  # of a chunk, at one point: 256 pairs, and 32 for each of five sigmas
BOUND = 1e8  # of the state's entries: what left it has no place in the spread of the cloud
DIRECTIONS, RINGS = 16, tuple(2.0 ** (k / 2) for k in range(-4, 11))  # where the border is looked for, in σ


class Cloud(NamedTuple):
    """Antithetic pairs of whole runs at θ ± σε.

    Attributes:
      mean, error: full-horizon ES, ∇L_σ, and its standard error, `[d]`; NaN where a pair diverged, or fewer than two had finite slopes.
      length, length_error: of ∇L_σ, less what noise alone contributes, √max(‖mean‖² − ‖error‖², 0).
      signal_to_noise: of one pair, less what noise alone contributes; NaN where all pairs are level.
      spread: half the distance of the two ends s_T of a pair, in the root mean square.
      converged: whether the runs converged, `[num_pairs, 2]`.
      diverged: the share of the pairs with a loss that was not finite.
    """

    mean: np.ndarray
    error: np.ndarray
    length: float
    length_error: float
    signal_to_noise: float
    spread: float
    converged: np.ndarray
    diverged: float

    @property
    def uncertainty(self) -> float:
        """‖error‖ in units of the length."""
        return float(np.linalg.norm(self.error)) / self.length if self.length > 0 else math.inf

    def cosine(self, vector) -> float:
        """Between a vector and ∇L_σ, less the shortening by the noise of the mean; NaN where there is no direction."""
        lengths = float(np.linalg.norm(vector)) * self.length
        return float(np.clip(vector @ self.mean / lengths, -1, 1)) if lengths > 0 else math.nan


def measure_cloud(problem: InnerProblem, theta: Theta, truncation: Truncation, sigma: float, key: Key, num_pairs: int):
    """Run `num_pairs` pairs (rounded up to a multiple of 16) over whole episodes."""
    some = _pairs(problem, truncation)
    kind = trees.wide(ravel_pytree(theta)[0]).dtype
    one = in_these_modes(lambda key: jax.tree.map(np.asarray, some(theta, jnp.asarray(sigma, kind), key)))
    parts = on_every_device(one, jax.random.split(key, -(-num_pairs // CHUNK)))
    return _make_cloud(sigma, *map(np.concatenate, zip(*parts)))


def border_distance(
    problem: InnerProblem, theta: Theta, sigma: float, horizon: int, episode: Key, key: Key
) -> tuple[bool, float]:
    """Whether training converges at θ, and the distance to where it does otherwise: the nearest of 15 rings, a factor √2
    apart from σ/4 (which stands for anything nearer) to 32 σ, on 16 rays; infinite where there is none.
    """
    point = ravel_pytree(theta)[0]
    some = np.eye(min(len(point), DIRECTIONS // 2), len(point))
    axes = jnp.asarray(np.concatenate([some, -some]), point.dtype)
    others = jax.random.normal(key, (DIRECTIONS - len(axes), len(point)), point.dtype)
    rays = jnp.concatenate([axes, others / jnp.linalg.norm(others, axis=1, keepdims=True)])
    radii = jnp.asarray([0.0, *(sigma * ring for ring in RINGS)], point.dtype)
    places = point[None, None] + radii[:, None, None] * rays[None]
    label = _labels(problem, horizon)
    labels = np.stack(
        list(on_every_device(in_these_modes(lambda ring: np.asarray(label(theta, ring, episode))), places))
    )
    other = np.any(labels != labels[0, 0], axis=1)
    return bool(labels[0, 0]), float(radii[np.argmax(other)]) if other.any() else math.inf


def _run(problem, horizon):
    """θ, episode key -> reading, end of the state, label."""

    def run(theta, key):
        first, steps = split_episode(key)
        start = problem.init(theta, first)
        state, losses = unroll(problem, start, theta, steps, horizon)
        label = trains(losses, problem.loss(start, theta, steps))
        return read_window(problem, losses, state), tangent.flatten_state(state), label

    return run


@memoize
def _pairs(problem, truncation) -> Any:
    run = _run(problem, truncation.horizon)

    @functools.partial(jit, name="the cloud", calls=CLOUD_CALLS)
    def some(theta, sigma, key):
        point, unravel = ravel_pytree(theta)
        noise, seeds = jax.random.split(key)
        shifts = sigma * jax.random.normal(noise, (CHUNK, len(point)), sigma.dtype)
        keys = jax.random.split(seeds, CHUNK)
        if truncation.key is not None:
            keys = jnp.broadcast_to(truncation.key, (CHUNK,))
        up, down = (
            jax.vmap(lambda e, k, s=sign: run(unravel((point + s * e).astype(point.dtype)), k))(shifts, keys)
            for sign in (1, -1)
        )
        readings, ends, labels = jax.tree.map(lambda a, b: jnp.stack([a, b], axis=1), up, down)
        return shifts, readings.loss, jnp.any(readings.diverged, axis=1), ends, labels

    return some


@memoize
def _labels(problem, horizon) -> Any:
    run = _run(problem, horizon)

    @functools.partial(jit, name="the border", calls=1 + len(RINGS))
    def labels(theta, places, episode):
        unravel = ravel_pytree(theta)[1]
        return jax.vmap(lambda place: run(unravel(place), episode)[2])(places)

    return labels


def _make_cloud(sigma, shifts, losses, diverged, ends, labels) -> Cloud:
    losses, ends = losses.astype(np.float64), ends.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        slopes = shifts.astype(np.float64) * (losses[:, :1] - losses[:, 1:]) / (2 * sigma**2)
    memoize = np.all(np.isfinite(slopes), axis=1)
    slopes, share = slopes[memoize], float(np.mean(diverged | ~memoize))
    if len(slopes) < 2 or share > 0:
        nothing = np.full(shifts.shape[1], np.nan)
        return Cloud(nothing, nothing, math.nan, math.nan, math.nan, math.nan, labels, share)
    mean, error = slopes.mean(axis=0), slopes.std(axis=0, ddof=1) / math.sqrt(len(slopes))
    inside = ends[np.all(np.abs(ends) < BOUND, axis=(1, 2))]
    spread = math.sqrt(np.mean(np.sum((inside[:, 0] - inside[:, 1]) ** 2, axis=1))) / 2 if len(inside) else math.nan
    variance = float(np.sum(error**2) * len(slopes))
    signal = max(float(np.sum(mean**2)) - float(np.sum(error**2)), 0.0)
    snr = signal / variance if variance else math.inf if signal else math.nan
    direction = mean / max(float(np.linalg.norm(mean)), 1e-300)
    length_error = float(np.linalg.norm(direction * error))
    return Cloud(mean, error, math.sqrt(signal), length_error, snr, spread, labels, share)
