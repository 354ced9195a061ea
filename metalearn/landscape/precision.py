"""A measurement of the effect of float64 rounding errors on a picture."""

import functools
from typing import NamedTuple

import jax
import numpy as np

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.inner.checks import check_count, check_number, check_seed
from metalearn.inner.problem import InnerProblem, check_key
from metalearn.landscape.pixels import measure_pixels
from metalearn.landscape.plane import Plane, check_plane
from metalearn.landscape.render import check_resolution
from metalearn.types import Key

SCALE = 3.0  # not a power of two, because powers of two cause no rounding errors


@brief_help
class Precision(NamedTuple):
    """The effect of rounding errors on a picture.

    Attributes:
      pitch_in_roundings: the smallest distance of two neighbouring pixels along both axes, in units in the last place
        of θ; below 100 the positions of the pixels are inaccurate.
      checked: the number of pixels at which both updates were run.
      differing: the number of checked pixels whose labels differ.
      median_difference: the median relative difference of the measure.
    """

    pitch_in_roundings: float
    checked: int
    differing: int
    median_difference: float

    def __str__(self):
        return (
            f"pixels {self.pitch_in_roundings:.2g} roundings apart; two equivalent updates give different labels at "
            f"{self.differing} of {self.checked} pixels, the median difference of the measure is {self.median_difference:.1e}"
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
    """Train random pixels of a picture with two updates that are algebraically equal but round differently.

    The second update is conjugate to the first: u ← 3 F(u/3) with u = 3 s, for all floating-point numbers s of the
    state. If the labels of a pixel differ, its label is determined by rounding errors. Chaos amplifies rounding errors
    near the border at every depth of a zoom, and everywhere once the distance of the pixels is of the order of the
    rounding errors of training.

    Args:
      problem, plane, num_steps, resolution, key: those of the picture, as in `trainability`.
      share: the fraction of pixels to train, in (0, 1]; at least one pixel is trained.
      seed: the seed of the random choice of pixels.

    Raises:
      TypeError: `plane` is not a `Plane`, `num_steps`, `resolution` or `seed` is not a whole number, or `share` is not
        a real number.
      ValueError: `num_steps` is below 1, `resolution` is below 2, `share` is outside of (0, 1], or `seed` is outside of
        0 … 2³² − 1.
    """
    check_plane(plane)
    check_seed("seed", seed)
    width, height = check_resolution(resolution)
    if key is not None:
        check_key(key)
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
    """Return the problem in the coordinates u = 3 s; integers, booleans and keys of the state are not scaled."""

    def on_numbers(function, state):
        return jax.tree.map(lambda leaf: function(leaf) if trees.is_inexact(leaf) else leaf, state)

    grow = lambda state: on_numbers(lambda leaf: leaf * SCALE, state)
    shrink = lambda state: on_numbers(lambda leaf: leaf / SCALE, state)
    return problem._replace(
        init=lambda theta, key: grow(problem.init(theta, key)),
        step=lambda state, theta, key: grow(problem.step(shrink(state), theta, key)),
        loss=lambda state, theta, key: problem.loss(shrink(state), theta, key),
    )
