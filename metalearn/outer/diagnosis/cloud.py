"""The cloud of training runs around θ: full-horizon ES, the end states of its pairs, and the border of convergence."""

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
from metalearn.outer.comparison.report import Measurement
from metalearn.outer.comparison.statistics import UNKNOWN, cosine, estimate_mean, jackknife, statistics
from metalearn.threads import in_these_modes, on_every_device
from metalearn.types import Key, Theta

CHUNK = 16  # pairs run together
BOUND = 1e8  # pairs whose end states have a larger entry are left out of the spread of the cloud
DIRECTIONS, RINGS = 16, tuple(2.0 ** (k / 2) for k in range(-4, 11))  # where the border is searched, in units of σ


class Cloud(NamedTuple):
    """Antithetic pairs of whole episodes at θ ± σε.

    Attributes:
      mean, error: full-horizon ES, ∇L_σ, and its standard error, `[d]`; NaN if a pair diverged, or if fewer than two
        pairs have finite slopes.
      length, length_error: the length of ∇L_σ without the contribution of noise, √max(‖mean‖² − ‖error‖², 0), and its
        error.
      slopes: the estimate of each pair, `[num_pairs, d]`.
      spread: half the root-mean-square distance between the two end states s_T of a pair.
      converged: whether each run converged, `[num_pairs, 2]`.
      diverged: the fraction of pairs with a loss that is not finite.
      capped: the fraction of runs that end at the cap of the problem.
    """

    mean: np.ndarray
    error: np.ndarray
    length: float
    length_error: float
    slopes: np.ndarray
    spread: float
    converged: np.ndarray
    diverged: float
    capped: float

    @property
    def uncertainty(self) -> float:
        """Return ‖error‖ relative to the length."""
        return float(np.linalg.norm(self.error)) / self.length if self.length > 0 else math.inf

    def cosine(self, samples: np.ndarray) -> Measurement:
        """Return the cosine between the mean of independent vectors `[n, d]` and ∇L_σ, or NaN if either is unknown."""
        return (
            cosine(estimate_mean(samples), estimate_mean(self.slopes)) if len(samples) and len(self.slopes) else UNKNOWN
        )

    @property
    def signal_to_noise(self) -> Measurement:
        """Return the signal-to-noise ratio of one pair, corrected for noise; NaN if all slopes are equal."""
        if not len(self.slopes):
            return UNKNOWN
        values, errors = jackknife(statistics, self.slopes, np.sum(self.slopes**2, axis=1))
        return Measurement(max(values["signal_to_noise"], 0.0), errors["signal_to_noise"])


def measure_cloud(problem: InnerProblem, theta: Theta, truncation: Truncation, sigma: float, key: Key, num_pairs: int):
    """Run `num_pairs` pairs (rounded up to a multiple of 16) for whole episodes, and return the `Cloud`."""
    runs = _runs(problem, truncation.horizon)
    kind = trees.wide(ravel_pytree(theta)[0]).dtype

    def one(key):
        shifts, places, keys = _perturbed(theta, jnp.asarray(sigma, kind), key, truncation.key)
        pairs = lambda leaf: np.asarray(leaf).reshape(2, CHUNK, *leaf.shape[1:]).swapaxes(0, 1)
        return np.asarray(shifts), *map(pairs, runs(theta, places, keys))

    parts = on_every_device(in_these_modes(one), jax.random.split(key, -(-num_pairs // CHUNK)))
    return _make_cloud(sigma, *map(np.concatenate, zip(*parts)))


def border_distance(
    problem: InnerProblem, theta: Theta, sigma: float, horizon: int, episode: Key, key: Key
) -> tuple[bool, float]:
    """Return whether training converges at θ, and the distance to the nearest point where this differs.

    The points are on 16 rays and 15 rings, whose radii grow by a factor √2 from σ/4 to 32 σ. The distance is the radius
    of the first ring with a point that differs (σ/4 stands for any smaller distance), or infinity if there is none.
    """
    point = ravel_pytree(theta)[0]
    some = np.eye(min(len(point), DIRECTIONS // 2), len(point))
    axes = jnp.asarray(np.concatenate([some, -some]), point.dtype)
    others = jax.random.normal(key, (DIRECTIONS - len(axes), len(point)), point.dtype)
    rays = jnp.concatenate([axes, others / jnp.linalg.norm(others, axis=1, keepdims=True)])
    radii = jnp.asarray([0.0, *(sigma * ring for ring in RINGS)], point.dtype)
    places = (point[None, None] + radii[:, None, None] * rays[None]).reshape(-1, 2 * CHUNK, len(point))
    runs, keys = _runs(problem, horizon), jnp.broadcast_to(episode, (2 * CHUNK,))
    one = in_these_modes(lambda some: np.asarray(runs(theta, some, keys).label))
    labels = np.concatenate(list(on_every_device(one, places))).reshape(len(radii), DIRECTIONS)
    other = np.any(labels != labels[0, 0], axis=1)
    return bool(labels[0, 0]), float(radii[np.argmax(other)]) if other.any() else math.inf


class _Ends(NamedTuple):
    """The results of whole runs, `[2 · CHUNK]` each."""

    loss: Any
    diverged: Any
    capped: Any
    end: Any
    label: Any


@memoize
def _runs(problem, horizon) -> Any:
    """Return one program for the cloud and the border: 2 · CHUNK whole runs, each at its own θ and with its own key."""

    def run(theta, key):
        first, steps = split_episode(key)
        start = problem.init(theta, first)
        state, losses = unroll(problem, start, theta, steps, horizon)
        label = trains(losses, problem.loss(start, theta, steps))
        return _Ends(*read_window(problem, losses, state), tangent.flatten_state(state), label)

    @functools.partial(jit, name="runs about theta")
    def runs(theta, places, keys):
        unravel = ravel_pytree(theta)[1]
        return jax.vmap(lambda place, key: run(unravel(place), key))(places, keys)

    return runs


@functools.partial(jit, name="perturbations", calls=1)
def _perturbed(theta, sigma, key, episode):
    """Return the perturbations of a chunk of pairs, both ends of each pair, and the key of each run.

    All runs have the key `episode` if it is given.
    """
    point = ravel_pytree(theta)[0]
    noise, seeds = jax.random.split(key)
    shifts = sigma * jax.random.normal(noise, (CHUNK, len(point)), sigma.dtype)
    keys = jax.random.split(seeds, CHUNK) if episode is None else jnp.broadcast_to(episode, (CHUNK,))
    places = jnp.concatenate([point[None] + shifts, point[None] - shifts]).astype(point.dtype)
    return shifts, places, jnp.concatenate([keys, keys])


def _make_cloud(sigma, shifts, losses, diverged, capped, ends, labels) -> Cloud:
    losses, ends = losses.astype(np.float64), ends.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        slopes = shifts.astype(np.float64) * (losses[:, :1] - losses[:, 1:]) / (2 * sigma**2)
    finite = np.all(np.isfinite(slopes), axis=1)
    slopes, share, at_cap = slopes[finite], float(np.mean(diverged.any(axis=1) | ~finite)), float(np.mean(capped))
    if len(slopes) < 2 or share > 0:
        nothing = np.full(shifts.shape[1], np.nan)
        return Cloud(nothing, nothing, math.nan, math.nan, slopes[:0], math.nan, labels, share, at_cap)
    mean, error = slopes.mean(axis=0), slopes.std(axis=0, ddof=1) / math.sqrt(len(slopes))
    inside = ends[np.all(np.abs(ends) < BOUND, axis=(1, 2))]
    spread = math.sqrt(np.mean(np.sum((inside[:, 0] - inside[:, 1]) ** 2, axis=1))) / 2 if len(inside) else math.nan
    signal = max(float(np.sum(mean**2)) - float(np.sum(error**2)), 0.0)
    direction = mean / max(float(np.linalg.norm(mean)), 1e-300)
    length_error = float(np.linalg.norm(direction * error))
    return Cloud(mean, error, math.sqrt(signal), length_error, slopes, spread, labels, share, at_cap)
