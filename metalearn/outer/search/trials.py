"""What a search without gradients tried, and the best of it."""

from typing import Any, NamedTuple

import jax
import numpy as np

from metalearn.compilation import jit
from metalearn.memoization import memoize
from metalearn.outer.held_out import Evaluate
from metalearn.types import Theta


class Trials(NamedTuple):
    """What a search tried, in order.

    Attributes:
      theta: `[num_trials, ...]`.
      loss: `[num_trials]`, NaN or infinite where a trial diverged.
      best: the index of the smallest finite loss. Chosen as the smallest of many noisy numbers, its
        loss is too small on average: judge it on fresh episodes.
    """

    theta: Theta
    loss: np.ndarray
    best: int


@memoize
def measured(evaluate: Evaluate) -> Any:
    """`(thetas, keys) -> losses`, compiled once for all searches."""
    return jit(jax.vmap(evaluate), "the trials")


def select_best(name: str, thetas: Theta, losses: jax.Array) -> tuple[Theta, Trials]:
    """The θ of the smallest finite loss, and all of them.

    Raises:
      FloatingPointError: no trial had a finite loss.
    """
    loss = np.asarray(losses)
    finite = np.isfinite(loss)
    if not finite.any():
        raise FloatingPointError(f"None of the {len(loss)} trials of {name} had a finite loss; search elsewhere.")
    best = int(np.argmin(np.where(finite, loss, np.inf)))
    return at(thetas, best), Trials(thetas, loss, best)


def at(tree: Theta, index: Any) -> Theta:
    """The rows of every leaf at an index or indices."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
