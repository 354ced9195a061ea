"""Numbers in sentences."""

import math
from typing import Any


def percent(share: Any) -> str:
    """A share in percent with one decimal: "12.5%". What is neither nothing nor everything never reads as either."""
    if not math.isfinite(share):
        return "unknown"
    if 0 < share < 0.0005:
        return "<0.1%"
    if 0.9995 <= share < 1:
        return ">99.9%"
    return f"{share:.0%}" if share in (0, 1) else f"{share:.1%}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun: "1 example", "2 examples"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
