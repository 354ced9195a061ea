"""A function of θ on a grid of a plane."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.problem import Theta
from metalearn.landscape.plane import Plane


def render(
    function: Callable[[Theta], Any],
    plane: Plane,
    resolution: int | tuple[int, int],
    *,
    chunk_size: int = 64,
    progress: Callable[[int, int], None] | None = None,
) -> Any:
    """f(θ(x, y)) at every point of a grid that includes the ends of both axes.

    Points are evaluated in chunks of a fixed size, the last one padded: one program, and the value at a point does not
      depend on the
    image it belongs to.

    Args:
      function: θ -> a pytree of arrays of fixed shapes.
      plane: where to evaluate.
      resolution: points per side, or (width, height); each at least 2.
      chunk_size: points evaluated together; 64 keeps the activations of a small network in the cache.
      progress: called as `progress(points_done, points)` after each chunk.

    Returns:
      A pytree of numpy arrays `[height, width, ...]`; row = y, ascending.

    Raises:
      ValueError: a resolution below 2, or a chunk size below 1.
    """
    width, height = (resolution, resolution) if isinstance(resolution, int) else resolution
    if min(width, height) < 2:
        raise ValueError(f"resolution must be at least 2 points a side; {resolution} was given.")
    if chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1; {chunk_size} was given.")
    x, y = np.meshgrid(plane.x.points(width), plane.y.points(height))
    points = np.stack([x.ravel(), y.ravel()], axis=1)
    padded = np.concatenate([points, np.repeat(points[-1:], -len(points) % chunk_size, axis=0)])
    run = jax.jit(jax.vmap(lambda point: function(plane.theta(point[0], point[1]))))
    parts = []
    for first in range(0, len(padded), chunk_size):
        parts.append(jax.tree.map(np.asarray, run(jnp.asarray(padded[first : first + chunk_size]))))
        if progress is not None:
            progress(min(first + chunk_size, len(points)), len(points))
    return jax.tree.map(lambda *leaves: _image(leaves, height, width), *parts)


def _image(leaves, height, width):
    values = np.concatenate(leaves)[: height * width]
    return values.reshape(height, width, *values.shape[1:])
