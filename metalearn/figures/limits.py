"""Finite limits of colours and axes for any numbers, and words and marks for what they leave out."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from metalearn.words import percent

LARGE = (
    1e30  # a scale that reaches beyond it, or on a logarithmic one below its inverse, shows little of the other values
)
FARTHEST = 1e307  # the differences of such limits, and margins around them, are finite
DECADES, SPREADS = 10, 100  # how far from the middle 90 % of the values limits may lie


def finite_limits(values: Any, *, logarithmic: bool = False) -> tuple[float, float]:
    """Limits low < high that show the values: the smallest and the largest, without those that hide all others.

    Left out are values that are not finite, on a logarithmic scale those that are not positive, and, where there are
    others, those far from the middle 90 %, beyond 1e30, or on a logarithmic scale below 1e-30.
    """
    values = np.ravel(np.asarray(values, float))
    values = values[np.isfinite(values)]
    values = np.clip(values[values > 0] if logarithmic else values, -FARTHEST, FARTHEST)
    usual = (np.abs(values) <= LARGE) & (not logarithmic or values >= 1 / LARGE)
    values = values[usual] if usual.any() else values
    if not values.size:
        return (1.0, 10.0) if logarithmic else (0.0, 1.0)
    scaled = np.log10(values) if logarithmic else values
    low, high = np.quantile(scaled, 0.05, method="lower"), np.quantile(scaled, 0.95, method="higher")
    with np.errstate(over="ignore"):
        reach = DECADES * max(high - low, 1) if logarithmic else SPREADS * max(high - low, abs(low), abs(high))
        near = values[(scaled >= low - reach) & (scaled <= high + reach)] if reach else values
    low, high = float(near.min()), float(near.max())
    if logarithmic:
        low, high = max(low, 1 / FARTHEST), max(high, 1 / FARTHEST)
    return (low, high) if low < high else _apart(low, logarithmic)


def axis_limits(values: Any, *, logarithmic: bool = False, margin: float = 0.06) -> tuple[float, float]:
    """`finite_limits` with a margin."""
    low, high = finite_limits(values, logarithmic=logarithmic)
    if not logarithmic:
        return low - margin * (high - low), high + margin * (high - low)
    factor = 10 ** float(margin * (np.log10(high) - np.log10(low)))
    return max(low / factor, 1 / FARTHEST), min(high * factor, 10 * FARTHEST)


def _apart(value, logarithmic):
    half = 0.5 * abs(value) or 0.5
    return (value / 3, value * 3) if logarithmic else (value - half, value + half)


class Colours(NamedTuple):
    """What a picture of values is drawn with.

    Attributes:
      values: `[height, width]` within the limits; NaN where they are not finite.
      norm: of matplotlib.
      extend: the ends of the colour bar that have an arrow.
      note: what is drawn without a colour of its own, in lines for the colour bar; empty where there is nothing.
    """

    values: np.ndarray
    norm: Any
    extend: str
    note: str


def choose_colours(values: Any, *, limits: Any = None, logarithmic: bool = False, missing: str = "grey") -> Colours:
    """Colours for any picture.

    Args:
      values: `[height, width]`.
      limits: of the colours, used where they are finite and in order; `finite_limits` otherwise.
      logarithmic: whether the colours are, where all finite values and the limits are positive.
      missing: the name of the colour of what is not finite.

    Raises:
      ValueError: the values are no picture.
    """
    from matplotlib.colors import LogNorm, Normalize

    values = np.asarray(values, float)
    if values.ndim != 2 or not values.size:
        raise ValueError(f"A picture needs values [height, width]; the shape {values.shape} was given.")
    known = np.isfinite(values)
    low, high = (np.nan, np.nan) if limits is None else limits
    given = bool(np.isfinite([low, high]).all()) and low < high
    logarithmic = logarithmic and bool(np.all(values[known] > 0)) and not (given and low <= 0)
    low, high = (low, high) if given else finite_limits(values, logarithmic=logarithmic)
    below, above = known & (values < low), known & (values > high)
    notes = [f"{missing}: not finite, {percent(1 - known.mean())}"] if not known.all() else []
    if below.any() or above.any():
        notes.append(f"arrow: beyond the colours, {percent((below | above).mean())}")
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    return Colours(
        np.where(known, np.clip(values, low, high), np.nan),
        (LogNorm if logarithmic else Normalize)(low, high),
        extend[bool(below.any()), bool(above.any())],
        "\n".join(notes),
    )


def bars(values: Any, errors: Any, low: float, high: float) -> np.ndarray:
    """Error bars `[2, count]` about `np.clip(values, low, high)` that stay within the limits; none where an error is unknown."""
    values, errors = np.atleast_1d(np.asarray(values, float)), np.atleast_1d(np.asarray(errors, float))
    errors = np.where(np.isnan(errors) | ~np.isfinite(values), 0, np.abs(errors))
    middle = np.clip(values, low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        ends = np.stack([middle - np.clip(values - errors, low, high), np.clip(values + errors, low, high) - middle])
    return np.nan_to_num(np.maximum(ends, 0))


def mark_beyond(axes: Any, series: Iterable[tuple[Any, Any, Any]], name: str = "") -> None:
    """Mark on the edges of an axes what its limits leave out, with an entry of the legend that counts it.

    Args:
      axes: with its limits set.
      series: `(places, values, colour)` of every curve.
      name: of the series in the legend.
    """
    low, high = axes.get_ylim()
    counts = dict.fromkeys("^vx", 0)
    for places, values, colour in series:
        places, values = np.asarray(places, float), np.asarray(values, float)
        for marker, chosen in (("^", values > high), ("v", values < low), ("x", np.isnan(values))):
            counts[marker] += int(chosen.sum())
            height = np.full(int(chosen.sum()), 0.98 if marker == "^" else 0.02)
            style = {"linestyle": "none", "markersize": 6, "label": "_nolegend_"}
            axes.plot(places[chosen], height, marker, color=colour, transform=axes.get_xaxis_transform(), **style)
    words = {"^": "above the axis, or infinite", "v": "below the axis", "x": "not a number"}
    for marker, count in counts.items():
        if count:
            axes.plot([], [], marker, color="grey", linestyle="none", label=f"{name}{words[marker]}: {count}")
