"""Training at many points of a plane, for pictures of trainability.

Points are divided into bands, and a band into chunks. The pixels of a chunk are advanced together; a chunk is small
enough for the cache. After each segment of steps, the pixels of a band whose measure can no longer change are dropped,
and the others are packed into fewer chunks. Bands are independent: one thread on one device of one process computes a
band, always with the same program. The bits of a pixel therefore depend neither on the picture nor on the number of
devices, and no device waits for another.
"""

import functools
import hashlib
import multiprocessing
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.compilation import jit
from metalearn.inner.checks import check_count
from metalearn.inner.convolutions import prepare
from metalearn.inner.problem import InnerProblem, check_problem, split_episode, take_step
from metalearn.landscape import measure as accounts
from metalearn.landscape.shared_pixels import check_same_pixels, gather
from metalearn.threads import on_every_device
from metalearn.types import Key, Progress

SEGMENT = 25  # steps between two checks for settled pixels
CHUNK = 16  # pixels advanced together on a CPU: 16 networks of the published size fill a core's cache in float64
CHUNK_OF_ACCELERATOR = 4096
BAND = 512  # pixels whose states are in memory at a time; at least a chunk


@brief_help
class PixelMeasures(NamedTuple):
    """Results for a list of pixels; arrays `[count]`.

    Attributes:
      measure, converged, escape: as in `Landscape`.
      before: whether the run had converged at T/2.
      steps: the inner steps per pixel: those that the band computed, divided by its number of pixels.
    """

    measure: np.ndarray
    converged: np.ndarray
    before: np.ndarray
    escape: np.ndarray
    steps: np.ndarray


class _Running(NamedTuple):
    theta: Any
    state: Any
    record: accounts.Record
    stop: jax.Array


class _Settings(NamedTuple):
    problem: InnerProblem
    place: Callable
    num_steps: int
    chunk_size: int
    drop: bool


def measure_pixels(
    problem: InnerProblem,
    place: Callable,
    values: np.ndarray,
    *,
    num_steps: int,
    key: Key | None = None,
    chunk_size: int | None = None,
    drop_diverged: bool = True,
    progress: Progress | None = None,
    name: str = "pixels",
) -> PixelMeasures:
    """Train at points of a plane and measure convergence, as `trainability` does on a grid.

    Bands are distributed over the devices of this process, and over the processes of `jax.distributed` if it was
    initialised. In that case all processes must pass the same pixels, and each gets all results.

    Args:
      problem, num_steps, key, chunk_size, drop_diverged: as in `trainability`.
      place: `(x_value, y_value) -> theta`.
      values: x and y of each pixel, `[count, 2]`, float64.
      progress: called as `progress(name, pixels_done, pixels)` after each band.
      name: the name that is passed to `progress`.

    Raises:
      TypeError: `num_steps` or `chunk_size` is not a whole number, or `problem` cannot be traced with a θ of `place`.
      ValueError: `num_steps` or `chunk_size` is below 1, or processes pass different pixels.
    """
    check_count("num_steps", num_steps)
    settings = _Settings(problem, place, num_steps, _chunk(chunk_size), drop_diverged)
    values = np.asarray(values, np.float64).reshape(-1, 2)
    if not len(values):
        return _nothing()
    with jax.enable_x64(True):
        key = jax.random.key(0) if key is None else key
        check_problem(in_float64(problem), jax.tree.map(jnp.asarray, place(*jnp.asarray(values[0]))))
    size = min(band_size(chunk_size), _balanced(len(values), settings.chunk_size))
    check_same_pixels(values)
    bands = [values[first : first + size] for first in range(0, len(values), size)]
    mine = range(jax.process_index(), len(bands), jax.process_count())
    parts, done = [], 0
    for part in on_every_device(lambda index: _band(settings, bands[index], key), mine):
        parts.append(part)
        done += len(part.measure) * jax.process_count()
        if progress is not None:
            progress(name, min(done, len(values)), len(values))
    if jax.process_count() > 1:
        parts = gather(parts, _nothing(), [len(band) for band in bands])
    return PixelMeasures(*map(np.concatenate, zip(*parts)))


@jax.enable_x64(True)
def hash_program(problem: InnerProblem, place: Callable, num_steps: int, key: Key | None) -> str:
    """Return a hash of the computation at a pixel: the programs of the problem with their constants, T and the key."""

    def once(x, y, key):
        theta = place(x, y)
        state = problem.init(theta, key)
        return problem.step(state, theta, key), problem.loss(state, theta, key)

    key = jax.random.key(0) if key is None else key
    text = jax.jit(once).lower(jnp.zeros(()), jnp.zeros(()), key).as_text()
    return hashlib.sha256(f"{text} {num_steps} {np.asarray(jax.random.key_data(key))}".encode()).hexdigest()[:16]


def band_size(chunk_size: int | None = None) -> int:
    """Return the number of pixels in a band: 512, rounded up to whole chunks."""
    chunk = _chunk(chunk_size)
    return -(-BAND // chunk) * chunk


def _balanced(count, chunk):
    """Return the size of bands that gives every core of a CPU a band, in whole chunks."""
    workers = jax.process_count() * (multiprocessing.cpu_count() if jax.default_backend() == "cpu" else 1)
    return -(-count // (workers * chunk)) * chunk


def _chunk(chunk_size):
    if chunk_size is None:
        return CHUNK if jax.default_backend() == "cpu" else CHUNK_OF_ACCELERATOR
    check_count("chunk_size", chunk_size)
    return chunk_size


def _nothing():
    return PixelMeasures(np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), np.zeros(0, np.int32), np.zeros(0))


@jax.enable_x64(True)
def _band(settings, values, key):
    """Compute the pixels of one band."""
    count, chunk = len(values), settings.chunk_size
    size = band_size(chunk)
    padded = np.concatenate([values, np.repeat(values[-1:], size - count, axis=0)])
    pixels = _start(padded, key, settings)
    active, spent = np.arange(count), 0
    for first in range(0, settings.num_steps, SEGMENT):
        last = min(first + SEGMENT, settings.num_steps)
        order = np.full(size, size, np.int32)
        order[: len(active)] = active
        chunks = -(-len(active) // chunk)
        pixels = _advance(pixels, order, chunks, first, last, key, settings)
        spent += chunks * chunk * (last - first)
        if settings.drop:
            active = active[np.asarray(pixels.stop)[active] == settings.num_steps]
            if not len(active):
                break
    measure, converged, before, escape = (np.asarray(result)[:count] for result in _finish(pixels, settings))
    return PixelMeasures(measure, converged, before, escape, np.full(count, spent / count))


def in_float64(problem):
    """Return the problem with the float32 arrays of its first state, such as existing weights, converted to float64."""
    double = lambda leaf: jnp.asarray(leaf, float) if not trees.is_key(leaf) and _is_float32(leaf) else leaf
    return problem._replace(init=lambda theta, key: jax.tree.map(double, problem.init(theta, key)))


def _is_float32(leaf):
    return jnp.result_type(leaf) == jnp.float32


@functools.partial(jit, name="starts of pixels", static_argnames="settings")
def _start(values, key, settings):
    start, steps = split_episode(key)

    def one(value):
        theta = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), settings.place(value[0], value[1]))
        state = trees.strong(in_float64(settings.problem).init(theta, start))
        loss = settings.problem.loss(state, theta, jax.random.fold_in(steps, 0))
        return _Running(theta, state, accounts.begin(loss.astype(float)), jnp.asarray(settings.num_steps, jnp.int32))

    chunks = jax.lax.map(jax.vmap(one), values.reshape(-1, settings.chunk_size, 2))
    return jax.tree.map(lambda leaf: leaf.reshape(len(values), *leaf.shape[2:]), chunks)


@functools.partial(jit, name="pixels", static_argnames="settings", donate_argnums=0)
def _advance(pixels, order, num_chunks, first, last, key, settings):
    """Take the steps first … last − 1 of the pixels with the indices `order`, and mark settled pixels as stopped."""
    problem, size = prepare(settings.problem), settings.chunk_size
    _, steps = split_episode(key)

    def step(index, carry):
        thetas, states, records, _ = carry
        here = jax.random.fold_in(steps, index)

        def one(theta, state, record):
            loss = problem.loss(state, theta, here)
            if problem.cap is not None:  # a diverged run must not count as a run with a loss at the cap
                loss = jnp.where(_is_lost(state), jnp.nan, loss)
            loss, moved = loss.astype(float), take_step(problem, state, theta, here)
            return moved, accounts.observe(record, loss, index, settings.num_steps), loss

        return thetas, *jax.vmap(one)(thetas, states, records)

    def chunk(index, pixels):
        rows = jax.lax.dynamic_slice(order, (index * size,), (size,))
        part = jax.tree.map(lambda leaf: leaf.at[rows].get(mode="clip"), pixels)
        carry = (part.theta, part.state, part.record, jnp.zeros(size))
        theta, state, record, loss = jax.lax.fori_loop(first, last, step, carry)
        lost = jnp.isnan(loss) & jax.vmap(_is_lost)(state) & settings.drop
        stop = jnp.where(lost, last, part.stop)
        part = _Running(theta, state, record, stop.astype(jnp.int32))
        return jax.tree.map(lambda leaf, new: leaf.at[rows].set(new, mode="drop"), pixels, part)

    return jax.lax.fori_loop(0, num_chunks, chunk, pixels)


def _is_lost(state):
    """Return whether a floating-point array of the state consists of NaN only."""
    lost = [jnp.all(jnp.isnan(leaf)) for leaf in jax.tree.leaves(state) if trees.is_inexact(leaf) and leaf.size]
    return jnp.any(jnp.stack(lost)) if lost else jnp.array(False)


@functools.partial(jit, name="ends of pixels", static_argnames="settings")
def _finish(pixels, settings):
    record = accounts.settle(pixels.record, pixels.stop, settings.num_steps)
    return *accounts.verdict(record, settings.num_steps), record.escape
