"""The comparison of gradient estimators at a fixed θ, with standard errors."""

import concurrent.futures
import dataclasses
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
from metalearn.outer.sampling import Episodes, Progress, compile_episodes, run_episodes
from metalearn.outer.targets import smoothed_target, unsmoothed_target
from metalearn.threads import in_this_precision

GROUPS = 32
REFERENCE_PAIRS = 64  # pairs in one episode of a reference run


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "∞" if self.value == math.inf else "–"
        return _short(self.value) + (f" ± {_short(self.error)}" if math.isfinite(self.error) and self.error > 0 else "")


@dataclasses.dataclass(frozen=True)
class Report:
    """What one estimator does at θ. Norms and traces are over all d parameters; an *episode* is one estimate per
    window, averaged.

    Attributes:
      name: its name in the comparison.
      mean: the mean estimate, `[d]`, and `mean_error` its standard errors.
      target: the gradient of its own smoothed meta-loss, `[d]`, NaN where unknown; `gradient` the unsmoothed one.
      bias: ‖mean − target‖ / ‖target‖; its error is the length that noise alone gives, so a bias within about twice its
        error is none.
      bias_to_gradient: the same against the unsmoothed gradient.
      variance: tr Cov of one episode's estimate; variance_per_window: of the estimate at a random window.
      cosine: between the mean and the target.
      signal_to_noise: ‖mean‖² / variance of one episode, less what noise alone contributes.
      signal_to_noise_per_step: the same bought with 10⁶ inner steps; signal_to_noise_per_second: with a second on this
        machine.
      fraction_diverged: particles left out because their loss or gradient was not finite.
      inner_steps, seconds: per episode, burn-in included, compilation not.
      memory: peak bytes of states, accumulators and tapes by formula; None where the estimator has no description.
      num_episodes: how many episodes were measured.
    """

    name: str
    mean: np.ndarray
    mean_error: np.ndarray
    target: np.ndarray
    gradient: np.ndarray
    bias: Measured
    bias_to_gradient: Measured
    variance: Measured
    variance_per_window: Measured
    cosine: Measured
    signal_to_noise: Measured
    signal_to_noise_per_step: Measured
    signal_to_noise_per_second: Measured
    fraction_diverged: float
    inner_steps: float
    seconds: float
    memory: int | None
    num_episodes: int


COLUMNS = {
    "bias": "bias / |target|",
    "bias_to_gradient": "bias to ∇L / |∇L|",
    "cosine": "cosine",
    "variance": "variance, episode",
    "variance_per_window": "variance, window",
    "signal_to_noise": "SNR, episode",
    "signal_to_noise_per_step": "SNR / 10⁶ steps",
    "signal_to_noise_per_second": "SNR / s",
}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The reports of several estimators at one θ. `print` shows a table; `rows()` is for logging."""

    theta: Theta
    reports: tuple[Report, ...]

    def __getitem__(self, name: str) -> Report:
        return {report.name: report for report in self.reports}[name]

    def rows(self) -> list[dict[str, Any]]:
        """One flat dictionary of numbers per estimator; `x_error` is the standard error of `x`."""
        return [_row(report) for report in self.reports]

    def __str__(self) -> str:
        header = ["estimator", "|mean|", *COLUMNS.values(), "diverged", "steps", "ms", "memory"]
        body = [
            [report.name, _length(report), *(str(getattr(report, field)) for field in COLUMNS), *_costs(report)]
            for report in self.reports
        ]
        widths = [max(len(row[column]) for row in [header, *body]) for column in range(len(header))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [header, *body]]
        return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:]])


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
    theta = trees.strong(theta)
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
    values, errors = _jackknife(lambda means, squares: _statistics(means, squares, target), runs.means, runs.squares)
    errors["cosine"] = _with_target_noise(errors["cosine"], values["cosine"], target, target_variance)
    measured = {field: Measured(values[field], errors[field]) for field in values}
    snr = measured["signal_to_noise"]
    per_step, per_second = 1e6 / runs.inner_steps, 1 / runs.seconds
    return Report(
        name=name,
        mean=runs.mean,
        mean_error=error,
        target=target,
        gradient=gradient,
        bias=_distance(runs.mean, noise, target, target_variance),
        bias_to_gradient=_distance(runs.mean, noise, gradient, gradient_variance),
        signal_to_noise_per_step=Measured(snr.value * per_step, snr.error * per_step),
        signal_to_noise_per_second=Measured(snr.value * per_second, snr.error * per_second),
        fraction_diverged=runs.fraction_diverged,
        inner_steps=runs.inner_steps,
        seconds=runs.seconds,
        memory=memory,
        num_episodes=count,
        **measured,
    )


def _statistics(means: np.ndarray, squares: np.ndarray, target: np.ndarray) -> dict[str, float]:
    mean, count = means.mean(axis=0), len(means)
    variance = means.var(axis=0, ddof=1).sum()
    signal = (mean**2).sum() - variance / count
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        cosine = mean @ target / (np.linalg.norm(mean) * np.linalg.norm(target))
        exact = variance <= 1e-24 * (mean**2).sum()
        snr = np.divide(max(signal, 0.0), variance) if not exact else math.inf if mean.any() else math.nan
    return {
        "variance": float(variance),
        "variance_per_window": float(squares.mean() - signal),
        "cosine": float(cosine),
        "signal_to_noise": float(snr),
    }


def _jackknife(statistic, *arrays) -> tuple[dict[str, float], dict[str, float]]:
    """The statistic of all episodes, and its standard error from leaving out one group at a time."""
    values = statistic(*arrays)
    groups = np.array_split(np.arange(len(arrays[0])), min(GROUPS, len(arrays[0])))
    if len(arrays[0]) < 4:
        return values, dict.fromkeys(values, math.nan)
    left_out = [statistic(*(np.delete(array, group, axis=0) for array in arrays)) for group in groups]
    count = len(groups)
    with np.errstate(invalid="ignore"):
        spread = {f: math.sqrt((count - 1) * np.var([part[f] for part in left_out])) for f in values}
    return values, spread


def _with_target_noise(error, cosine, target, target_variance) -> float:
    """The error of a cosine with a target that is itself measured: noise across the target turns and shortens it."""
    length = float((target**2).sum())
    share = target_variance / length if length > 0 else math.nan
    return math.sqrt(error**2 + share * max(1 - cosine**2, 0.0) + (share / 2) ** 2)


def _distance(mean, noise, target, target_variance) -> Measured:
    length = float(np.linalg.norm(target))
    if not (math.isfinite(length) and length > 0):
        return Measured(math.nan, math.nan)
    return Measured(float(np.linalg.norm(mean - target)) / length, math.sqrt(noise + target_variance) / length)


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


def _row(report: Report) -> dict[str, Any]:
    row: dict[str, Any] = {"estimator": report.name}
    for field in dataclasses.fields(report):
        value = getattr(report, field.name)
        if isinstance(value, Measured):
            row |= {field.name: value.value, f"{field.name}_error": value.error}
        elif isinstance(value, np.ndarray):
            row[f"{field.name}_norm"] = float(np.linalg.norm(value))
        elif field.name != "name":
            row[field.name] = value
    return row


def _short(value: float) -> str:
    return f"{value:.3g}"


def _length(report: Report) -> str:
    return str(Measured(float(np.linalg.norm(report.mean)), float(np.linalg.norm(report.mean_error))))


def _costs(report: Report) -> tuple[str, ...]:
    return (
        f"{report.fraction_diverged:.1%}",
        f"{report.inner_steps:.0f}",
        f"{1e3 * report.seconds:.3g}",
        _bytes(report.memory),
    )


def _bytes(count: int | None) -> str:
    if count is None:
        return "–"
    power = max(0, min(3, int(math.log(max(count, 1), 1024))))
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
