"""The trials of a search without gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import tabular
from metalearn.brief import brief_help
from metalearn.compilation import jit
from metalearn.inner.checks import is_known
from metalearn.memoization import memoize
from metalearn.outer.held_out import Evaluate
from metalearn.types import Theta
from metalearn.words import counted


@brief_help
class Trials(NamedTuple):
    """The trials of a search, in order.

    Attributes:
      theta: `[num_trials, ...]`.
      loss: `[num_trials]`, NaN or infinite where a trial diverged.
      best: the index of the smallest finite loss. This loss is too small on average, because it is the smallest of
        many noisy numbers: evaluate the θ again on new episodes.
    """

    theta: Theta
    loss: np.ndarray
    best: int

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS
    __str__ = tabular.to_text

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary per trial: its number, its loss, and θ where it is small."""
        return [self._row(index) for index in range(len(self.loss))]

    def _row(self, index: int) -> dict[str, Any]:
        return {"trial": index, "loss": float(self.loss[index]), **tabular.entries("theta", at(self.theta, index))}

    def _table(self) -> tabular.Table:
        count = len(self.loss)
        order = np.argsort(np.where(np.isfinite(self.loss), self.loss, np.inf), kind="stable")[: tabular.MOST_ROWS]
        rows = [self._row(int(index)) for index in order]
        numbers = {key: (key, "") for row in rows for key in row if key.startswith("theta")}
        title = (
            f"{counted(count, 'trial')}, {counted(int(np.isfinite(self.loss).sum()), 'finite loss', 'finite losses')}"
        )
        return tabular.Table(
            f"{title}, the smallest {self.loss[self.best]:.4g} in trial {self.best}",
            rows,
            {"trial": ("trial", "in the order they were tried"), "loss": ("loss", "of the trial"), **numbers},
            [f"The best {len(rows)} of {counted(count, 'trial')}; rows() has all."] * (len(rows) < count),
        )


@memoize
def measured(evaluate: Evaluate) -> Any:
    """Return `(thetas, keys) -> losses`, which is compiled once for all searches."""
    return jit(jax.vmap(evaluate), "the trials")


def select_best(name: str, thetas: Theta, losses: jax.Array) -> tuple[Theta, Trials]:
    """Return the θ with the smallest finite loss, and all trials. In a mapped search no loss may be finite.

    Raises:
      FloatingPointError: no trial had a finite loss.
    """
    if not is_known(losses):
        chosen = jnp.argmin(jnp.where(jnp.isfinite(losses), losses, jnp.inf))
        return at(thetas, chosen), Trials(thetas, losses, chosen)  # type: ignore[arg-type]
    loss = np.asarray(losses)
    finite = np.isfinite(loss)
    if not finite.any():
        raise FloatingPointError(
            f"None of the {len(loss)} trials of {name} had a finite loss; search another region of theta."
        )
    best = int(np.argmin(np.where(finite, loss, np.inf)))
    return at(thetas, best), Trials(thetas, loss, best)


def at(tree: Theta, index: Any) -> Theta:
    """Return the rows of every leaf at an index or at indices: of known leaves by NumPy, which compiles nothing."""
    if is_known((tree, index)):
        return jax.tree.map(lambda leaf: jax.device_put(np.asarray(leaf)[index]), tree)
    return jax.tree.map(lambda leaf: leaf[index], tree)
