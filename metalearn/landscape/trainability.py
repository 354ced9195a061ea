"""Where training converges and where it diverges: the measure of `convergence_measure` on a plane, without histories."""

import functools
import multiprocessing
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner.checks import check_count
from metalearn.inner.problem import InnerProblem, Key, check_problem
from metalearn.landscape import measure as accounts
from metalearn.landscape.plane import Plane
from metalearn.landscape.render import check_resolution

BAND = 512  # pixels whose states are held at a time, by each thread
CHUNK = 16  # pixels advanced together
SEGMENT = 25  # steps between two looks for pixels that are settled


class Landscape(NamedTuple):
    """Trainability on a grid; arrays `[height, width]`, row = y, ascending.

    Attributes:
      measure: negative where training converged, positive where it diverged; float64, finite.
      converged: the mean of the last 20 losses is below the first.
      undecided: the label at T/2 is another than at T.
      escape: the first step whose loss is not finite, −1 for none.
      plane: the plane that was rendered.
      num_steps: T.
      pixel_steps: the inner steps that were computed; fewer than width · height · T where pixels settled early.
    """

    measure: np.ndarray
    converged: np.ndarray
    undecided: np.ndarray
    escape: np.ndarray
    plane: Plane
    num_steps: int
    pixel_steps: int


class _Pixels(NamedTuple):
    theta: Any
    state: Any
    record: accounts.Record
    stop: jax.Array


class _Settings(NamedTuple):
    problem: InnerProblem
    place: Callable
    chunk_size: int
    num_steps: int
    drop: bool


def trainability(
    problem: InnerProblem,
    plane: Plane,
    *,
    num_steps: int,
    resolution: int | tuple[int, int],
    key: Key | None = None,
    chunk_size: int = CHUNK,
    drop_diverged: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> Landscape:
    """Train at every point of a plane and measure how it converged or diverged.

    The loss ℓ_t is read before step t, t = 0 … T−1, and accumulated as `convergence_measure` defines; no history is
    kept. Everything is computed in float64, whatever the process runs in. Every 25 steps the pixels whose measure can
    no longer change are dropped: those whose loss is NaN and in whose state some array is NaN throughout. A program is
    compiled once for a problem, a `place` and a number of steps; windows and resolutions share it. Pixels are mapped
    in chunks of a fixed size, so that a pixel has the same bits whatever picture it belongs to.

    Args:
      problem: the inner problem; all pixels see the same key.
      plane: where.
      num_steps: T.
      resolution: points per side, or (width, height), each at least 2.
      key: the key of the episode, `jax.random.key(0)` by default.
      chunk_size: pixels advanced together; 16 networks of the published size fill a core's cache in float64.
      drop_diverged: False for a problem that comes back from states that are NaN.
      progress: called as `progress(pixels_done, pixels)` after each band of 512 pixels.

    Raises:
      TypeError, ValueError: a sentence that names the argument.

    Warns:
      UserWarning: the pixels of a zoom are closer than 100 roundings of θ.
    """
    width, height = check_resolution(resolution)
    check_count("num_steps", num_steps)
    check_count("chunk_size", chunk_size)
    settings = _Settings(problem, plane.place, chunk_size, num_steps, drop_diverged)
    _warn_of_rounding(plane, width, height)
    with jax.enable_x64(True):
        key = jax.random.key(0) if key is None else key
        x, y = np.meshgrid(plane.x.values(width), plane.y.values(height))
        values = np.stack([x.ravel(), y.ravel()], axis=1)
        check_problem(problem, jax.tree.map(jnp.asarray, plane.place(*jnp.asarray(values[0]))))
        bands = [values[first : first + BAND] for first in range(0, len(values), BAND)]
        parts, spent, done = [], 0, 0
        for part, steps in _in_threads(lambda band: _band(settings, band, key), bands):
            parts.append(part)
            spent, done = spent + steps, done + len(part[0])
            if progress is not None:
                progress(done, len(values))
    measure, converged, before, escape = (np.concatenate(p).reshape(height, width) for p in zip(*parts))
    return Landscape(measure, converged, converged != before, escape, plane, num_steps, spent)


def convergence_at(
    problem: InnerProblem, place: Callable, values: np.ndarray, *, num_steps: int, key: Key | None = None
) -> np.ndarray:
    """Whether training converges at `[count, 2]` places, at most 512: the labels of `trainability`, place by place."""
    settings = _Settings(problem, place, CHUNK, num_steps, True)
    with jax.enable_x64(True):
        return _band(settings, values, jax.random.key(0) if key is None else key)[0][1]


def _in_threads(function, items):
    """`map` in order, one item on each core: small programs use several cores better side by side than one by one."""
    workers = multiprocessing.cpu_count() if jax.default_backend() == "cpu" else 1
    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@jax.enable_x64(True)
def _band(settings, values, key):
    """The measures, labels and escapes of at most BAND pixels, and the steps they took."""
    count, chunk = len(values), settings.chunk_size
    size = -(-BAND // chunk) * chunk
    padded = np.concatenate([values, np.repeat(values[-1:], size - count, axis=0)])
    pixels = _start(jnp.asarray(padded), key, settings)
    active, spent = np.arange(count), 0
    for first in range(0, settings.num_steps, SEGMENT):
        last = min(first + SEGMENT, settings.num_steps)
        order = np.full(size, size, np.int32)
        order[: len(active)] = active
        chunks = -(-len(active) // chunk)
        pixels = _advance(pixels, jnp.asarray(order), chunks, first, last, key, settings)
        spent += chunks * chunk * (last - first)
        if settings.drop:
            active = active[np.asarray(pixels.stop)[active] == settings.num_steps]
            if not len(active):
                break
    results = _finish(pixels, settings)
    return [np.asarray(result)[:count] for result in results], spent


def _keys(key):
    start, steps = jax.random.split(key)
    return start, steps


@functools.partial(jax.jit, static_argnames="settings")
def _start(values, key, settings):
    def one(value):
        theta = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), settings.place(value[0], value[1]))
        state = trees.strong(settings.problem.init(theta, _keys(key)[0]))
        loss = settings.problem.loss(state, theta, jax.random.fold_in(_keys(key)[1], 0))
        return _Pixels(theta, state, accounts.begin(loss.astype(float)), jnp.asarray(settings.num_steps, jnp.int32))

    return jax.lax.map(one, values, batch_size=settings.chunk_size)


@functools.partial(jax.jit, static_argnames="settings", donate_argnums=0)
def _advance(pixels, order, num_chunks, first, last, key, settings):
    """Take the steps first … last − 1 of the pixels named in `order`, and stop those that are settled."""
    problem, size = settings.problem, settings.chunk_size
    key_steps = _keys(key)[1]

    def step(index, carry):
        thetas, states, records = carry
        here = jax.random.fold_in(key_steps, index)

        def one(theta, state, record):
            loss = problem.loss(state, theta, here)
            moved = jax.tree.map(lambda old, new: jnp.asarray(new, old.dtype), state, problem.step(state, theta, here))
            return moved, accounts.observe(record, loss.astype(float), index, settings.num_steps)

        states, records = jax.vmap(one)(thetas, states, records)
        return thetas, states, records

    def chunk(index, pixels):
        rows = jax.lax.dynamic_slice(order, (index * size,), (size,))
        part = jax.tree.map(lambda leaf: leaf.at[rows].get(mode="clip"), pixels)
        carry = (part.theta, part.state, part.record)
        theta, state, record = jax.lax.fori_loop(first, last, step, carry)
        stop = jnp.where(jax.vmap(_is_lost)(state), last, part.stop)
        part = _Pixels(theta, state, record, stop.astype(jnp.int32))
        return jax.tree.map(lambda leaf, new: leaf.at[rows].set(new, mode="drop"), pixels, part)

    return jax.lax.fori_loop(0, num_chunks, chunk, pixels)


def _is_lost(state):
    """Whether some array of floating-point numbers in the state is NaN throughout."""
    lost = [jnp.all(jnp.isnan(leaf)) for leaf in jax.tree.leaves(state) if trees.is_inexact(leaf)]
    return jnp.any(jnp.stack(lost)) if lost else jnp.array(False)


@functools.partial(jax.jit, static_argnames="settings")
def _finish(pixels, settings):
    record = accounts.settle(pixels.record, pixels.stop, settings.num_steps)
    return *accounts.verdict(record, settings.num_steps), record.escape


def _warn_of_rounding(plane, width, height):
    for axis, count in ((plane.x, width), (plane.y, height)):
        roundings = axis.pitch_in_roundings(count)
        if roundings < 100:
            warnings.warn(
                f"The pixels of axis {axis.name!r} are {roundings:.2g} roundings of its float64 values apart; below 100 "
                "a picture shows rounding, not the problem. Zoom out or lower the resolution.",
                stacklevel=3,
            )
