"""How much the report measures. The defaults are those of a first look; configs/size/full.yaml has those of the whole report."""

from typing import NamedTuple

from metalearn.inner.checks import check_count, check_number
from metalearn.landscape.render import check_resolution

MOST_PLACES = 100  # along the cut: the keys of its parts are a hundred numbers apart


class CutSettings(NamedTuple):
    """Attributes:
    points: of the cut, at least 4.
    smoothed: places with a smoothed gradient, at most 100.
    pairs: of each smoothed gradient.
    """

    points: int = 32
    smoothed: int = 4
    pairs: int = 64


class SignalSettings(NamedTuple):
    """Attributes:
    points: places along the cut where estimators are compared, at most 100; 0 leaves the part out.
    pairs, episodes: of each comparison.
    """

    points: int = 0
    pairs: int = 16
    episodes: int = 8


class ZoomSettings(NamedTuple):
    """Attributes:
    frames: windows about a point of the border, each a tenth as wide as the one before; 0 leaves the part out.
    resolution: points a side; a dimension needs 64.
    """

    frames: int = 1
    resolution: int = 65


class Settings(NamedTuple):
    """How much is measured.

    Attributes:
      layers: (width, height) of the grid on which everything is measured.
      smoothing: (width, height) of the landscape that is smoothed.
      sigmas: of the smoothed landscapes, in the units of the axes; those too small for the grid are left out.
      cut, comparison, zoom: of these parts.
      cards: places that are diagnosed, at most three.
    """

    layers: tuple[int, int] = (24, 16)
    smoothing: tuple[int, int] = (48, 32)
    sigmas: tuple[float, ...] = (0.1, 0.2, 0.3)
    cut: CutSettings = CutSettings()
    comparison: SignalSettings = SignalSettings()
    zoom: ZoomSettings = ZoomSettings()
    cards: int = 1

    def checked(self) -> "Settings":
        """The settings, with grids as pairs.

        Raises:
          TypeError: an entry is not a whole number, a sigma not a number, or `cut`, `comparison` or `zoom` not of its
            type.
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
