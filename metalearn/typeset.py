"""Format numbers with their errors, and words, for a terminal and for LaTeX."""

import decimal
import math
import re
import unicodedata
from collections.abc import Mapping
from typing import Any


def rounded(value: float, error: float) -> tuple[str, str, int]:
    """Return a number and its error as digits, and the power of ten that multiplies both.

    The error has two digits, and the number has the same number of decimals. If the error is zero or unknown, the
    number has three digits and no error.
    """
    known = math.isfinite(error) and error > 1e-12 * abs(value)
    largest = max(abs(value), error if known else 0.0)
    power = int(f"{largest:.2e}".partition("e")[2])
    power = power if power < -3 or power > 4 else 0
    shifted, spread = (float(decimal.Decimal(number).scaleb(-power)) for number in (value, error if known else 0.0))
    if not known:
        return f"{shifted:.0f}" if abs(shifted) >= 1000 else f"{shifted:.3g}", "", power
    decimals = 1 - int(f"{spread:.1e}".partition("e")[2])
    digits = lambda number: f"{round(number, decimals):.{max(decimals, 0)}f}"
    return digits(shifted), digits(spread), power


def escape(words: str) -> str:
    """Convert text to LaTeX, with Greek letters and other symbols in math mode."""
    return re.sub(r"(?<!\\)\$\$", "", "".join(map(_escaped, words)))  # $a$$b$ is $ab$


_SPECIAL = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_SPECIAL |= {"^": r"\textasciicircum{}", "<": "$<$", ">": "$>$", "|": "$|$", "–": "--", "…": r"\dots{}", "\n": " "}
_SPECIAL |= {"∇": r"$\nabla$", "∞": r"$\infty$", "±": r"$\pm$", "×": r"$\times$", "‖": r"$\|$", "·": r"$\cdot$"}
_SPECIAL |= {
    "−": "$-$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "→": r"$\to$",
    "√": r"$\surd$",
    "ℓ": r"$\ell$",
    "∂": r"$\partial$",
}


def _escaped(sign: str) -> str:
    if sign in _SPECIAL:
        return _SPECIAL[sign]
    kind, _, letter = unicodedata.name(sign, "").partition(" LETTER ")
    if kind in ("GREEK SMALL", "GREEK CAPITAL") and letter.isalpha():
        letter = letter.lower().replace("lamda", "lambda")
        return rf"$\{letter if kind == 'GREEK SMALL' else letter.capitalize()}$"
    form, _, digit = unicodedata.decomposition(sign).partition(" ")
    if form in ("<super>", "<sub>"):
        return f"${'^' if form == '<super>' else '_'}{{{chr(int(digit, 16))}}}$".replace("−", "-")
    return sign


def _parts(row: Mapping[str, Any], key: str) -> tuple[Any, Any, Any]:
    """Return a value, its error (NaN if there is none), and the ends of its interval if there is one."""
    ends = [row[f"{key}{end}"] for end in ("_low", "_high") if f"{key}{end}" in row]
    error = row.get(f"{key}_error")
    return row.get(key), math.nan if error is None else error, ends if all(map(math.isfinite, ends)) else ()


def text(row: Mapping[str, Any], key: str) -> str:
    """Return the cell of a table in a terminal."""
    value, error, ends = _parts(row, key)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, (int, str)):
        return "" if value is None else str(value)
    if not math.isfinite(value):
        return "–" if math.isnan(value) else f"{'-' * (value < 0)}∞"
    number, spread, power = rounded(value, error)
    said = f"{number} ± {spread}" if spread else number
    if power:
        said = f"({said})e{power}" if spread else f"{said}e{power}"
    return said + (f" ({' … '.join(f'{end:.3g}' for end in ends)})" if ends else "")


def latex(row: Mapping[str, Any], key: str) -> str:
    """Return the cell of a LaTeX table."""
    value, error, ends = _parts(row, key)
    if value is None or isinstance(value, (bool, str)) or (not isinstance(value, int) and not math.isfinite(value)):
        return escape(text(row, key))
    if isinstance(value, int):
        return f"${value}$"
    number, spread, power = rounded(value, error)
    said = rf"{number} \pm {spread}" if spread else number
    if power:
        said = rf"({said}) \times 10^{{{power}}}" if spread else rf"{said} \times 10^{{{power}}}"
    return f"${said}$" + (f" [{', '.join(f'{end:.3g}' for end in ends)}]" if ends else "")
