"""The result of a measurement of Lyapunov exponents, and its table."""

from typing import Any, NamedTuple

import jax
import numpy as np

from metalearn import tabular
from metalearn.brief import brief_help
from metalearn.words import counted

STATUS = ("converged", "bounded", "escaped", "non-finite", "underflow")
COLUMNS = {
    "orbit": ("orbit", ""),
    "index": ("index", "1 is the largest exponent"),
    "exponent": ("exponent", "growth of the logarithm of a distance, per step; positive is chaotic"),
    "flip_fraction": ("flips", "share of the steps after which the leading direction points backwards"),
    "status": ("status", "behaviour of the orbit"),
    "steps": ("steps", "over which exponents are averaged"),
}


@brief_help
class Lyapunov(NamedTuple):
    """Lyapunov exponents of one orbit, with errors and diagnostics.

    Attributes:
      exponents: λ_1 ≥ λ_2 … per step, `[num_exponents]`; −∞ if a tangent vector becomes exactly zero (a superstable
        orbit).
      standard_errors: the standard error of each exponent, from its means over 20 blocks of the orbit and the
        correlation of neighbouring blocks, plus the rounding error. It is 0 for an exponent of −∞, and infinite if
        fewer than two blocks have steps. Blocks must be longer than the correlation time of the orbit.
      flip_fraction: the fraction of steps that reverse the leading direction, v_t · v_{t+1} < 0. It is near 1 if
        training oscillates, which is a route to chaos, and near 0 if training leaves a saddle.
      log_determinant: the mean of ln |det J_t|, which equals the sum of all exponents; NaN unless all exponents are
        computed.
      status: an index into `STATUS`: the state no longer moves (converged), stays bounded, exceeded the bound
        (escaped), was not finite (non-finite), or a tangent vector became exactly zero (underflow).
      steps: the number of steps over which the exponents are averaged.
      escape: the index of the first state that exceeds the bound or is not finite, or whose tangents are not finite;
        −1 if there is none. No field is updated from there on.
    """

    exponents: jax.Array
    standard_errors: jax.Array
    flip_fraction: jax.Array
    log_determinant: jax.Array
    status: jax.Array
    steps: jax.Array
    escape: jax.Array

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS
    __str__ = tabular.to_text

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary per exponent, orbit by orbit."""
        each = {"exponents": "exponent", "standard_errors": "exponent_error"}
        orbit = [name for name in self._fields if name not in each]
        rows = []
        for *place, index in np.ndindex(np.shape(self.exponents)):
            own = {word: np.asarray(getattr(self, name))[(*place, index)].item() for name, word in each.items()}
            shared = {name: np.asarray(getattr(self, name))[tuple(place)].item() for name in orbit}
            which = {"orbit": "/".join(map(str, place))} if place else {}
            rows.append(which | {"index": index + 1} | own | shared | {"status": STATUS[shared["status"]]})
        return rows

    def _table(self) -> tabular.Table:
        rows = self.rows()
        first = ", ".join(f"{row['exponent']:.3g}" for row in rows[:3]) + ", …" * (len(rows) > 3)
        title = f"{counted(len(rows), 'exponent')} per step: {first}; {rows[0]['status']}"
        return tabular.Table(title, rows, COLUMNS if "orbit" in rows[0] else {k: COLUMNS[k] for k in list(COLUMNS)[1:]})
