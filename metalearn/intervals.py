"""Errors from few values: what is stated as ± e covers 68 % within e and 90 % or more within 2 e."""

import numpy as np
from scipy.special import stdtrit

ONE_SIGMA = 0.8413447  # a normal variable stays within one standard deviation with probability 2 · this − 1
FEWEST = 4  # below it no one number covers 68 % within one error and 90 % within two


def error_of_mean(values) -> float:
    """s / √n, widened by Student's t so that the mean ± this covers 68 % of n independent values; NaN for one value."""
    count = len(values)
    if count < 2:
        return float("nan")
    return float(np.std(values, ddof=1) / np.sqrt(count)) * student(count - 1)


def student(freedom: int) -> float:
    """The half-width of the 68 % interval of Student's t, 1 for many degrees of freedom."""
    return float(stdtrit(freedom, ONE_SIGMA))
