"""The report on why meta-gradients fail on a problem, one file for each part.

`explain` measures all parts. A part is a function `(study, progress) -> Part | None`: it measures, draws, and writes a
sentence from the numbers. It returns None if the settings leave it out. `build_study` prepares the data that the parts
share.
"""

from metalearn.explain.border import border
from metalearn.explain.cards import cards
from metalearn.explain.cut import cut
from metalearn.explain.explain import PARTS, Explanation, explain, measure_parts
from metalearn.explain.layers import law, layers
from metalearn.explain.settings import CutSettings, Settings, SignalSettings, ZoomSettings
from metalearn.explain.signal import signal
from metalearn.explain.smoothing import smoothing
from metalearn.explain.study import Part, Study, build_study, lead
from metalearn.explain.trajectories import trajectories

__all__ = [
    "PARTS",
    "CutSettings",
    "Explanation",
    "Part",
    "Settings",
    "SignalSettings",
    "Study",
    "ZoomSettings",
    "border",
    "build_study",
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
