"""Compare gradient estimators at a fixed θ, with standard errors."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.estimators.base import GradientEstimator, check_is_estimator
from metalearn.inner.checks import LARGEST_BATCH, check_count, summarize_error
from metalearn.inner.problem import check_key, check_problem, check_theta
from metalearn.outer.comparison.along_trajectory import episodes_along, plan_along
from metalearn.outer.comparison.episodes import Episodes, run_episodes, time_episode
from metalearn.outer.comparison.plan import Plan, Tag, plan_runs
from metalearn.outer.comparison.programs import CannotRun, Programs, compile_programs
from metalearn.outer.comparison.report import Comparison, Measurement, Report, unmeasured
from metalearn.outer.comparison.statistics import (
    Mean,
    cosine,
    estimate_mean,
    exactly,
    jackknife,
    relative_bias,
    statistics,
)
from metalearn.outer.meta_train_checks import check_functions
from metalearn.types import Key, Progress, Theta

EXPLODED = 1e3  # if ∇L is longer than this times an estimator's mean, it cannot serve to measure the bias


def compare(
    estimators: Mapping[str, GradientEstimator],
    theta: Theta,
    key: Key,
    *,
    num_episodes: int,
    reference: Theta | Mapping[str, Theta] | None = None,
    reference_pairs: int | None = None,
    unsmoothed: bool = True,
    timed: bool = True,
    along: Theta | None = None,
    progress: Progress | None = None,
    callback: Callable[[Report], None] | None = None,
) -> Comparison:
    """Measure bias, variance, cosine and signal-to-noise ratio of gradient estimators at a fixed θ.

    Each estimator is run for `num_episodes` independent episodes. Its bias is measured with respect to the gradient of
    its *own* smoothed meta-loss: persistent and noise-reuse ES smooth differently, and so do two values of sigma. Bias
    and cosine are corrected for noise (docs/theory.md §7). Variances and signal-to-noise ratios have jackknife errors.

    If a loss is not finite, the smoothed meta-loss of a problem without a cap is infinite: target, bias and cosine are
    NaN, and `fraction_diverged` is positive. With a cap (`saturate`, `training`) they are finite.

    Args:
      estimators: name -> estimator; all are for the same θ.
      theta: the point of the comparison.
      key: the randomness of all runs.
      num_episodes: independent episodes per estimator, at least 2.
      reference: None: targets are measured with `reference_pairs` pairs of full-horizon ES, or episodes of backprop if
        an estimator does not smooth. A gradient: the target of all estimators. A mapping name -> gradient: of each.
      reference_pairs: the size of the reference runs. By default the largest number of pairs that an estimator uses in
        all its episodes, between 16 and 4096; for backprop a quarter as many episodes.
      unsmoothed: False to skip the unsmoothed gradient and the bias with respect to it.
      timed: False to skip times and SNR per second (NaN). A batch is timed at least three times, twice if it takes 3 s.
      along: None: θ is fixed. A trajectory `[num_steps, ...]`, such as `history.theta` of `meta_train`: each estimator
        follows it `num_episodes` times from a new start, with one θ per estimate. Its mean over an episode is compared
        with the target at the θ in the middle of the episode; up to 16 episodes, evenly spaced, form one vector. The
        result is the bias for a moving θ (hysteresis). Use `keep="all"`: a thinned history moves too fast.
      progress: called as `progress(name, done, total)` between batches, and as `progress("compiling", done, total)`.
      callback: called with the `Report` of each estimator, in their order. Its times are NaN: they are measured last.

    Returns:
      A `Comparison`. If an estimator cannot be compiled or run (no derivative, no memory), the `reason` of its report
      says why, and the others are still measured. A target that cannot be measured is NaN.

    Raises:
      TypeError: an entry of `estimators` is not a `GradientEstimator`, θ has a leaf that is not floating point, `key`
        is not a typed key, a count is not a whole number, or `progress` or `callback` is not a function.
      ValueError: `estimators` is empty or not a mapping, a count is below 2, θ is empty or not finite, `reference` or
        `along` does not fit θ, both are given, or a described perturbation is not standardised.
      Exception: the first error of an estimator, if none of them can be run.
    """
    check_comparison(estimators, theta, key, num_episodes, reference_pairs)
    check_functions(theta, None, callback, progress)
    theta = trees.strong(trees.gathered(theta))
    given = _given_targets(reference, estimators, theta)
    plan = plan_runs(
        estimators, theta, num_episodes, reference_pairs, measured=reference is None, unsmoothed=unsmoothed
    )
    episodes = 1
    if along is not None:
        plan = plan_along(plan, dict(estimators), _trajectory(along, theta, reference))
        episodes = episodes_along(dict(estimators), along)
    measured: dict[Tag, Episodes] = {}
    failed: dict[Tag, CannotRun] = {}
    report = lambda name: _make_report(name, estimators, theta, plan, measured, failed, given)
    with compile_programs(plan, key, progress) as programs:
        for name in estimators:
            for tag in plan.needed(name):
                if tag not in measured and tag not in failed and name not in failed:
                    _measure(plan, tag, programs, key, progress, measured, failed)
            if callback is not None:
                callback(report(name))
        if not any(name in measured for name in estimators):
            raise next(failed[name].__cause__ or failed[name] for name in estimators)
        for name in [name for name in estimators if name in measured] if timed else ():
            seconds, error = time_episode(programs(name), plan.runs[name], measured[name], key)
            measured[name] = dataclasses.replace(
                measured[name], seconds=seconds / episodes, seconds_error=error / episodes
            )
    reports = [report(name) for name in estimators]
    return Comparison(jax.tree.map(np.asarray, theta), tuple(reports))


def _measure(plan: Plan, tag: Tag, programs: Programs, key, progress, measured, failed) -> None:
    """Execute one run of the plan, or record the error of a run that cannot be executed."""
    run, index = plan.runs[tag], list(plan.runs).index(tag)
    own, label = jax.random.fold_in(key, index), tag if isinstance(tag, str) else "reference"
    try:
        measured[tag] = run_episodes(programs(tag), run.theta, own, run.count, name=label, progress=progress)
    except CannotRun as error:
        failed[tag] = error


def _make_report(name, estimators, theta, plan: Plan, measured, failed, given) -> Report:
    description = estimators[name].description
    if name in failed:
        size = trees.size(plan.runs[name].theta)
        return unmeasured(name, size, f"could not be run: {_reason(failed[name])}")
    own = given[name] if given else measured.get(plan.target.get(name))
    gradient = measured.get(plan.gradient.get(name))
    memory = None if description is None else _memory(description, theta)
    target = failed.get(plan.target.get(name))
    reason = "" if target is None else f"its target is unknown: {_reason(target)}"
    with np.errstate(over="ignore", invalid="ignore"):  # an exploding gradient has an infinite variance
        return dataclasses.replace(_report(name, measured[name], own, gradient, memory), reason=reason)


def _memory(description, theta) -> int | None:
    """Return the memory by formula; None if it needs a derivative of the state that does not exist."""
    try:
        return description.memory(theta)
    except (TypeError, ValueError, NotImplementedError):
        return None


def _reason(failure: CannotRun) -> str:
    return summarize_error(failure.__cause__ or failure)


def _report(name: str, runs: Episodes, own, plain, memory) -> Report:
    mean, target, gradient = estimate_mean(runs.means), _center(own, runs), _center(plain, runs)
    values, errors = jackknife(statistics, runs.means, runs.squares)
    measured: dict[str, Any] = {field: Measurement(values[field], errors[field]) for field in values}
    snr = measured["signal_to_noise"] = Measurement(max(values["signal_to_noise"], 0.0), errors["signal_to_noise"])
    per_step, per_second = 1e6 / runs.inner_steps, 1 / runs.seconds
    error_per_second = math.hypot(snr.error, snr.value * runs.seconds_error * per_second) * per_second
    size = float(np.linalg.norm(gradient.value))
    return Report(
        name=name,
        mean=mean.value,
        mean_error=np.sqrt(np.sum(mean.factor**2, axis=0)),
        target=target.value,
        gradient=gradient.value,
        bias=relative_bias(mean, target),
        bias_to_gradient=relative_bias(mean, gradient),
        cosine=cosine(mean, target),
        exploded=size if size > EXPLODED * float(np.linalg.norm(mean.value)) > 0 else None,
        signal_to_noise_per_step=Measurement(snr.value * per_step, snr.error * per_step),
        signal_to_noise_per_second=Measurement(snr.value * per_second, error_per_second),
        fraction_diverged=runs.fraction_diverged,
        fraction_capped=runs.fraction_capped,
        dominance=runs.dominance,
        inner_steps=runs.inner_steps,
        seconds=runs.seconds,
        seconds_error=runs.seconds_error,
        memory=memory,
        num_episodes=len(runs.means),
        **measured,
    )


def _center(source, runs: Episodes) -> Mean:
    """Return a target: measured, given (exact), or unknown (NaN) if one of its runs or of the estimator's diverged."""
    measured = isinstance(source, Episodes)
    if source is None or runs.fraction_diverged > 0 or (measured and source.fraction_diverged > 0):
        return exactly(np.full(runs.means.shape[1], math.nan))
    return estimate_mean(source.means) if measured else exactly(source)


def _trajectory(along, theta, reference) -> Theta:
    if reference is not None:
        raise ValueError(
            "along measures its own targets, one for every episode of the trajectory; do not give reference."
        )
    rows = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(along)}
    one = jax.tree.map(lambda leaf: jnp.shape(leaf)[1:], along)
    if len(rows) != 1 or rows == {()} or one != jax.tree.map(jnp.shape, theta):
        raise ValueError(
            "along must have the structure of theta with a leading axis of steps in every leaf, such as history.theta; theta has "
            f"the shapes {jax.tree.map(jnp.shape, theta)}, along has {jax.tree.map(jnp.shape, along)}."
        )
    return jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), along, theta)


def _given_targets(reference, estimators, theta) -> dict[str, np.ndarray]:
    if reference is None:
        return {}
    named = isinstance(reference, Mapping) and set(reference) == set(estimators)
    gradients = reference if named else dict.fromkeys(estimators, reference)
    for name, gradient in gradients.items():
        if not trees.alike(gradient, theta):
            raise ValueError(
                f"reference for {name!r} must be a gradient with the structure and shapes of theta, or a mapping from "
                "the name of every estimator to such a gradient."
            )
    return {name: np.asarray(ravel_pytree(gradient)[0], np.float64) for name, gradient in gradients.items()}


def check_comparison(estimators, theta, key, num_episodes, reference_pairs) -> None:
    if not isinstance(estimators, Mapping) or not estimators:
        raise ValueError(
            "estimators must be a mapping with at least one entry, such as {'PES': ml.persistent_es(...)}."
        )
    for name, estimator in estimators.items():
        check_is_estimator(repr(name), estimator)
    check_count("num_episodes", num_episodes, 2, LARGEST_BATCH)
    if reference_pairs is not None:
        check_count("reference_pairs", reference_pairs, 2, LARGEST_BATCH)
    check_theta(theta)
    check_key(key)
    if not trees.all_finite(theta):
        raise ValueError(f"theta must be finite; {theta} was given.")
    described = [one.description for one in estimators.values() if one.description is not None]
    refused = [error for one in described if (error := _mistake(one.problem, theta)) is not None]
    if refused and len(refused) == len(estimators):
        raise refused[0]


def _mistake(problem, theta) -> Exception | None:
    try:
        check_problem(problem, theta)
    except (TypeError, ValueError) as error:
        return error
