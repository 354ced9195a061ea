"""Standard errors from few values: the interval ± e has a coverage of 68 %, and ± 2 e a coverage of at least 90 %."""

import numpy as np
from scipy.special import stdtrit

ONE_SIGMA = 0.8413447  # a normal variable is within one standard deviation with probability 2 · this − 1
CONFIDENT = 1.959964  # a normal variable is within so many standard deviations with probability 95 %
TWO_SIGMA = 0.96  # ± 2 errors cover 2 · this − 1 of a normal mean: slightly more than 90 %, to allow for skewed values
FEWEST = 4  # with fewer values, no single number gives 68 % coverage for one error and 90 % for two


def error_of_mean(values) -> float:
    """Return the standard error of the mean, widened by Student's t, or NaN for fewer than two values.

    The result e is s / √n times a factor for which the mean ± e covers 68 % and the mean ± 2 e covers 90 %.
    """
    count = len(values)
    if count < 2:
        return float("nan")
    widened = max(student(count - 1), float(stdtrit(count - 1, TWO_SIGMA)) / 2 if count > 2 else 0.0)
    return float(np.std(values, ddof=1) / np.sqrt(count)) * widened


def student(freedom: int) -> float:
    """Return the half-width of the central 68 % interval of Student's t; it tends to 1 for many degrees of freedom."""
    return float(stdtrit(freedom, ONE_SIGMA))


def share_interval(successes: int, count: int) -> tuple[float, float]:
    """Return the interval of Wilson (1927) with 95 % confidence for the probability of a success.

        (p + z²/2n ± z √(p (1 − p)/n + z²/4n²)) / (1 + z²/n),   p = successes / n,   z = 1.96

    Unlike p ± z √(p (1 − p)/n), it has a positive width if all or none of the trials succeed.
    """
    share, square = successes / count, CONFIDENT**2 / count
    middle = (share + square / 2) / (1 + square)
    half = (square * share * (1 - share) + square**2 / 4) ** 0.5 / (1 + square)
    return max(middle - half, 0.0) if successes else 0.0, min(middle + half, 1.0) if successes < count else 1.0
