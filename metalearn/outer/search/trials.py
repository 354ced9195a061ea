"""The trials of a search without gradients."""

from typing import Any, NamedTuple

import jax
import numpy as np

from metalearn.compilation import jit
from metalearn.memoization import memoize
from metalearn.outer.held_out import Evaluate
from metalearn.types import Theta


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


@memoize
def measured(evaluate: Evaluate) -> Any:
    """Return `(thetas, keys) -> losses`, which is compiled once for all searches."""
    return jit(jax.vmap(evaluate), "the trials")


def select_best(name: str, thetas: Theta, losses: jax.Array) -> tuple[Theta, Trials]:
    """Return the θ with the smallest finite loss, and all trials.

    Raises:
      FloatingPointError: no trial had a finite loss.
    """
    loss = np.asarray(losses)
    finite = np.isfinite(loss)
    if not finite.any():
        raise FloatingPointError(
            f"None of the {len(loss)} trials of {name} had a finite loss; search another region of theta."
        )
    best = int(np.argmin(np.where(finite, loss, np.inf)))
    return at(thetas, best), Trials(thetas, loss, best)


def at(tree: Theta, index: Any) -> Theta:
    """Return the rows of every leaf at an index or at indices."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
