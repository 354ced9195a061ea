"""The evaluation of a function of θ on a grid of a plane."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.compilation import jit
from metalearn.inner.checks import check_bool, check_count, check_number
from metalearn.inner.problem import InnerProblem, take_step
from metalearn.landscape.plane import Plane, check_plane
from metalearn.threads import in_these_modes, on_every_device
from metalearn.types import Progress, Theta

MOST_PIXELS = 2**28  # of a picture; the arrays of a larger one exceed the memory of most machines


def render(
    function: Callable[[Theta], Any],
    plane: Plane,
    resolution: int | tuple[int, int],
    *,
    chunk_size: int = 64,
    float64: bool = False,
    progress: Progress | None = None,
    name: str = "landscape",
) -> Any:
    """Evaluate a function of θ at every point of a grid, which includes the ends of both axes.

    Points are evaluated in chunks of a fixed size, and the last chunk is padded. There is therefore only one program,
    and the value at a point does not depend on the image. Chunks are distributed over the devices of this process, or
    over the cores if the only device is a CPU. Coordinates are always computed in float64.

    Args:
      function: `theta -> result`, where the result is a pytree of arrays of fixed shapes.
      plane: the plane to evaluate.
      resolution: points per side, or (width, height); each at least 2.
      chunk_size: points evaluated together; with 64 the activations of a small network fit in the cache.
      float64: whether to evaluate in float64, independently of the precision of the process. Random numbers that are
        drawn in float64 differ from those in float32.
      progress: called as `progress(name, points_done, points)` after each chunk.
      name: the name that is passed to `progress`.

    Returns:
      A pytree of NumPy arrays `[height, width, ...]`, with y ascending along the rows.

    Raises:
      TypeError: `plane` is not a `Plane`, or `resolution` or `chunk_size` is not a whole number, or
        `float64` is not a bool.
      ValueError: `resolution` is below 2 or has more than two sides, or `chunk_size` is below 1.
    """
    check_plane(plane)
    width, height = check_resolution(resolution)
    check_count("chunk_size", chunk_size)
    check_bool("float64", float64)
    x, y = np.meshgrid(plane.x.values(width), plane.y.values(height))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    padded = np.concatenate([points, np.repeat(points[-1:], -len(points) % chunk_size, axis=0)])
    one = lambda point: function(plane.place(point[0], point[1]))
    run = jit(jax.vmap(one), "the landscape", calls=len(padded) // chunk_size)

    def chunk(first):
        return jax.tree.map(np.asarray, run(jnp.asarray(padded[first : first + chunk_size], float)))

    with jax.enable_x64(True) if float64 else contextlib.nullcontext():
        chunk = in_these_modes(chunk)

    parts = []
    for part in on_every_device(chunk, range(0, len(padded), chunk_size)):
        parts.append(part)
        if progress is not None:
            progress(name, min(len(parts) * chunk_size, len(points)), len(points))
    return jax.tree.map(lambda *leaves: _image(leaves, height, width), *parts)


def check_resolution(resolution, name: str = "resolution") -> tuple[int, int]:
    """Check a resolution and return it as (width, height).

    Raises:
      TypeError: a side is not a whole number.
      ValueError: a side is below 2, there are not one or two sides, or there are more than 2²⁸ pixels.
    """
    sides = tuple(resolution) if isinstance(resolution, (tuple, list)) else (resolution, resolution)
    if len(sides) != 2:
        raise ValueError(f"{name} must be points per side or (width, height); {resolution} was given.")
    for side in sides:
        check_count(name, side, 2)
    if sides[0] * sides[1] > MOST_PIXELS:
        raise ValueError(
            f"{name} must be at most {MOST_PIXELS} pixels, 16384 per side of a square; {sides[0]} × {sides[1]} was given."
        )
    return int(sides[0]), int(sides[1])


def escape_time(problem: InnerProblem, num_steps: int, bound: float = 4.0) -> Callable[[Theta], dict[str, jax.Array]]:
    """Return a function for `render` that measures when the loss of a deterministic map exceeds a bound.

    Args:
      problem: the inner problem, without random numbers.
      num_steps: the largest number of steps.
      bound: the loss above which an orbit has escaped.

    Returns:
      `theta -> {"escaped": bool, "step": int}`: whether ℓ(s_t) > bound or ℓ(s_t) is NaN for some t in 0 … num_steps,
      and the first such t, or `num_steps` if there is none.

    Raises:
      TypeError: `num_steps` is not a whole number, or `bound` is not a real number.
      ValueError: `num_steps` is below 1, or `bound` is not finite.
    """
    check_count("num_steps", num_steps)
    check_number("bound", bound)

    def measure(theta):
        key = jax.random.key(0)
        outside = lambda state: ~(problem.loss(state, theta, key) <= bound)
        state = trees.strong(problem.init(theta, key))

        def body(index, carry):
            state, first = carry
            state = take_step(problem, state, theta, key)
            return state, jnp.where((first == num_steps + 1) & outside(state), index + 1, first)

        first = jnp.where(outside(state), 0, num_steps + 1)
        first = jax.lax.fori_loop(0, num_steps, body, (state, first))[1]
        return {"escaped": first <= num_steps, "step": jnp.minimum(first, num_steps)}

    return measure


def _image(leaves, height, width):
    values = np.concatenate(leaves)[: height * width]
    return values.reshape(height, width, *values.shape[1:])
