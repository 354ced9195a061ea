"""The comparison of gradient estimators at a fixed θ, with standard errors."""

import concurrent.futures
import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.estimators import Description, GradientEstimator
from metalearn.inner.checks import check_count
from metalearn.inner.problem import Key, Theta, check_key, check_problem, check_theta
from metalearn.outer.report import Comparison, Measured, Report
from metalearn.outer.sampling import Episodes, Progress, compile_episodes, run_episodes
from metalearn.outer.statistics import distance, jackknife, statistics, with_target_noise
from metalearn.outer.targets import smoothed_target, unsmoothed_target
from metalearn.threads import in_this_precision

REFERENCE_PAIRS = 64  # pairs in one episode of a reference run


def compare(
    estimators: Mapping[str, GradientEstimator],
    theta: Theta,
    key: Key,
    *,
    num_episodes: int,
    reference: Theta | Mapping[str, Theta] | None = None,
    reference_pairs: int = 4096,
    unsmoothed: bool = True,
    progress: Progress | None = None,
) -> Comparison:
    """Measure bias, variance, cosine and signal to noise of gradient estimators at a fixed θ.

    Each estimator is run for `num_episodes` independent episodes. Its bias is taken against the gradient of its *own*
    smoothed meta-loss: persistent and noise-reuse ES smooth differently, and so do two sigmas. Errors of quotients and
    cosines are from a jackknife over 32 groups of episodes.

    Args:
      estimators: names and estimators, all for θ.
      theta: where to compare.
      key: the randomness of everything.
      num_episodes: independent episodes per estimator, at least 2.
      reference: None: every target is measured with `reference_pairs` pairs of full-horizon ES (or backprop episodes
        where nothing is smoothed). A gradient in the structure of θ: the target of all. A mapping from names to
        gradients: the target of each.
      reference_pairs: the size of the reference runs.
      unsmoothed: False to leave the unsmoothed gradient, and the bias to it, unmeasured.
      progress: called as `progress(name, done, total)` between batches.

    Returns:
      A `Comparison`.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
    """
    _check(estimators, theta, key, num_episodes, reference_pairs)
    theta = trees.strong(trees.gathered(theta))
    given = _given_targets(reference, estimators, theta)
    runs = {name: (estimator, num_episodes) for name, estimator in estimators.items()}
    targets = _targets(estimators, reference_pairs, measured=not given, unsmoothed=unsmoothed)
    plain = {_tag(e.description, False) for e in estimators.values() if e.description is not None}
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        compiling = {
            tag: pool.submit(in_this_precision(compile_episodes), run[0], theta, run[1], key)
            for tag, run in (runs | targets).items()
        }
        measured = {}
        for done, future in enumerate(compiling.values()):
            concurrent.futures.wait([future])
            if progress is not None:
                progress("compiling", done + 1, len(compiling))
        for index, (tag, (_, count)) in enumerate((runs | targets).items()):
            label = tag if tag in runs else f"reference {len(measured) - len(runs) + 1}"
            refused = isinstance(compiling[tag].exception(), (TypeError, ValueError, NotImplementedError))
            if refused and tag in plain:
                continue  # a problem that reverse mode cannot differentiate has no unsmoothed target: it is reported as unknown
            program = compiling[tag].result()
            measured[tag] = run_episodes(
                program, theta, jax.random.fold_in(key, index), count, name=label, progress=progress
            )
    reports = []
    for name, estimator in estimators.items():
        description = estimator.description
        own = given.get(name) if given or description is None else measured.get(_tag(description, True))
        gradient = None if description is None else measured.get(_tag(description, False))
        memory = None if description is None else description.memory(theta)
        with np.errstate(over="ignore", invalid="ignore"):  # an exploding gradient has an infinite variance
            reports.append(_report(name, measured[name], own, gradient, memory))
    return Comparison(jax.tree.map(np.asarray, theta), tuple(reports))


def _targets(
    estimators, reference_pairs: int, measured: bool, unsmoothed: bool
) -> dict[Any, tuple[GradientEstimator, int]]:
    """The reference runs that the estimators need, each once: `tag -> (estimator, episodes)`."""
    runs = {}
    for estimator in estimators.values():
        description = estimator.description
        if description is None:
            continue
        repeated = description.truncation.key is not None
        if unsmoothed:
            runs[_tag(description, False)] = (unsmoothed_target(description), 2 if repeated else reference_pairs)
        if measured and description.sigma:
            pairs = min(REFERENCE_PAIRS, reference_pairs // 2)
            runs[_tag(description, True)] = (smoothed_target(description, pairs), reference_pairs // pairs)
    return runs


def _report(name: str, runs: Episodes, own, plain, memory) -> Report:
    target, target_variance = _center(own, runs)
    gradient, gradient_variance = _center(plain, runs)
    count = len(runs.means)
    error = np.sqrt(runs.means.var(axis=0, ddof=1) / count)
    noise = float((error**2).sum())
    values, errors = jackknife(lambda means, squares: statistics(means, squares, target), runs.means, runs.squares)
    errors["cosine"] = with_target_noise(errors["cosine"], values["cosine"], target, target_variance)
    measured = {field: Measured(values[field], errors[field]) for field in values}
    snr = measured["signal_to_noise"]
    per_step, per_second = 1e6 / runs.inner_steps, 1 / runs.seconds
    return Report(
        name=name,
        mean=runs.mean,
        mean_error=error,
        target=target,
        gradient=gradient,
        bias=distance(runs.mean, noise, target, target_variance),
        bias_to_gradient=distance(runs.mean, noise, gradient, gradient_variance),
        signal_to_noise_per_step=Measured(snr.value * per_step, snr.error * per_step),
        signal_to_noise_per_second=Measured(snr.value * per_second, snr.error * per_second),
        fraction_diverged=runs.fraction_diverged,
        inner_steps=runs.inner_steps,
        seconds=runs.seconds,
        memory=memory,
        num_episodes=count,
        **measured,
    )


def _center(source, runs: Episodes) -> tuple[np.ndarray, float]:
    """A target and the variance of its mean: measured, given (exact) or unknown (NaN)."""
    if source is None:
        return np.full(runs.means.shape[1], math.nan), math.nan
    if isinstance(source, Episodes):
        return source.finite_mean()
    return source, 0.0


def _tag(description: Description, smoothed: bool):
    key = description.truncation.key
    repeated = None if key is None else tuple(np.ravel(jax.random.key_data(key)).tolist())
    place = (*map(id, description.problem), description.truncation.horizon, repeated)
    if not smoothed or description.sigma == 0:
        return place
    return (*place, float(description.sigma), description.noise_period or description.truncation.horizon)


def _given_targets(reference, estimators, theta) -> dict[str, np.ndarray]:
    if reference is None:
        return {}
    named = isinstance(reference, Mapping) and set(reference) == set(estimators)
    trees = reference if named else dict.fromkeys(estimators, reference)
    for name, tree in trees.items():
        shapes = [[np.shape(leaf) for leaf in jax.tree.leaves(part)] for part in (tree, theta)]
        if jax.tree.structure(tree) != jax.tree.structure(theta) or shapes[0] != shapes[1]:
            raise ValueError(
                f"reference for {name!r} must be a gradient in the structure and shapes of theta, or a mapping from "
                "every estimator's name to one."
            )
    return {name: np.asarray(ravel_pytree(tree)[0], np.float64) for name, tree in trees.items()}


def _check(estimators, theta, key, num_episodes, reference_pairs) -> None:
    if not isinstance(estimators, Mapping) or not estimators:
        raise ValueError(
            "compare needs a mapping from names to estimators with at least one entry, such as {'PES': ml.persistent_es(...)}."
        )
    for name, estimator in estimators.items():
        if not isinstance(estimator, GradientEstimator):
            raise TypeError(f"{name!r} must be a GradientEstimator; {type(estimator).__name__} was given.")
    check_count("num_episodes", num_episodes, 2)
    check_count("reference_pairs", reference_pairs, 2)
    check_theta(theta)
    check_key(key)
    if not trees.all_finite(theta):
        raise ValueError(f"theta must be finite to compare estimators at it; {theta} was given.")
    for estimator in estimators.values():
        if estimator.description is not None:
            check_problem(estimator.description.problem, theta)
