"""A plane through θ-space: two axes and the θ at each of their points."""

import dataclasses
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.problem import Theta


@dataclasses.dataclass(frozen=True)
class Axis:
    """An interval of one coordinate.

    Attributes:
      name: the label, with its unit.
      low, high: the ends, in the scale's own units: exponents where the scale is "log10".
      scale: "linear", or "log10" where the coordinate is the logarithm of what the name says.

    Raises:
      ValueError: the ends are not finite or not in order, or the scale is unknown.
    """

    name: str
    low: float
    high: float
    scale: Literal["linear", "log10"] = "linear"

    def __post_init__(self):
        if self.scale not in ("linear", "log10"):
            raise ValueError(f'scale of axis {self.name!r} must be "linear" or "log10"; {self.scale!r} was given.')
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"The ends of axis {self.name!r} must be finite; {self.low} and {self.high} were given.")
        if not self.low < self.high:
            raise ValueError(
                f"The ends of axis {self.name!r} must be in order, low < high; {self.low} and {self.high} were given."
            )

    def points(self, count: int) -> np.ndarray:
        """`count` evenly spaced coordinates from low to high, in float64: a value is 10**coordinate where the scale is
        "log10".
        """
        return np.linspace(self.low, self.high, count)

    def value(self, coordinate):
        """What a coordinate means: itself, or ten to its power."""
        return coordinate if self.scale == "linear" else 10.0**coordinate


class Plane(NamedTuple):
    """Two axes, and `place(x_value, y_value) -> theta`, where values are 10**coordinate on a log10 axis."""

    x: Axis
    y: Axis
    place: Callable[[jax.Array, jax.Array], Theta]

    def theta(self, x_coordinate, y_coordinate) -> Theta:
        """θ at a point of the plane given by its coordinates."""
        return self.place(self.x.value(jnp.asarray(x_coordinate)), self.y.value(jnp.asarray(y_coordinate)))
