"""The one acceptance function of every statistical test: |mean − exact| < k · SE, with an SE that could show a mistake.

The SE comes from the samples. A test that passes because its SE is large says nothing, so `within` also wants the value
that a mistaken implementation would have, and refuses samples that could not have told the two apart.
"""

from typing import NamedTuple

import numpy as np

ROUNDING = 1e-6  # of the root mean square of the samples: what float32 leaves of a component that has no spread


class Estimate(NamedTuple):
    """A mean and its standard error, each of the shape of one sample."""

    mean: np.ndarray
    error: np.ndarray


class Verdict(NamedTuple):
    """True where it `passes`; pytest prints the rest."""

    passes: bool
    mean: np.ndarray
    error: np.ndarray
    exact: np.ndarray
    why: str

    def __bool__(self):
        return self.passes


def estimate(samples) -> Estimate:
    """The mean over the first axis and its standard error, in float64; an `Estimate` passes through."""
    if isinstance(samples, Estimate):
        return samples
    samples = np.asarray(samples, np.float64)
    spread = np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
    return Estimate(samples.mean(axis=0), np.maximum(spread, ROUNDING * np.sqrt(np.mean(samples**2, axis=0))))


def within(samples, exact, k: float = 5, *, twin=None) -> Verdict:
    """Whether every component of the mean lies within k standard errors of `exact`, and could have failed to.

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
    """Whether a finite mean has a component more than k standard errors from `exact`, as a biased twin must have."""
    mean, error = estimate(samples)
    exact = _like(exact, mean)
    far = bool(np.all(np.isfinite(mean)) and np.any(np.abs(mean - exact) > k * error))
    return Verdict(far, mean, error, exact, "" if far else f"every component is within {k} SE, or one is not finite")


def squared_distances(samples, exact) -> np.ndarray:
    """‖x − exact‖² of each sample `[N, d]`: independent samples whose mean is the trace of the covariance."""
    samples = np.asarray(samples, np.float64)
    return np.sum((samples.reshape(len(samples), -1) - np.ravel(exact)) ** 2, axis=1)


def _like(value, mean):
    value = np.asarray(value, np.float64)
    if value.shape != mean.shape:
        raise ValueError(f"The exact value has shape {value.shape}, one sample has {mean.shape}.")
    return value
