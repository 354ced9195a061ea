"""Whether the mean of many losses is that of a few particles."""

import math
from typing import Any

import numpy as np

from metalearn.inner.checks import is_known

FEWEST = 32  # particles, below which one of them is no small part


def dominance(metrics: dict[str, Any], num_particles: int) -> float:
    """The share of the mean |loss| of many estimates that is due to the worst 1 % of the particles, where it is large; else 0.

    Large is more than half; of fewer than 8 particles an estimate, of which one may well hold half of the loss, more
    than nine tenths.

    Args:
      metrics: "loss" and "worst_share" of an estimator, of any equal shapes.
      num_particles: of one estimate.
    """
    found = [metrics.get(name, 0.0) for name in ("loss", "worst_share")]
    if not is_known(found):
        return 0.0
    losses, shares = (np.asarray(one, np.float64) for one in found)
    if losses.size * num_particles < FEWEST or shares.shape != losses.shape:
        return 0.0
    with np.errstate(invalid="ignore"):
        sizes = np.nan_to_num(np.abs(losses), nan=0.0, posinf=0.0).ravel()
    worst = np.sort(shares.ravel() * sizes)[::-1]
    counted = math.ceil(0.01 * sizes.size * num_particles)  # at most one in 100 of them, or one
    share = float(worst[:counted].sum() / sizes.sum()) if sizes.any() else 0.0
    return share if share > (0.5 if num_particles >= 8 else 0.9) else 0.0
