"""The candidates, which of them can be trusted, and which one to use."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from metalearn.estimators import backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.inner.unroll import Truncation
from metalearn.memoization import memoize
from metalearn.outer.comparison.report import Comparison, Measurement, Report
from metalearn.outer.history import MOST_DIVERGED
from metalearn.words import percent

SEEN = 3.0
UNBIASED = ("NRES", "perturbed backprop")
BIASED = 0.3  # of the smoothed gradient: an estimator whose mean is farther away points elsewhere, or is too short
PILOT_PAIRS, PILOT_PARTICLES, PILOT_EPISODES = 8, 4, 16


class Recommendation(NamedTuple):
    """What to descend with.

    Attributes:
      method: the name of a candidate.
      length: inner steps of a window.
      sigma: the standard deviation of the smoothing.
      num_pairs: pairs (or perturbed particles) of an estimate of an episode whose signal is as large as its noise.
      reason: why, in a sentence with the numbers.
    """

    method: str
    length: int
    sigma: float
    num_pairs: int
    reason: str


@memoize
def make_candidates(problem, truncation, sigma, differentiable, rematerialise) -> dict[str, Any]:
    """The estimators that are run, by name; `rematerialise` for backprop through an episode and through a window."""
    whole = dataclasses.replace(truncation, length=truncation.horizon)
    smooth = {"sigma": sigma, "num_pairs": PILOT_PAIRS}
    found = {
        "NRES": noise_reuse_es(problem, truncation, **smooth),
        "PES": persistent_es(problem, truncation, **smooth),
        "truncated ES": evolution_strategies(problem, truncation, **smooth),
    }
    if differentiable:
        particles = {"sigma": sigma, "num_particles": PILOT_PARTICLES}
        found |= {
            "perturbed backprop": backprop(problem, whole, rematerialise=rematerialise[0], **particles),
            "perturbed truncated backprop": backprop(problem, truncation, rematerialise=rematerialise[1], **particles),
        }
    return found


def with_target_error(comparison: Comparison, uncertainty: float) -> Comparison:
    """The reference is itself measured: its error, relative to its length, is in the square of every bias, and part of its error."""
    less = lambda bias: math.sqrt(max(bias.value**2 - uncertainty**2, 0.0)) if math.isfinite(bias.value) else math.nan
    both = lambda bias: Measurement(less(bias), math.hypot(bias.error, uncertainty))
    reports = tuple(dataclasses.replace(report, bias=both(report.bias)) for report in comparison.reports)
    return dataclasses.replace(comparison, reports=reports)


def trusted(report: Report) -> bool:
    """Whether a candidate's mean is that of ∇L_σ: in its pilot the signal is more than three times what noise alone
    gives, at most 1 % of its particles diverged, and its bias is known to be at most 0.3 of ‖∇L_σ‖: two errors above
    its value. Of those that are unbiased for ∇L_σ by construction it need only not be known to be larger: two errors
    below.
    """
    side = -1 if report.name in UNBIASED else 1
    return (
        report.bias.value + side * 2 * report.bias.error <= BIASED
        and report.fraction_diverged <= MOST_DIVERGED
        and _signal(report) > SEEN / report.num_episodes
    )


def _signal(report: Report) -> float:
    """The signal to noise of an episode; infinite for a deterministic estimator."""
    return math.inf if report.variance.value == 0 else report.signal_to_noise.value


def recommend(comparison: Comparison, truncation: Truncation, sigma: float, diverged: float = 0.0) -> Recommendation:
    """The largest signal to noise per inner step among those whose mean is right; `diverged` is the share of the runs
    behind the target that diverged, which leave nothing to set a mean against.
    """
    if diverged > 0 or not any(np.isfinite(report.bias.value) for report in comparison.reports):
        shares = [report.fraction_diverged for report in comparison.reports if report.num_episodes]
        diverged = max(diverged, *shares, 0.0)
        reason = (
            f"up to {percent(diverged)} of the particles diverge about θ, so that ∇L_σ is infinite; give the problem a cap with ml.saturate"
            if diverged > 0
            else "losses about θ are all the same, or ∇L_σ is within its noise; move θ, or take more pairs"
        )
        return Recommendation("none of them", truncation.length, sigma, 0, reason)
    snr = lambda report: _signal(report) / report.inner_steps
    fit = [report for report in comparison.reports if trusted(report)]
    if not fit:
        reason = "the pilot is too noisy to know any candidate's mean; noise-reuse ES is unbiased for ∇L_σ"
        return Recommendation("NRES", truncation.length, sigma, 4 * PILOT_PAIRS, reason)
    best = max(fit, key=snr)
    biased = [
        report.name
        for report in comparison.reports
        if report not in fit and report.fraction_diverged <= MOST_DIVERGED and snr(report) > snr(best)
    ]
    quality = (
        f"{best.signal_to_noise_per_step} of signal to noise per 10⁶ inner steps"
        if best.variance.value
        else "deterministic"
    )
    reason = f"{quality}, its cosine with ∇L_σ is {best.cosine}"
    if biased:
        reason += f"; {' and '.join(biased)} would be quieter, but not known to be right"
    whole = best.name == "perturbed backprop"
    used, snr_of_one = (PILOT_PARTICLES if "backprop" in best.name else PILOT_PAIRS), _signal(best)
    pairs = 1 if snr_of_one > 1e300 else math.ceil(used / max(snr_of_one, 1e-6))
    return Recommendation(
        best.name, truncation.horizon if whole else truncation.length, sigma, min(pairs, 4096), reason
    )
