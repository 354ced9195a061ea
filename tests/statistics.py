"""The acceptance function of all statistical tests: |mean − exact| < k · SE, with an SE that can reveal a mistake.

The SE is computed from the samples. A test that passes because its SE is large is meaningless. `within` therefore also
takes the value that a wrong implementation would have, and fails if the samples cannot distinguish the two.
"""

from typing import NamedTuple

import numpy as np

ROUNDING = 1e-6  # of the root mean square of the samples: what float32 leaves of a component that has no spread


class Estimate(NamedTuple):
    """A mean and its standard error, each of the shape of one sample."""

    mean: np.ndarray
    error: np.ndarray


class Verdict(NamedTuple):
    """A verdict that is true if it `passes`. pytest prints the other fields."""

    passes: bool
    mean: np.ndarray
    error: np.ndarray
    exact: np.ndarray
    why: str

    def __bool__(self):
        return self.passes


def estimate(samples) -> Estimate:
    """Return the mean over the first axis and its standard error, in float64. An `Estimate` is returned unchanged."""
    if isinstance(samples, Estimate):
        return samples
    samples = np.asarray(samples, np.float64)
    spread = np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
    return Estimate(samples.mean(axis=0), np.maximum(spread, ROUNDING * np.sqrt(np.mean(samples**2, axis=0))))


def within(samples, exact, k: float = 5, *, twin=None) -> Verdict:
    """Check that every component of the mean is within k standard errors of `exact`, and that a twin would not be.

    Args:
      samples: independent samples `[N, ...]`, or an `Estimate`.
      exact: the expectation, of the shape of one sample.
      k: 5 lets a correct implementation fail once in a million.
      twin: the expectation of the mistake that must not pass, in one component at least 2k standard errors away.
    """
    mean, error = estimate(samples)
    exact = _like(exact, mean)
    if not np.all(np.abs(mean - exact) < k * error):
        return Verdict(
            False,
            mean,
            error,
            exact,
            f"a component is {np.max(np.abs(mean - exact) / error):.1f} SE away; {k} are allowed",
        )
    if twin is not None and not np.any(np.abs(_like(twin, mean) - exact) > 2 * k * error):
        return Verdict(False, mean, error, exact, f"no power: {twin} would have passed as well; take more samples")
    return Verdict(True, mean, error, exact, "")


def rejects(samples, exact, k: float = 5) -> Verdict:
    """Check that a component of a finite mean is more than k standard errors from `exact`, as in a biased twin."""
    mean, error = estimate(samples)
    exact = _like(exact, mean)
    far = bool(np.all(np.isfinite(mean)) and np.any(np.abs(mean - exact) > k * error))
    return Verdict(far, mean, error, exact, "" if far else f"every component is within {k} SE, or one is not finite")


def squared_distances(samples, exact) -> np.ndarray:
    """Return ‖x − exact‖² of each sample `[N, d]`: independent samples whose mean is the trace of the covariance."""
    samples = np.asarray(samples, np.float64)
    return np.sum((samples.reshape(len(samples), -1) - np.ravel(exact)) ** 2, axis=1)


def _like(value, mean):
    value = np.asarray(value, np.float64)
    if value.shape != mean.shape:
        raise ValueError(f"The exact value has shape {value.shape}, one sample has {mean.shape}.")
    return value
