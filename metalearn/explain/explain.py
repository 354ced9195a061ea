"""The whole report from Python: all parts in order, their sentences, and the page."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from metalearn.explain.border import border
from metalearn.explain.cards import cards
from metalearn.explain.cut import cut
from metalearn.explain.layers import law, layers
from metalearn.explain.plane_study import Part, PlaneStudy, build_plane_study, lead
from metalearn.explain.settings import Settings
from metalearn.explain.signal import signal
from metalearn.explain.smoothing import smoothing
from metalearn.explain.trajectories import trajectories
from metalearn.figures import write_report
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.landscape import Plane
from metalearn.outer import Descent
from metalearn.types import Progress

PARTS = (layers, law, cut, smoothing, trajectories, signal, border, cards)


class Explanation(NamedTuple):
    """The result of `explain`; `print` shows its sentences.

    Attributes:
      lead: the subject of the report, and the precision of the computation.
      parts: name -> `Part`, with sentence, figures, arrays and table. Parts that were left out are missing.
    """

    lead: str
    parts: Mapping[str, Part]

    def __str__(self) -> str:
        sections = [part.section for part in self.parts.values()]
        return "\n\n".join([self.lead, *(f"{one.heading}: {one.sentence}" for one in sections)])

    def write(self, folder: str | Path, title: str = "Why meta-gradients fail") -> Path:
        """Write the page `report.html` with all figures, and the arrays to `arrays`; return the path of the page."""
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
    """Explain why meta-gradients fail on a problem, and what to use instead.

    `experiments/explain.py` does the same and records a run.

    Args:
      problem, plane: the inner problem, and a plane through its θ-space.
      horizon: inner steps of an episode; all measurements are of one episode.
      length: inner steps of a window.
      sigma: the standard deviation of every smoothing, in the units of the axes.
      key: the randomness of everything.
      height: the second coordinate of the cut; by default the middle of the plane.
      descents: name -> `ml.outer.Descent`, the estimators whose outer trajectories are drawn. They are built for the
        problem of the two coordinates. By default there are none.
      starts: the coordinates where the trajectories start, `[num_starts, 2]`.
      settings: the sizes of the measurements. The defaults are for a first look.
      progress: called as `progress(name, done, total)`.

    Returns:
      An `Explanation`.

    Raises:
      TypeError: as in `build_plane_study`, or `horizon` or `length` is not a whole number.
      ValueError: as in `build_plane_study`, or `horizon` is not a multiple of `length`.
    """
    study = build_plane_study(
        problem,
        plane,
        Truncation(horizon, length),
        sigma,
        key,
        height=height,
        descents=descents,
        starts=starts,
        settings=settings,
    )
    return Explanation(lead(study), dict(measure_parts(study, progress)))


def measure_parts(study: PlaneStudy, progress: Progress | None = None) -> Iterator[tuple[str, Part]]:
    """Yield the parts of a study with their names, as soon as they are measured, without those that are left out."""
    report = progress or (lambda name, done, total: None)
    for part in PARTS:
        found = part(study, report)
        if found is not None:
            yield part.__name__, found
