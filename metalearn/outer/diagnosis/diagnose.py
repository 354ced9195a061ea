"""The diagnosis at a point of θ-space: whether gradients can be used, why not, and which estimator to use instead."""

import dataclasses
import math
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import heartbeat, tabular, trees
from metalearn.inner.checks import LARGEST_BATCH, check_count, check_number
from metalearn.inner.problem import InnerProblem, check_horizon, check_key, check_problem, check_theta
from metalearn.inner.unroll import Truncation
from metalearn.outer.comparison.compare import compare
from metalearn.outer.comparison.report import Comparison, Measurement
from metalearn.outer.comparison.statistics import UNKNOWN
from metalearn.outer.comparison.targets import needs_rematerialisation
from metalearn.outer.diagnosis import summary
from metalearn.outer.diagnosis.cloud import border_distance, measure_cloud
from metalearn.outer.diagnosis.derivatives import measure_derivatives
from metalearn.outer.diagnosis.recommend import (
    PILOT_EPISODES,
    PILOT_PARTICLES,
    Recommendation,
    make_candidates,
    recommend,
    with_target_error,
)
from metalearn.outer.diagnosis.window_jacobians import Spectrum
from metalearn.threads import in_these_modes
from metalearn.types import Key, Progress, Theta
from metalearn.words import percent

SWEEP, SWEEP_PAIRS = (0.25, 0.5, 1.0, 2.0, 4.0), 32


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The measurements at θ; `print` shows a summary.

    Attributes:
      theta: θ; converged: whether the mean of the last 20 losses is below the loss at the start.
      exponent, flip_fraction: the largest Lyapunov exponent per step; how often its direction reverses, per step.
      log_gradient, log_growth: ln ‖∇L‖ and ln ‖ds_T/dθ‖; NaN if they could not be measured.
      kappa: σ ‖ds_T/dθ‖ divided by the spread of s_T (half the root-mean-square distance between the two ends of a
        pair). It is 1 if training is linear over the cloud, and larger if the derivative predicts larger displacements
        than those that occur; NaN if the ends of all pairs coincide.
      beyond: the fraction of the runs of the ES cloud that converge if θ does not, or the reverse.
      distance: to the nearest point where this differs, along 16 rays, up to a factor √2; infinite if none was found.
      smoothed, smoothed_error: ∇L_σ by full-horizon ES, `[d]`; smoothed_length: its length.
      cosine, cosine_error, length_ratio: of the unsmoothed gradient (the mean over 8 episodes if episodes differ) and
        the smoothed one. The cosine is NaN if either is within its noise; the ratio is to the length or its error,
        whichever is larger.
      capped: the fraction of the runs of the cloud that end at the cap of the problem; NaN if it has none.
      predicted: method -> signal-to-noise ratio per 10⁶ inner steps from the linear formula.
      spectrum: the gradient of truncated backprop for every truncation.
      sweep: a row for each sigma: "length" of the smoothed gradient, signal-to-noise ratio "snr" of a pair, "cosine"
        with the smoothed gradient at `sigma`, and their standard errors ("length_error", …).
      comparison: the measurements of the candidate estimators.
      recommendation: the recommended estimator.
      left_out: what could not be measured and why, a sentence each.
    """

    theta: Theta
    sigma: float
    truncation: Truncation
    converged: bool
    exponent: Measurement
    flip_fraction: float
    log_gradient: float
    log_growth: float
    kappa: float
    beyond: float
    distance: float
    smoothed: np.ndarray
    smoothed_error: np.ndarray
    smoothed_length: Measurement
    cosine: float
    cosine_error: float
    length_ratio: float
    capped: float
    predicted: dict[str, float]
    spectrum: Spectrum | None
    sweep: list[dict[str, float]]
    comparison: Comparison
    recommendation: Recommendation
    left_out: tuple[str, ...]

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS
    __str__, rows, _table = summary.summary_text, summary.summary_rows, summary.summary_table


def diagnose(
    problem: InnerProblem,
    theta: Theta,
    sigma: float,
    truncation: Truncation,
    key: Key,
    *,
    num_pairs: int = 256,
    progress: Progress | None = None,
) -> Diagnosis:
    """Measure what determines how to estimate the meta-gradient at θ, and recommend an estimator.

    Each candidate is run in a pilot of 128 pairs, or of 64 perturbed particles for backprop. Its bias is measured with
    respect to ∇L_σ of full-horizon ES. The `trusted` one with the largest signal to noise per step is recommended.

    Args:
      problem: the inner problem. Measurements that need derivatives which do not exist are listed in `left_out`.
      theta: the point of θ-space.
      sigma: the standard deviation of the smoothing.
      truncation: horizon and window length; with a key all episodes are the same.
      key: the randomness of everything else.
      num_pairs: antithetic pairs of the cloud that measures ∇L_σ.
      progress: called as `progress(name, done, total)`. Without it, the measurement is printed every 15 seconds.

    Raises:
      TypeError: θ has a leaf that is not floating point, `key` is not a typed key, `sigma` is not a real number,
        `num_pairs` is not a whole number, or `problem` is not an `InnerProblem` or cannot be traced with θ.
      ValueError: θ is empty, `sigma` is not positive, `num_pairs` is below 16, or `problem` is made for another
        horizon.
    """
    check_theta(theta)
    check_key(key)
    check_number("sigma", sigma, 0, open_low=True)
    check_count("num_pairs", num_pairs, 16, LARGEST_BATCH)
    check_horizon(problem, truncation.horizon)
    theta = trees.strong(theta)
    check_problem(problem, theta)
    episode = jax.random.fold_in(key, 0) if truncation.key is None else truncation.key
    keys = jax.random.split(jax.random.fold_in(key, 1), 5)  # independent of the step keys of an episode with this key
    cloud, sweep, border, derivatives = _side_by_side(
        progress,
        lambda: measure_cloud(problem, theta, truncation, sigma, keys[1], num_pairs),
        lambda: _sweep(problem, theta, truncation, sigma, keys[3]),
        lambda: border_distance(problem, theta, sigma, truncation.horizon, episode, keys[2]),
        lambda: measure_derivatives(problem, theta, truncation, episode),
    )
    converged, distance = border
    raw = UNKNOWN if derivatives.gradients is None else cloud.cosine(derivatives.gradients)
    least = max(cloud.length, cloud.length_error)
    ratio = derivatives.log_gradient - (math.log(least) if least > 0 else math.nan)
    comparison = _compared(
        problem, theta, truncation, sigma, cloud, derivatives.spectrum is not None, keys[4], progress
    )
    growth = derivatives.log_growth + math.log(sigma / cloud.spread) if cloud.spread > 0 else math.nan
    return Diagnosis(
        theta=jax.tree.map(np.asarray, theta),
        sigma=sigma,
        truncation=truncation,
        converged=converged,
        exponent=derivatives.exponent,
        flip_fraction=derivatives.flip_fraction,
        log_gradient=derivatives.log_gradient,
        log_growth=derivatives.log_growth,
        kappa=_exponential(growth),
        beyond=float(np.mean(cloud.converged != converged)),
        distance=distance,
        smoothed=cloud.mean,
        smoothed_error=cloud.error,
        smoothed_length=Measurement(cloud.length, cloud.length_error),
        cosine=raw.value,
        cosine_error=raw.error,
        length_ratio=_exponential(ratio),
        capped=math.nan if problem.cap is None else cloud.capped,
        predicted=derivatives.predicted,
        spectrum=derivatives.spectrum,
        sweep=[_row(cloud, factor * sigma, found) for factor, found in zip(SWEEP, sweep)],
        comparison=comparison,
        recommendation=recommend(comparison, truncation, sigma, cloud.diverged),
        left_out=derivatives.left_out + _diverged(cloud) + _failed(comparison),
    )


def _exponential(logarithm: float) -> float:
    """Return the exponential, or a large finite number if it overflows; NaN remains NaN."""
    return math.nan if math.isnan(logarithm) else math.exp(min(logarithm, 700))


def _compared(problem, theta, truncation, sigma, cloud, differentiable, key, progress):
    """Compare the candidates at θ, with the bias relative to the mean of the cloud, whose error is accounted for."""
    steps = (PILOT_PARTICLES * truncation.horizon, PILOT_PARTICLES * truncation.length)
    tapes = tuple(differentiable and needs_rematerialisation(problem, theta, count) for count in steps)
    candidates = make_candidates(problem, truncation, sigma, differentiable, tapes)
    target = ravel_pytree(theta)[1](jnp.asarray(cloud.mean, _kind(theta)))
    with heartbeat.watched("the candidates", "measuring") as watch:
        watch.begin()
        comparison = compare(
            candidates,
            theta,
            key,
            num_episodes=PILOT_EPISODES,
            reference=dict.fromkeys(candidates, target),
            reference_pairs=2,
            unsmoothed=False,
            timed=False,
            progress=progress,
        )
    return with_target_error(comparison, cloud.uncertainty)


def _side_by_side(progress, *measurements):
    """Compile and run independent measurements on two threads."""
    found = []
    with (
        heartbeat.watched("the cloud, the sweep, the border and derivatives", "measuring") as watch,
        ThreadPoolExecutor(2) as pool,
    ):
        watch.begin()
        for running in [pool.submit(in_these_modes(one)) for one in measurements]:
            found.append(running.result())
            if progress is not None:
                progress("measuring", len(found), len(measurements))
    return found


def _row(cloud, sigma, found):
    """Return one row of the sweep over σ; `cloud` is the cloud at σ itself."""
    measured = {
        "length": Measurement(found.length, found.length_error),
        "snr": found.signal_to_noise,
        "cosine": cloud.cosine(found.slopes),
    }
    row = {"sigma": sigma}
    for name, one in measured.items():
        row |= {name: one.value, f"{name}_error": one.error}
    return row


def _kind(theta):
    return ravel_pytree(theta)[0].dtype


def _diverged(cloud) -> tuple[str, ...]:
    if not cloud.diverged:
        return ()
    return (
        f"a finite ∇L_σ, because {percent(cloud.diverged)} of the pairs of the cloud diverged; give the problem a cap with "
        "ml.saturate(problem, cap) or the cap of ml.training",
    )


def _failed(comparison) -> tuple[str, ...]:
    return tuple(f"{report.name}, which {report.reason}" for report in comparison.reports if report.reason)


def _sweep(problem, theta, truncation, sigma, key):
    return [measure_cloud(problem, theta, truncation, factor * sigma, key, SWEEP_PAIRS) for factor in SWEEP]
