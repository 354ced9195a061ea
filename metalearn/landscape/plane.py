"""A plane through θ-space: two axes and the θ at each of their points."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

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
      centre: None, or a value from which `low` and `high` count: values are centre + coordinate, or centre ·
        10**coordinate. A deep zoom keeps its digits so: coordinates are small numbers, not differences of large ones.

    Raises:
      ValueError: the ends are not finite or not in order, the scale is unknown, or the centre does not fit it.
    """

    name: str
    low: float
    high: float
    scale: Literal["linear", "log10"] = "linear"
    centre: float | None = None

    def __post_init__(self):
        if self.scale not in ("linear", "log10"):
            raise ValueError(f'scale of axis {self.name!r} must be "linear" or "log10"; {self.scale!r} was given.')
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"The ends of axis {self.name!r} must be finite; {self.low} and {self.high} were given.")
        if not self.low < self.high:
            raise ValueError(
                f"The ends of axis {self.name!r} must be in order, low < high; {self.low} and {self.high} were given."
            )
        if self.centre is not None and not (math.isfinite(self.centre) and (self.scale == "linear" or self.centre > 0)):
            raise ValueError(
                f"The centre of axis {self.name!r} must be finite, and positive on a log10 axis; {self.centre} was given."
            )

    @staticmethod
    def around(name: str, centre: float, half_width: float, scale: Literal["linear", "log10"] = "linear") -> "Axis":
        """The axis that reaches `half_width`, in the scale's units, to both sides of a value."""
        return Axis(name, -half_width, half_width, scale, centre)

    @staticmethod
    def between(name: str, low_value: float, high_value: float) -> "Axis":
        """The log10 axis between two positive values, however close they are."""
        if not 0 < low_value < high_value < math.inf:
            raise ValueError(
                f"The ends of axis {name!r} must be positive, finite and in order; {low_value} and {high_value} were given."
            )
        half_width = math.log1p((high_value - low_value) / low_value) / math.log(10) / 2
        return Axis.around(name, math.sqrt(low_value) * math.sqrt(high_value), half_width, "log10")

    def points(self, count: int) -> np.ndarray:
        """`count` evenly spaced coordinates from low to high, in float64."""
        with jax.enable_x64(True):
            return np.asarray(jnp.linspace(float(self.low), float(self.high), count))

    def values(self, count: int) -> np.ndarray:
        """What these coordinates mean, in float64."""
        with jax.enable_x64(True):
            return np.asarray(self.value(jnp.asarray(self.points(count))))

    def value(self, coordinate) -> Any:
        """What a coordinate means: itself, or ten to its power, from the centre."""
        if self.scale == "linear":
            return coordinate if self.centre is None else self.centre + coordinate
        power = 10.0**coordinate
        return power if self.centre is None else self.centre * power

    def pitch_in_roundings(self, count: int) -> float:
        """The smallest distance of neighbouring values among `count`, in units of the rounding of float64 there."""
        values = self.values(count)
        return float(np.min(np.abs(np.diff(values)) / np.spacing(np.maximum(np.abs(values[1:]), np.abs(values[:-1])))))


class Plane(NamedTuple):
    """Two axes, and `place(x_value, y_value) -> theta`, where values are 10**coordinate on a log10 axis."""

    x: Axis
    y: Axis
    place: Callable[[jax.Array, jax.Array], Theta]

    def theta(self, x_coordinate, y_coordinate) -> Theta:
        """θ at a point of the plane given by its coordinates."""
        return self.place(self.x.value(jnp.asarray(x_coordinate)), self.y.value(jnp.asarray(y_coordinate)))
