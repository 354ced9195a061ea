"""Choose finite limits for colours and axes of any numbers, and mark the values beyond them."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from metalearn.words import percent

LARGE = 1e30  # a scale beyond it, or a logarithmic scale below its inverse, would hide the other values
FARTHEST = 1e307  # the largest limit: differences and margins of such limits are finite
DECADES, SPREADS = 10, 100  # how far limits may lie from the middle 90 % of the values


def finite_limits(values: Any, *, logarithmic: bool = False) -> tuple[float, float]:
    """Return limits low < high for values: the smallest and the largest value without extreme outliers.

    Left out are values that are not finite and, on a logarithmic scale, values that are not positive. If there are
    other values, those far from the middle 90 %, beyond 1e30, or on a logarithmic scale below 1e-30, are left out too.
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
    """Return `finite_limits` with a margin."""
    low, high = finite_limits(values, logarithmic=logarithmic)
    if not logarithmic:
        return low - margin * (high - low), high + margin * (high - low)
    factor = 10 ** float(margin * (np.log10(high) - np.log10(low)))
    return max(low / factor, 1 / FARTHEST), min(high * factor, 10 * FARTHEST)


def label_log_axis(axis: Any, low: float, high: float) -> None:
    """Label the decades of a logarithmic axis, and also 2 and 5 if it is shorter than two decades; no minor labels.

    matplotlib labels minor ticks where few decades are seen, and in a narrow figure these labels overlap.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_minor_formatter(NullFormatter())
    if np.log10(high) - np.log10(low) < 2:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _apart(value, logarithmic):
    half = 0.5 * abs(value) or 0.5
    return (value / 3, value * 3) if logarithmic else (value - half, value + half)


class Colours(NamedTuple):
    """The arguments for drawing an image of values.

    Attributes:
      values: `[height, width]`, clipped to the limits; NaN where they are not finite.
      norm: a norm of matplotlib.
      extend: the ends of the colour bar that have an arrow.
      note: lines for the colour bar that explain values without a colour of their own; empty if there are none.
    """

    values: np.ndarray
    norm: Any
    extend: str
    note: str


def choose_colours(values: Any, *, limits: Any = None, logarithmic: bool = False, missing: str = "grey") -> Colours:
    """Choose the colours of an image.

    Args:
      values: `[height, width]`.
      limits: the limits of the colours, used if they are finite and in order; otherwise `finite_limits`.
      logarithmic: use a logarithmic scale, if all finite values and the limits are positive.
      missing: the name of the colour of values that are not finite.

    Raises:
      ValueError: `values` is not a non-empty 2-D array.
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
    """Return error bars `[2, count]` of `np.clip(values, low, high)` within the limits; zero for unknown errors."""
    values, errors = np.atleast_1d(np.asarray(values, float)), np.atleast_1d(np.asarray(errors, float))
    errors = np.where(np.isnan(errors) | ~np.isfinite(values), 0, np.abs(errors))
    middle = np.clip(values, low, high)
    with np.errstate(over="ignore", invalid="ignore"):
        ends = np.stack([middle - np.clip(values - errors, low, high), np.clip(values + errors, low, high) - middle])
    return np.nan_to_num(np.maximum(ends, 0))


def mark_beyond(axes: Any, series: Iterable[tuple[Any, Any, Any]], name: str = "") -> None:
    """Mark values beyond the limits at the edges of an axes, and count them in the legend.

    Args:
      axes: the axes, with its limits set.
      series: `(places, values, colour)` of every curve.
      name: the prefix of the entries in the legend.
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
