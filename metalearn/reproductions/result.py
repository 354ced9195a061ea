"""One number of a paper beside ours."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Result(NamedTuple):
    """One published number, or what a correct implementation reaches, and what we reach.

    Attributes:
      experiment, quantity: what is measured.
      low, high: the band.
      values: ours, one for each seed.
      seconds: of all seeds together, compilation included.
    """

    experiment: str
    quantity: str
    low: float
    high: float
    values: tuple[float, ...]
    seconds: float

    @property
    def inside(self) -> bool:
        """Whether every seed lies within the band."""
        return all(self.low <= value <= self.high for value in self.values)


class Picture(NamedTuple):
    """A figure of an experiment, which it yields beside its results.

    Attributes:
      name: of its file.
      figure: a matplotlib figure, or a function that draws it.
    """

    name: str
    figure: Any


def table(results: Sequence[Result]) -> str:
    """The results as a table of Markdown: published band, ours, spread over seeds, time."""
    lines = [
        "| experiment | quantity | band | ours (mean) | seeds | spread | s | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        values = np.asarray(one.values)
        shown = ", ".join(f"{value:.5g}" for value in one.values)
        verdict = "inside" if one.inside else "**outside**"
        lines.append(
            f"| {one.experiment} | {one.quantity} | {_band(one)} | {values.mean():.5g} | {shown} | {np.ptp(values):.2g} | "
            f"{one.seconds:.0f} | {verdict} |"
        )
    return "\n".join(lines)


def _band(one) -> str:
    low, high = np.isfinite(one.low), np.isfinite(one.high)
    if low and high:
        return f"{one.low:.5g} … {one.high:.5g}"
    return f"≥ {one.low:.4g}" if low else f"≤ {one.high:.4g}"
