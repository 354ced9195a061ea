"""Errors from few values: what is stated as ± e covers 68 % within e and 90 % or more within 2 e."""

import numpy as np
from scipy.special import stdtrit

ONE_SIGMA = 0.8413447  # a normal variable stays within one standard deviation with probability 2 · this − 1
TWO_SIGMA = 0.96  # two errors hold 2 · this − 1 of a normal mean, some more than 90 % for the sake of skewed ones
FEWEST = 4  # values; of fewer no one number covers 68 % within one error and 90 % within two


def error_of_mean(values) -> float:
    """s / √n, widened by Student's t so that the mean ± this covers 68 % and ± twice this 90 %; NaN for one value."""
    count = len(values)
    if count < 2:
        return float("nan")
    widened = max(student(count - 1), float(stdtrit(count - 1, TWO_SIGMA)) / 2 if count > 2 else 0.0)
    return float(np.std(values, ddof=1) / np.sqrt(count)) * widened


def student(freedom: int) -> float:
    """The half-width of the 68 % interval of Student's t, 1 for many degrees of freedom."""
    return float(stdtrit(freedom, ONE_SIGMA))
