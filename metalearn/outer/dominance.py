"""Detection of meta-losses that a few particles dominate."""

import math
from typing import Any

import numpy as np

from metalearn.inner.checks import is_known

FEWEST = 32  # with fewer particles, a single one is not a small share of them


def dominance(metrics: dict[str, Any], num_particles: int) -> float:
    """Return the share of the mean |loss| that is due to the worst 1 % of the particles, or 0 if it is small.

    It is returned if it is more than one half. With fewer than 8 particles per estimate, one particle can account for
    half of the loss by chance; the share is then returned if it is more than nine tenths.

    Args:
      metrics: "absolute_loss" (by default |"loss"|) and "worst_share" of an estimator, of equal shapes.
      num_particles: the particles of one estimate.
    """
    found = [metrics.get("absolute_loss", metrics.get("loss", 0.0)), metrics.get("worst_share", 0.0)]
    if not is_known(found):
        return 0.0
    losses, shares = (np.asarray(one, np.float64) for one in found)
    if losses.size * num_particles < FEWEST or shares.shape != losses.shape:
        return 0.0
    with np.errstate(invalid="ignore"):
        sizes = np.nan_to_num(np.abs(losses), nan=0.0, posinf=0.0).ravel()
    worst = np.sort(shares.ravel() * sizes)[::-1]
    in_each = math.ceil(0.01 * num_particles)  # particles that `worst_share` of one estimate counts
    counted = math.ceil(0.01 * sizes.size * num_particles / in_each)  # estimates, for 1 % of all particles
    share = float(worst[:counted].sum() / sizes.sum()) if sizes.any() else 0.0
    return share if share > (0.5 if num_particles >= 8 else 0.9) else 0.0
