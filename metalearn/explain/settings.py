"""The settings of the report. The defaults are for a first look; configs/size/full.yaml is for the whole report."""

from typing import NamedTuple

from metalearn.inner.checks import check_count, check_number
from metalearn.landscape.render import check_resolution

MOST_PLACES = 100  # along the cut: the keys of different parts are 100 numbers apart


class CutSettings(NamedTuple):
    """Settings of the cut.

    Attributes:
      points: the number of points, at least 4.
      smoothed: the number of places with a smoothed gradient, from 1 to 100.
      pairs: the antithetic pairs of each smoothed gradient.
    """

    points: int = 32
    smoothed: int = 4
    pairs: int = 64


class SignalSettings(NamedTuple):
    """Settings of the comparison of estimators along the cut.

    Attributes:
      points: the number of places, at most 100; 0 leaves the part out.
      pairs, episodes: of each comparison.
    """

    points: int = 0
    pairs: int = 16
    episodes: int = 8


class ZoomSettings(NamedTuple):
    """Settings of the zoom into the border.

    Attributes:
      frames: the number of windows, which shrink by a factor ten; 0 leaves the part out.
      resolution: points per side; a dimension needs at least 64.
    """

    frames: int = 1
    resolution: int = 65


class Settings(NamedTuple):
    """The sizes of the measurements.

    Attributes:
      layers: (width, height) of the grid of the layers.
      smoothing: (width, height) of the landscape that is smoothed.
      sigmas: the standard deviations of the smoothed landscapes, in the units of the axes. Those that are too small for
        the grid are left out.
      cut, comparison, zoom: the settings of these parts.
      cards: the number of places that are diagnosed, at most three.
    """

    layers: tuple[int, int] = (24, 16)
    smoothing: tuple[int, int] = (48, 32)
    sigmas: tuple[float, ...] = (0.1, 0.2, 0.3)
    cut: CutSettings = CutSettings()
    comparison: SignalSettings = SignalSettings()
    zoom: ZoomSettings = ZoomSettings()
    cards: int = 1

    def checked(self) -> "Settings":
        """Check the settings, and return them with grids as pairs.

        Raises:
          TypeError: an entry is not a whole number, a sigma is not a number, or `cut`, `comparison` or `zoom` is of
            another type.
          ValueError: an entry is out of its range, or there are no sigmas.
        """
        kinds = {"cut": CutSettings, "comparison": SignalSettings, "zoom": ZoomSettings}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} must be an ml.explain.{kind.__name__}; {getattr(self, name)!r} was given.")
        if not self.sigmas or self.cut.points < 4 or self.cut.smoothed < 1:
            raise ValueError(
                "sigmas needs at least one entry, cut.points at least 4 and cut.smoothed at least 1; "
                f"{list(self.sigmas)}, {self.cut.points} and {self.cut.smoothed} were given."
            )
        for sigma in self.sigmas:
            check_number("Every one of sigmas", sigma, 0, open_low=True)
        for name, count in (("cut.smoothed", self.cut.smoothed), ("comparison.points", self.comparison.points)):
            check_count(name, count, 0, MOST_PLACES)
        for name, count in (("cards", self.cards), ("zoom.frames", self.zoom.frames)):
            check_count(name, count, 0)
        return self._replace(
            layers=check_resolution(self.layers, "layers"), smoothing=check_resolution(self.smoothing, "smoothing")
        )
