"""What every estimator of a dimension returns, and what it needs to be given."""

from typing import NamedTuple

import numpy as np


class DimensionFit(NamedTuple):
    """A dimension fitted to counts at several scales.

    Attributes:
      dimension: D; NaN where it is refused.
      standard_error: of D; what it includes is said where it is made.
      sizes: box sides or distances in pixels, of all scales looked at.
      counts: boxes that hold a part of the border, or the share of uncertain pixels, at each size.
      local_slopes: the exponent between neighbouring sizes, one fewer.
      refused: why there is no dimension; empty where there is one.
    """

    dimension: float
    standard_error: float
    sizes: np.ndarray
    counts: np.ndarray
    local_slopes: np.ndarray
    refused: str = ""


def picture(mask, least):
    try:
        mask = np.asarray(mask)
    except ValueError:  # a Landscape, or another tuple of arrays
        mask = np.empty(0, object)
    if mask.dtype != bool or mask.ndim != 2 or min(mask.shape) < least:
        raise ValueError(
            f"A dimension needs a picture of booleans [H, W], at least {least} × {least}, such as landscape.converged; "
            f"{mask.dtype} {mask.shape} was given."
        )
    return mask


def log_slopes(sizes, counts):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.diff(np.log(counts)) / np.diff(np.log(sizes))
