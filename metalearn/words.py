"""Formatting of numbers, names and tables in messages."""

import difflib
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any


def percent(share: Any, decimals: int = 1) -> str:
    """Format a share in percent, such as "12.5%".

    A share strictly between 0 and 1 that would be rounded to 0% or 100% is shown as "<0.1%" or ">99.9%".
    """
    if not math.isfinite(share):
        return "unknown"
    step = 10.0 ** -(decimals + 2)
    shown = f"{share:.{decimals}%}"
    if share > 0 and float(shown[:-1]) == 0:
        return f"<{step:.{decimals}%}"
    return f">{1 - step:.{decimals}%}" if share < 1 and float(shown[:-1]) == 100 else shown


def counted(count: int, noun: str, plural: str = "") -> str:
    """Format a number with its noun, such as "1 example" or "2 examples"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def suggestion(given: str, known: Iterable[str]) -> str:
    """Return " (did you mean <name>?)" with the known name closest to the given one, or "" if none is close."""
    close = difflib.get_close_matches(given, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], below: Sequence[str] = ()) -> str:
    """Format a table with aligned columns, a rule under the header, and the lines `below` at the end."""
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header, *rows]]
    return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:], *below])


def fitting(header: Sequence[str], rows: Sequence[Sequence[str]], width: int = 100) -> int:
    """Return how many of the first columns of a table fit into a width; at least two."""
    ends = itertools.accumulate(max(map(len, column)) + 2 for column in zip(header, *rows))
    return max(2, sum(end - 2 <= width for end in ends))
