"""How far a picture can be trusted before it shows the rounding of float64 instead of the problem."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from metalearn import trees
from metalearn.inner.checks import check_count, check_number, check_seed
from metalearn.inner.problem import InnerProblem
from metalearn.landscape.pixels import measure_pixels
from metalearn.landscape.plane import Plane, check_plane
from metalearn.landscape.render import check_resolution
from metalearn.types import Key

SCALE = 3.0  # not a power of two, which would round nothing


class Precision(NamedTuple):
    """What rounding does to a picture.

    Attributes:
      pitch_in_roundings: the smallest distance of two neighbouring pixels in units of the rounding of θ, of both axes;
        below 100 the pixels no longer lie where they should.
      checked: pixels at which both updates were run.
      differing: those of them whose labels differ.
      median_difference: the median relative difference of the measure.
    """

    pitch_in_roundings: float
    checked: int
    differing: int
    median_difference: float

    def __str__(self):
        return (
            f"pixels {self.pitch_in_roundings:.2g} roundings apart; two equal updates give other labels at "
            f"{self.differing} of {self.checked} pixels, the measure differs by {self.median_difference:.1e} in the median"
        )


def precision(
    problem: InnerProblem,
    plane: Plane,
    *,
    num_steps: int,
    resolution: int | tuple[int, int],
    share: float = 0.01,
    key: Key | None = None,
    seed: int = 0,
) -> Precision:
    """Train a share of a picture's pixels by two updates that are algebraically equal and round differently.

    The second one is conjugate to the first: with u = 3 s for all floating-point numbers s of the state, u ← 3 F(u/3).
    Where labels differ, rounding decides, not the problem: chaos amplifies it along the border at any depth, and
    everywhere once the pixels of a zoom are as close as the roundings of what training computes with.

    Args:
      problem, plane, num_steps, resolution, key: of the picture, as in `trainability`.
      share: of its pixels, drawn at random; at least one.
      seed: of the draw.

    Raises:
      TypeError: `plane` is not a `Plane`, `num_steps`, `resolution` or `seed` is not a whole number, or `share` is not
        a real number.
      ValueError: `num_steps` is below 1, `resolution` is below 2, `share` is outside of (0, 1], or `seed` is outside of
        0 … 2³² − 1.
    """
    check_plane(plane)
    check_seed("seed", seed)
    width, height = check_resolution(resolution)
    check_count("num_steps", num_steps)
    check_number("share", share, 0, 1, open_low=True)
    x, y = plane.x.values(width), plane.y.values(height)
    count = max(1, round(share * width * height))
    rows, columns = np.unravel_index(
        np.random.default_rng(seed).choice(width * height, count, replace=False), (height, width)
    )
    values = np.stack([x[columns], y[rows]], axis=1)
    first, second = (
        measure_pixels(one, plane.place, values, num_steps=num_steps, key=key) for one in (problem, rescaled(problem))
    )
    return Precision(
        min(plane.pitch_in_roundings(width, height)),
        count,
        int(np.sum(first.converged != second.converged)),
        float(np.median(np.abs(first.measure - second.measure) / np.abs(first.measure))),
    )


@functools.lru_cache(maxsize=16)
def rescaled(problem: InnerProblem) -> InnerProblem:
    """The same problem in the coordinates u = 3 s; integers, booleans and keys of the state stay as they are."""

    def on_numbers(function, state):
        return jax.tree.map(lambda leaf: function(leaf) if trees.is_inexact(leaf) else leaf, state)

    grow = lambda state: on_numbers(lambda leaf: leaf * SCALE, state)
    shrink = lambda state: on_numbers(lambda leaf: leaf / SCALE, state)
    return problem._replace(
        init=lambda theta, key: grow(problem.init(theta, key)),
        step=lambda state, theta, key: grow(problem.step(shrink(state), theta, key)),
        loss=lambda state, theta, key: problem.loss(shrink(state), theta, key),
    )
