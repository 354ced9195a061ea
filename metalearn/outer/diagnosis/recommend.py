"""The candidate estimators, which of them can be trusted, and which one to use."""

import dataclasses
import math
from typing import Any, NamedTuple

import numpy as np

from metalearn.brief import brief_help
from metalearn.estimators import backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.inner.unroll import Truncation
from metalearn.memoization import memoize
from metalearn.outer.comparison.report import Comparison, Measurement, Report
from metalearn.outer.history import MOST_DIVERGED
from metalearn.words import percent

SEEN = 3.0
UNBIASED = ("NRES", "perturbed backprop")
BIASED = 0.3  # relative to the smoothed gradient: an estimator with a larger bias is not trusted
PILOT_PAIRS, PILOT_PARTICLES, PILOT_EPISODES = 8, 4, 16


@brief_help
class Recommendation(NamedTuple):
    """The recommended estimator.

    Attributes:
      method: the name of a candidate.
      length: inner steps of a window.
      sigma: the standard deviation of the smoothing.
      num_pairs: the number of pairs (or perturbed particles) with which the signal-to-noise ratio of an episode is 1.
      reason: the reason with its numbers, in one sentence.
    """

    method: str
    length: int
    sigma: float
    num_pairs: int
    reason: str


@memoize
def make_candidates(problem, truncation, sigma, differentiable, rematerialise) -> dict[str, Any]:
    """Return the candidates by name; `rematerialise` is for backprop through an episode and through a window."""
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
    """Correct every bias for the error of the measured reference, which is given relative to the reference's length."""
    less = lambda bias: math.sqrt(max(bias.value**2 - uncertainty**2, 0.0)) if math.isfinite(bias.value) else math.nan
    both = lambda bias: Measurement(less(bias), math.hypot(bias.error, uncertainty))
    reports = tuple(dataclasses.replace(report, bias=both(report.bias)) for report in comparison.reports)
    return dataclasses.replace(comparison, reports=reports)


def trusted(report: Report) -> bool:
    """Return whether the mean of a candidate can be taken for ∇L_σ.

    In its pilot, the signal must be more than three times what noise alone gives, and at most 1 % of the particles may
    diverge. The bias plus two errors must be at most 0.3 ‖∇L_σ‖. For a candidate that is unbiased for ∇L_σ by
    construction, the bias minus two errors must be at most 0.3 ‖∇L_σ‖.
    """
    side = -1 if report.name in UNBIASED else 1
    return (
        report.bias.value + side * 2 * report.bias.error <= BIASED
        and report.fraction_diverged <= MOST_DIVERGED
        and _signal(report) > SEEN / report.num_episodes
    )


def _signal(report: Report) -> float:
    """Return the signal-to-noise ratio of an episode; infinite for a deterministic estimator."""
    return math.inf if report.variance.value == 0 else report.signal_to_noise.value


def recommend(comparison: Comparison, truncation: Truncation, sigma: float, diverged: float = 0.0) -> Recommendation:
    """Recommend the trusted candidate with the largest signal-to-noise ratio per inner step.

    Args:
      comparison: the candidates' measurements.
      truncation: horizon and window length.
      sigma: the standard deviation of the smoothing.
      diverged: the fraction of the pairs behind the target that diverged. If it is positive, no candidate can be
        compared with the target, and none is recommended.
    """
    if diverged > 0 or not any(np.isfinite(report.bias.value) for report in comparison.reports):
        shares = [report.fraction_diverged for report in comparison.reports if report.num_episodes]
        diverged = max(diverged, *shares, 0.0)
        reason = (
            f"up to {percent(diverged)} of the particles diverge around θ, so ∇L_σ is infinite; give the problem a cap with ml.saturate"
            if diverged > 0
            else "the losses around θ are all equal, or ∇L_σ is within its noise; change θ, or use more pairs"
        )
        return Recommendation("none of them", truncation.length, sigma, 0, reason)
    snr = lambda report: _signal(report) / report.inner_steps
    fit = [report for report in comparison.reports if trusted(report)]
    if not fit:
        reason = "the pilot is too noisy to measure the mean of any candidate; noise-reuse ES is unbiased for ∇L_σ"
        return Recommendation("NRES", truncation.length, sigma, 4 * PILOT_PAIRS, reason)
    best = max(fit, key=snr)
    biased = [
        report.name
        for report in comparison.reports
        if report not in fit and report.fraction_diverged <= MOST_DIVERGED and snr(report) > snr(best)
    ]
    quality = (
        f"{best.signal_to_noise_per_step} signal-to-noise ratio per 10⁶ inner steps"
        if best.variance.value
        else "deterministic"
    )
    reason = f"{quality}, its cosine with ∇L_σ is {best.cosine}"
    if not np.isfinite(best.cosine.value):
        reason = f"{quality}; its mean or ∇L_σ is within its noise, so that their directions cannot be compared: use more pairs"
    if biased:
        reason += f"; {' and '.join(biased)} would have less noise, but the bias is not known to be small"
    whole = best.name == "perturbed backprop"
    used, snr_of_one = (PILOT_PARTICLES if "backprop" in best.name else PILOT_PAIRS), _signal(best)
    pairs = 1 if snr_of_one > 1e300 else math.ceil(used / max(snr_of_one, 1e-6))
    return Recommendation(
        best.name, truncation.horizon if whole else truncation.length, sigma, min(pairs, 4096), reason
    )
