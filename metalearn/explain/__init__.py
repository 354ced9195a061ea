"""The report on why meta-gradients fail on a problem, one file for each part.

`explain` measures all parts. A part is a function `(study, progress) -> Part | None`: it measures, draws, and writes a
sentence from the numbers. It returns None if the settings leave it out. `build_plane_study` prepares the data that the
parts share.
"""

from metalearn.explain.border import border
from metalearn.explain.cards import cards
from metalearn.explain.cut import cut
from metalearn.explain.explain import PARTS, Explanation, explain, measure_parts
from metalearn.explain.layers import law, layers
from metalearn.explain.plane_study import Part, PlaneStudy, build_plane_study, lead
from metalearn.explain.settings import CutSettings, Settings, SignalSettings, ZoomSettings
from metalearn.explain.signal import signal
from metalearn.explain.smoothing import smoothing
from metalearn.explain.trajectories import trajectories

__all__ = [
    "PARTS",
    "CutSettings",
    "Explanation",
    "Part",
    "PlaneStudy",
    "Settings",
    "SignalSettings",
    "ZoomSettings",
    "border",
    "build_plane_study",
    "cards",
    "cut",
    "explain",
    "law",
    "layers",
    "lead",
    "measure_parts",
    "signal",
    "smoothing",
    "trajectories",
]
