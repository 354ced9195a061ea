"""A function of θ on a grid of a plane."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.compilation import jit
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem, take_step
from metalearn.landscape.plane import Plane, check_plane
from metalearn.threads import in_these_modes, on_every_device
from metalearn.types import Progress, Theta


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
    """f(θ(x, y)) at every point of a grid that includes the ends of both axes.

    Points are evaluated in chunks of a fixed size, the last one padded: one program, and the value at a point does not
    depend on the image it belongs to. Chunks go round the devices of this process, or the cores of a lone CPU.
    Coordinates are always made in float64.

    Args:
      function: θ -> a pytree of arrays of fixed shapes.
      plane: where to evaluate.
      resolution: points per side, or (width, height); each at least 2.
      chunk_size: points evaluated together; 64 keeps the activations of a small network in the cache.
      float64: True to evaluate in float64, whatever the process runs in. Random numbers drawn in float64 are others
        than those drawn in float32.
      progress: called as `progress(name, points_done, points)` after each chunk.
      name: what it is called there.

    Returns:
      A pytree of numpy arrays `[height, width, ...]`; row = y, ascending.

    Raises:
      TypeError: `plane` is not a `Plane`, or `resolution` or `chunk_size` is not a whole number.
      ValueError: `resolution` is below 2 or has more than two sides, or `chunk_size` is below 1.
    """
    check_plane(plane)
    width, height = check_resolution(resolution)
    check_count("chunk_size", chunk_size)
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
    """(width, height), or a sentence."""
    sides = tuple(resolution) if isinstance(resolution, (tuple, list)) else (resolution, resolution)
    if len(sides) != 2:
        raise ValueError(f"{name} must be points per side or (width, height); {resolution} was given.")
    for side in sides:
        check_count(name, side, 2)
    return int(sides[0]), int(sides[1])


def escape_time(problem: InnerProblem, num_steps: int, bound: float = 4.0) -> Callable[[Theta], dict[str, jax.Array]]:
    """A function for `render`: when the loss of a deterministic map exceeds a bound.

    Returns:
      `theta -> {"escaped": bool, "step": int}`: whether ℓ(s_t) > bound, or is NaN, for some t in 0 … num_steps, and
      the first such t, num_steps where there is none.

    Raises:
      TypeError, ValueError: num_steps is no whole number of at least 1, or the bound no number.
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
