"""The whole report from Python: every part in its order, its sentences, and the page."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from metalearn.explain.border import border
from metalearn.explain.cards import cards
from metalearn.explain.cut import cut
from metalearn.explain.layers import law, layers
from metalearn.explain.settings import Settings
from metalearn.explain.signal import signal
from metalearn.explain.smoothing import smoothing
from metalearn.explain.study import Part, Study, build_study, lead
from metalearn.explain.trajectories import trajectories
from metalearn.figures import write_report
from metalearn.inner.problem import InnerProblem
from metalearn.landscape import Plane
from metalearn.outer import Descent
from metalearn.types import Progress

PARTS = (layers, law, cut, smoothing, trajectories, signal, border, cards)


class Explanation(NamedTuple):
    """What `explain` found; `print` shows its sentences.

    Attributes:
      lead: what is shown, and in what precision it was computed.
      parts: the `Part`s by name, with their sentences, figures, arrays and tables; what was left out is not there.
    """

    lead: str
    parts: Mapping[str, Part]

    def __str__(self) -> str:
        sections = [part.section for part in self.parts.values()]
        return "\n\n".join([self.lead, *(f"{one.heading}: {one.sentence}" for one in sections)])

    def write(self, folder: str | Path, title: str = "Why meta-gradients fail") -> Path:
        """Write `report.html`, one page with every figure, and the arrays beside it in `arrays/`; return the page."""
        place = Path(folder) / "arrays"
        place.mkdir(parents=True, exist_ok=True)
        for name, part in self.parts.items():
            if part.arrays:
                np.savez_compressed(place / f"{name}.npz", allow_pickle=False, **part.arrays)
        sections = [part.section for part in self.parts.values()]
        return write_report(Path(folder) / "report.html", title, self.lead, sections)


def explain(
    problem: InnerProblem,
    plane: Plane,
    horizon: int,
    length: int,
    sigma: float,
    key: jax.Array,
    *,
    height: float | None = None,
    descents: Mapping[str, Descent] | None = None,
    starts: Any = None,
    settings: Settings = Settings(),  # noqa: B008
    progress: Progress | None = None,
) -> Explanation:
    """Show why meta-gradients fail on a problem, and what to use instead: `experiments/explain.py` without a run folder.

    Args:
      problem, plane: the problem, and two axes through its θ.
      horizon: steps of an episode; every measure is of one episode.
      length: steps of a window.
      sigma: of every smoothing, in the units of the axes.
      key: the randomness of everything.
      height: the second coordinate of the cut; by default the middle of the plane.
      descents: estimators to follow over the plane, `ml.outer.Descent`s by name. They are built on the problem of the
        two coordinates. By default none is followed.
      starts: the coordinates they start from, `[num_starts, 2]`.
      settings: how much is measured. The defaults are those of a first look.
      progress: called as `progress(name, done, total)`.

    Raises:
      TypeError, ValueError: as `build_study`.
    """
    study = build_study(
        problem, plane, horizon, length, sigma, key, height=height, descents=descents, starts=starts, settings=settings
    )
    return Explanation(lead(study), dict(measure_parts(study, progress)))


def measure_parts(study: Study, progress: Progress | None = None) -> Iterator[tuple[str, Part]]:
    """Every part of a study by its name, as soon as it is measured; what the settings leave out is passed over."""
    report = progress or (lambda name, done, total: None)
    for part in PARTS:
        found = part(study, report)
        if found is not None:
            yield part.__name__, found
