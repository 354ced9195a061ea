"""Numbers of a paper, and our numbers for the same quantities."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

OWN = "no number: our own problem"
NOT_FOUND = "no number found"


class Result(NamedTuple):
    """A quantity of a paper: the band of a correct implementation, our values, and the published number.

    Attributes:
      experiment, quantity: the names of the experiment and of the measured quantity.
      low, high: the band.
      values: our numbers, one for each seed.
      seconds: the time for all seeds together, including compilation.
      published: the authors' number with its place in parentheses, or "no number" and the reason.
    """

    experiment: str
    quantity: str
    low: float
    high: float
    values: tuple[float, ...]
    seconds: float
    published: str

    @property
    def inside(self) -> bool:
        """Return whether every seed lies within the band."""
        return all(self.low <= value <= self.high for value in self.values)


class Picture(NamedTuple):
    """A figure of an experiment, which is yielded together with its results.

    Attributes:
      name: the name of its file.
      figure: a matplotlib figure, or a function that draws it.
    """

    name: str
    figure: Any


def row(result: Result) -> dict[str, Any]:
    """Return a result as one flat dictionary, with the mean and the spread over seeds."""
    return {
        "experiment": result.experiment,
        "quantity": result.quantity,
        "published": result.published,
        "low": result.low,
        "high": result.high,
        "inside": result.inside,
        "mean": float(np.mean(result.values)),
        "spread": float(np.ptp(result.values)),
        "seconds": result.seconds,
    } | {f"seed_{index}": value for index, value in enumerate(result.values)}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table: published number, band, our numbers, spread over seeds, time."""
    lines = [
        "| experiment | quantity | published | band | ours (mean) | seeds | spread | s | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        seeds = ", ".join(f"{value:.5g}" for name, value in one.items() if name.startswith("seed_"))
        lines.append(
            f"| {one['experiment']} | {one['quantity']} | {one['published']} | {_band(one['low'], one['high'])} | "
            f"{one['mean']:.5g} | {seeds} | {one['spread']:.2g} | {one['seconds']:.0f} | "
            f"{'inside' if one['inside'] else '**outside**'} |"
        )
    return "\n".join(lines)


def _band(low, high) -> str:
    below, above = math.isfinite(low), math.isfinite(high)
    if below and above:
        return f"{low:.5g} … {high:.5g}"
    return f"≥ {low:.4g}" if below else f"≤ {high:.4g}"
