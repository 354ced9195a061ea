"""Windows of a plane: pan, zoom, and the distance of pixels in roundings of float64."""

import math
import sys
from typing import NamedTuple

from metalearn.inner.checks import check_number
from metalearn.landscape import Axis, Plane

SMALLEST = 32 * sys.float_info.epsilon  # the half-width of a window at which pixels are about one rounding apart
WIDEST = 8  # a window is at most this many times as wide as the home plane
COARSE = 100  # roundings between neighbouring pixels, below which rounding errors decide what is seen


class View(NamedTuple):
    """A window around a point.

    Attributes:
      x, y: the centre, as values (not as logarithms), so that a deep window keeps its precision.
      half_width, half_height: half of the sides, in the coordinates of the axes: decades on a log10 axis.
    """

    x: float
    y: float
    half_width: float
    half_height: float

    def plane(self, home: Plane) -> Plane:
        """Return the window as a plane; its coordinates are offsets from the centre."""
        around = lambda axis, centre, half: Axis.around(axis.name, centre, half, axis.scale)
        return Plane(around(home.x, self.x, self.half_width), around(home.y, self.y, self.half_height), home.place)

    def moved(self, home: Plane, x_offset: float, y_offset: float) -> "View":
        """Return the window whose centre is moved by offsets in the coordinates of the axes."""
        shifted = self.point(home, x_offset, y_offset)
        return self._replace(x=shifted[0], y=shifted[1])

    def point(self, home: Plane, x_offset: float, y_offset: float) -> tuple[float, float]:
        """Return the values at offsets from the centre, in the coordinates of the axes."""
        plane = self.plane(home)
        return float(plane.x.value(float(x_offset))), float(plane.y.value(float(y_offset)))

    def zoomed(self, home: Plane, factor: float, x_offset: float = 0.0, y_offset: float = 0.0) -> "View":
        """Return the window that is `factor` times narrower, in which the point at the offsets keeps its place.

        Raises:
          TypeError: `factor` is not a real number.
          ValueError: `factor` is not positive and finite.
        """
        check_number("factor", factor, 0, open_low=True)
        kept = 1 - 1 / factor
        there = self.moved(home, x_offset * kept, y_offset * kept)
        return limited(there._replace(half_width=self.half_width / factor, half_height=self.half_height / factor), home)


def view_of(plane: Plane) -> View:
    """Return the window that shows a whole plane."""
    middles, halves = [], []
    for axis in plane[:2]:
        middles.append(float(axis.value((axis.low + axis.high) / 2)))
        halves.append((axis.high - axis.low) / 2)
    return View(*middles, *halves)


def limited(view: View, home: Plane) -> View:
    """Return the window with sides between the rounding of float64 and eight times those of the home plane."""
    sides = {}
    for name, axis, centre in (("half_width", home.x, view.x), ("half_height", home.y, view.y)):
        half, unit = (axis.high - axis.low) / 2, 1.0 if axis.scale == "log10" else max(abs(centre), 1e-300)
        smallest = min(SMALLEST * unit, half)
        sides[name] = float(min(max(getattr(view, name), smallest), WIDEST * half))
    return view._replace(**sides)


def offset(axis: Axis, centre: float, value: float) -> float:
    """Return the coordinate of a value as an offset from a centre, accurately for close values."""
    if axis.scale == "linear":
        return value - centre
    return math.log1p((value - centre) / centre) / math.log(10)


def coordinates(home: Plane, x: float, y: float) -> tuple[float, float]:
    """Return the coordinates of a point of the home plane, given as values."""
    found = []
    for axis, value in ((home.x, x), (home.y, y)):
        found.append(offset(axis, float(axis.value(0.0)), value))
    return found[0], found[1]


def precision_warning(view: View, home: Plane, resolution: int) -> str:
    """Return a sentence if rounding errors of float64 decide what a window shows, and an empty string otherwise."""
    apart = min(view.plane(home).pitch_in_roundings(resolution, resolution))
    if apart >= COARSE:
        return ""
    return f"Neighbouring pixels are {apart:.2g} roundings of float64 apart. Below {COARSE} rounding errors decide what is seen."
