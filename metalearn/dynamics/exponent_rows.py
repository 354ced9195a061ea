"""Lyapunov exponents as rows of a table."""

from typing import Any

import numpy as np

from metalearn import tabular
from metalearn.words import counted

STATUS = ("converged", "bounded", "escaped", "non-finite", "underflow")
COLUMNS = {
    "orbit": ("orbit", ""),
    "index": ("index", "1 is the largest exponent"),
    "exponent": ("exponent", "growth of the logarithm of a distance, per step; positive is chaotic"),
    "flip_fraction": ("flips", "share of the steps after which the leading direction points backwards"),
    "status": ("status", "what the orbit does"),
    "steps": ("steps", "over which exponents are averaged"),
}


def exponent_rows(self) -> list[dict[str, Any]]:
    """One flat dictionary per exponent; of several orbits, those of the first come first."""
    each = {"exponents": "exponent", "standard_errors": "exponent_error"}
    orbit = [name for name in self._fields if name not in each]
    rows = []
    for *place, index in np.ndindex(np.shape(self.exponents)):
        own = {word: np.asarray(getattr(self, name))[(*place, index)].item() for name, word in each.items()}
        shared = {name: np.asarray(getattr(self, name))[tuple(place)].item() for name in orbit}
        which = {"orbit": "/".join(map(str, place))} if place else {}
        rows.append(which | {"index": index + 1} | own | shared | {"status": STATUS[shared["status"]]})
    return rows


def exponent_table(self) -> tabular.Table:
    rows = exponent_rows(self)
    first = ", ".join(f"{row['exponent']:.3g}" for row in rows[:3]) + ", …" * (len(rows) > 3)
    title = f"{counted(len(rows), 'exponent')} per step: {first}; {rows[0]['status']}"
    return tabular.Table(title, rows, COLUMNS if "orbit" in rows[0] else {k: COLUMNS[k] for k in list(COLUMNS)[1:]})
