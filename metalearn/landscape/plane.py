"""Planes through θ-space: two axes, and a function that returns θ at each point."""

import dataclasses
import math
import numbers
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.brief import brief_help
from metalearn.types import Theta


@dataclasses.dataclass(frozen=True)
class Axis:
    """An interval of one coordinate.

    Attributes:
      name: the label, with its unit.
      low, high: the ends, as coordinates: exponents if the scale is "log10".
      scale: "linear", or "log10" if the coordinate is the logarithm of the value.
      centre: None, or the value at coordinate 0. Values are centre + coordinate, or centre · 10**coordinate. With a
        centre, a deep zoom keeps its precision, because coordinates are small numbers.

    Raises:
      TypeError: an end or the centre is not a real number.
      ValueError: the ends or the centre are not finite, the ends are not in order, the scale is unknown, or the centre
        is not positive on a log10 axis.
    """

    name: str
    low: float
    high: float
    scale: Literal["linear", "log10"] = "linear"
    centre: float | None = None

    def __post_init__(self):
        for end in (self.low, self.high, *([] if self.centre is None else [self.centre])):
            if isinstance(end, bool) or not isinstance(end, numbers.Real):
                raise TypeError(
                    f"The ends and the centre of axis {self.name!r} must be real numbers; {end!r} was given."
                )
        if self.scale not in ("linear", "log10"):
            raise ValueError(f'scale of axis {self.name!r} must be "linear" or "log10"; {self.scale!r} was given.')
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"The ends of axis {self.name!r} must be finite; {self.low} and {self.high} were given.")
        if not self.low < self.high:
            raise ValueError(
                f"The ends of axis {self.name!r} must be in order, low < high; {self.low} and {self.high} were given."
            )
        if (
            self.scale == "log10"
            and self.high + (math.log10(self.centre) if self.centre and self.centre > 0 else 0) >= 308
        ):
            raise ValueError(
                f"Axis {self.name!r} is logarithmic: its ends are powers of ten, and must be below 308; {self.high} was given."
            )
        if self.centre is not None and not (math.isfinite(self.centre) and (self.scale == "linear" or self.centre > 0)):
            raise ValueError(
                f"The centre of axis {self.name!r} must be finite, and positive on a log10 axis; {self.centre} was given."
            )

    @staticmethod
    def around(name: str, centre: float, half_width: float, scale: Literal["linear", "log10"] = "linear") -> "Axis":
        """Return the axis that extends from the value `centre` by the coordinate `half_width` to both sides."""
        return Axis(name, -half_width, half_width, scale, centre)

    @staticmethod
    def between(name: str, low_value: float, high_value: float) -> "Axis":
        """Return the log10 axis between two positive values, which may be very close to each other.

        Raises:
          ValueError: the values are not positive, finite and in order.
        """
        if not 0 < low_value < high_value < math.inf:
            raise ValueError(
                f"The ends of axis {name!r} must be positive, finite and in order; {low_value} and {high_value} were given."
            )
        half_width = math.log1p((high_value - low_value) / low_value) / math.log(10) / 2
        return Axis.around(name, math.sqrt(low_value) * math.sqrt(high_value), half_width, "log10")

    def points(self, count: int) -> np.ndarray:
        """Return `count` evenly spaced coordinates from low to high, in float64.

        Coordinates around a centre are whole multiples of half the spacing, so that windows that are halved have points
        in common bit for bit.
        """
        if self.centre is not None and self.low == -self.high:
            return np.arange(1 - count, count, 2) * (self.high / (count - 1))
        with jax.enable_x64(True):
            return np.asarray(jnp.linspace(float(self.low), float(self.high), count))

    def values(self, count: int) -> np.ndarray:
        """Return the values at `points(count)`, in float64."""
        with jax.enable_x64(True):
            return np.asarray(self.value(jnp.asarray(self.points(count))))

    def value(self, coordinate) -> Any:
        """Return the value at a coordinate."""
        if self.scale == "linear":
            return coordinate if self.centre is None else self.centre + coordinate
        power = 10.0**coordinate
        return power if self.centre is None else self.centre * power


@brief_help
class Plane(NamedTuple):
    """A plane through θ-space.

    Attributes:
      x, y: the axes.
      place: `(x_value, y_value) -> theta`; on a log10 axis values are 10**coordinate.
    """

    x: Axis
    y: Axis
    place: Callable[[jax.Array, jax.Array], Theta]

    def theta(self, x_coordinate, y_coordinate) -> Theta:
        """Return θ at a pair of coordinates."""
        return self.place(self.x.value(jnp.asarray(x_coordinate)), self.y.value(jnp.asarray(y_coordinate)))

    def pitch_in_roundings(self, width: int, height: int) -> tuple[float, float]:
        """Return the distance of neighbouring pixels along x and along y, in units in the last place of θ in float64.

        The distance of two neighbours is the largest over the entries of θ. The result is the smallest distance of all
        neighbours.
        """
        x, y = self.x.values(width), self.y.values(height)
        across = _pitch(self.place, x, np.full(width, y[height // 2]))
        return across, _pitch(self.place, np.full(height, x[width // 2]), y)


def check_plane(plane) -> None:
    """Check that a value is a `Plane`.

    Raises:
      TypeError: `plane` is not a `Plane`.
    """
    if not isinstance(plane, Plane):
        raise TypeError(
            "plane must be an ml.landscape.Plane(x_axis, y_axis, place), or the result of ml.landscape.plane_through; "
            f"{type(plane).__name__} was given."
        )


def _pitch(place, x, y):
    with jax.enable_x64(True):
        theta = jax.tree.leaves(jax.vmap(place)(jnp.asarray(x), jnp.asarray(y)))
    entries = np.concatenate([np.asarray(leaf, np.float64).reshape(len(x), -1) for leaf in theta], axis=1)
    size = np.maximum(np.abs(entries[1:]), np.abs(entries[:-1]))
    return float(np.min(np.max(np.abs(np.diff(entries, axis=0)) / np.spacing(size), axis=1)))


def plane_through(theta: Theta, x: Axis, y: Axis, x_direction: Theta, y_direction: Theta) -> Plane:
    """Return the plane θ(x, y) = θ + x · u + y · v.

    Args:
      theta: θ, any pytree of real numbers.
      x, y: the axes; the factors of u and v are the values on the axes.
      x_direction, y_direction: u and v, with the structure and shapes of θ.

    Raises:
      ValueError: `theta` is not finite, a direction does not have the structure and shapes of θ, is zero or contains
        entries that are not finite real numbers, or the directions are parallel.
    """
    point, u, v = (jax.tree.map(np.asarray, tree) for tree in (theta, x_direction, y_direction))
    for name, direction in (("x_direction", u), ("y_direction", v)):
        if jax.tree.structure(direction) != jax.tree.structure(point) or not all(
            a.shape == b.shape and a.dtype.kind in "fiu" and np.all(np.isfinite(a))
            for a, b in zip(jax.tree.leaves(direction), jax.tree.leaves(point))
        ):
            raise ValueError(
                f"{name} must have the structure and shapes of theta and finite real numbers; theta is "
                f"{jax.tree.map(np.shape, point)}, {name} {jax.tree.map(np.shape, direction)}."
            )
    if not all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(point)):
        raise ValueError(f"theta must be finite; {theta} was given.")
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]).astype(float) for tree in (u, v)]
    if np.linalg.matrix_rank(np.stack([part / max(np.abs(part).max(), 1e-300) for part in flat])) < 2:
        raise ValueError("x_direction and y_direction must not be zero or parallel, because they must span a plane.")
    return Plane(x, y, lambda a, b: jax.tree.map(lambda p, du, dv: p + a * du + b * dv, point, u, v))
