"""Floor 5: the report on why meta-gradients fail on a problem, one file for each thing it shows.

A part is a function `(study, progress) -> Part`: it measures, draws, and writes a sentence from the numbers.
"""

from metalearn.explain.border import border
from metalearn.explain.cards import cards
from metalearn.explain.cut import cut
from metalearn.explain.layers import law, layers
from metalearn.explain.signal import signal
from metalearn.explain.smoothing import smoothing
from metalearn.explain.study import Part, Study, build_study, lead
from metalearn.explain.trajectories import trajectories

PARTS = (layers, law, cut, smoothing, trajectories, signal, border, cards)

__all__ = [
    "PARTS",
    "Part",
    "Study",
    "border",
    "build_study",
    "cards",
    "cut",
    "law",
    "layers",
    "lead",
    "signal",
    "smoothing",
    "trajectories",
]
