"""Numbers and names in sentences."""

import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any


def percent(share: Any, decimals: int = 1) -> str:
    """A share in percent: "12.5%". What is neither nothing nor everything never reads as either, but as "<0.1%" or ">99.9%"."""
    if not math.isfinite(share):
        return "unknown"
    step = 10.0 ** -(decimals + 2)
    shown = f"{share:.{decimals}%}"
    if share > 0 and float(shown[:-1]) == 0:
        return f"<{step:.{decimals}%}"
    return f">{1 - step:.{decimals}%}" if share < 1 and float(shown[:-1]) == 100 else shown


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 example", "2 examples"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def suggestion(given: str, known: Iterable[str]) -> str:
    """ " (did you mean known?)" for a name that is nearly one of those known; empty where none is close."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], below: Sequence[str] = ()) -> str:
    """Columns as wide as their longest cell, a line under the header, and sentences below."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header, *rows]]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:], *below])
