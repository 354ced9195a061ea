"""Reports of one estimator and of several: numbers with their errors, as a table and as rows."""

import dataclasses
import math
from typing import Any

import numpy as np

from metalearn import tabular, trees
from metalearn.types import Theta
from metalearn.words import counted, percent


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A number and its standard error.

    Attributes:
      value: the number; NaN if it is unknown.
      error: its standard error.
    """

    value: float
    error: float

    def __str__(self) -> str:
        if not math.isfinite(self.value):
            return "∞" if self.value == math.inf else "–"
        return _short(self.value) + (f" ± {_short(self.error)}" if math.isfinite(self.error) and self.error > 0 else "")


@dataclasses.dataclass(frozen=True)
class Report:
    """The measurements of one estimator at θ.

    Norms and traces are over all d parameters. An *episode* is the average of one estimate for each window.

    Attributes:
      name: its name in the comparison.
      mean: the mean estimate, `[d]`, and `mean_error` its standard errors.
      target: the gradient of its own smoothed meta-loss, `[d]`, NaN if unknown; `gradient` the unsmoothed gradient.
      bias: ‖E mean − E target‖ / ‖E target‖. The noise of both vectors is subtracted from the squared distance, which
        is zero if noise explains all of it; the error is conservative near zero. NaN if the target is within its noise.
      bias_to_gradient: the same with respect to the unsmoothed gradient.
      exploded: the length of the unsmoothed gradient if it is more than 1000 times that of the mean, so that the bias
        with respect to it is 1 for any estimator; otherwise None.
      variance: tr Cov of one episode's estimate; variance_per_window: of the estimate at a random window.
      cosine: between E mean and E target, whose lengths are corrected for noise; NaN if either is within its noise.
      signal_to_noise: ‖mean‖² / variance of one episode, without the contribution of noise; NaN for deterministic
        estimators.
      signal_to_noise_per_step: the same for 10⁶ inner steps; signal_to_noise_per_second: for one second on this
        machine.
      fraction_diverged: the fraction of particles with a loss or a gradient that is not finite, averaged over the
        windows of an episode. A run counts from the window in which it diverges, so that the fraction at the end of an
        episode is larger.
      fraction_capped: the fraction of particles at the cap of the problem at the end of a window, averaged over the
        windows.
      inner_steps, seconds: per episode, with burn-in, without compilation; seconds_error from repeated runs.
      memory: peak bytes of states, accumulators and tapes by formula; None if the estimator has no description.
      num_episodes: the number of episodes.
      dominance: the share of the mean |loss| that is due to the worst 1 % of the particles, if it is more than one half
        (with fewer than 8 particles per estimate, more than nine tenths); otherwise 0.
      reason: why the estimator, or its target, could not be measured; empty if both were.
    """

    name: str
    mean: np.ndarray
    mean_error: np.ndarray
    target: np.ndarray
    gradient: np.ndarray
    bias: Measurement
    bias_to_gradient: Measurement
    variance: Measurement
    variance_per_window: Measurement
    cosine: Measurement
    signal_to_noise: Measurement
    signal_to_noise_per_step: Measurement
    signal_to_noise_per_second: Measurement
    fraction_diverged: float
    fraction_capped: float
    inner_steps: float
    seconds: float
    seconds_error: float
    memory: int | None
    num_episodes: int
    exploded: float | None = None
    dominance: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        """Return one line: bias, cosine, signal-to-noise ratio and the fraction that diverged, or the reason."""
        if not self.num_episodes:
            return f"{self.name}: {self.reason}"
        shown = ", ".join(f"{COLUMNS[field]} {getattr(self, field)}" for field in BRIEF)
        return f"{self.name}: {shown}, diverged {_diverged(self)}"


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
SHOWN = {  # key of a row -> header, and meaning
    "estimator": ("estimator", ""),
    "bias": (
        "bias",
        "length of (mean estimate − target) over that of the target, the gradient of the meta-loss as this estimator "
        "smooths it; 0 is unbiased; no unit",
    ),
    "cosine": ("cosine", "between mean estimate and target: 1 is the same direction, 0 none; no unit"),
    "signal_to_noise_per_step": (
        "SNR",
        "|mean|² over the variance of one episode's estimate, per million inner steps: more is better",
    ),
    "diverged": ("diverged", "share of the particles whose loss or gradient was not finite, mean over the windows"),
    "ms": ("ms", "milliseconds per episode on this machine, burn-in included, compilation not"),
    "bias_to_gradient": ("bias to ∇L", "the same as bias, against the unsmoothed gradient ∇L"),
    "memory": ("memory", "peak of states, accumulators and tapes, by formula"),
    "mean_norm": ("|mean|", "length of the mean estimate, in units of the meta-loss per unit of theta"),
    "variance": ("variance", "trace of the covariance of one episode's estimate, in the unit of |mean|²"),
}
BRIEF = ("bias", "cosine", "signal_to_noise_per_step")


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The reports of several estimators at one θ. `print` shows a table; `rows()` holds all numbers.

    Attributes:
      theta: θ.
      reports: a `Report` for each estimator; `comparison[name]` returns one of them.
    """

    theta: Theta
    reports: tuple[Report, ...]

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS
    __str__ = tabular.to_text

    def __getitem__(self, name: str) -> Report:
        return {report.name: report for report in self.reports}[name]

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary of numbers per estimator; `x_error` is the standard error of `x`."""
        return [_row(report) for report in self.reports]

    def _table(self) -> tabular.Table:
        names = ", ".join(report.name for report in self.reports)
        reasons = [f"{report.name}: {report.reason}" for report in self.reports if report.reason]
        title = f"{counted(len(self.reports), 'estimator')} at a theta of {counted(trees.size(self.theta), 'number')}: {names}"
        return tabular.Table(title, list(map(_shown, self.reports)), SHOWN, [*_notes(self.reports), *reasons])


def unmeasured(name: str, size: int, reason: str) -> Report:
    """Return the report of an estimator that could not be run; all numbers are NaN."""
    fields = {field.name: field.type for field in dataclasses.fields(Report)}
    blank: dict[Any, Any] = {
        np.ndarray: np.full(size, math.nan),
        Measurement: Measurement(math.nan, math.nan),
        float: math.nan,
    }
    values = {field: blank[kind] for field, kind in fields.items() if kind in blank}
    return Report(**values, name=name, memory=None, num_episodes=0, reason=reason)


def _row(report: Report) -> dict[str, Any]:
    row: dict[str, Any] = {"estimator": report.name}
    for field in dataclasses.fields(report):
        value = getattr(report, field.name)
        if isinstance(value, Measurement):
            row |= {field.name: value.value, f"{field.name}_error": value.error}
        elif isinstance(value, np.ndarray):
            row[f"{field.name}_norm"] = math.hypot(*value.tolist())
        elif field.name != "name":
            row[field.name] = value
    return row


def _short(value: float) -> str:
    return f"{value:.3g}"


def _shown(report: Report) -> dict[str, Any]:
    """Return a row for printing; values that do not apply are None."""
    row = _row(report)
    if not report.num_episodes:
        return {"estimator": report.name}
    if report.variance.value == 0:
        row |= dict.fromkeys(("signal_to_noise", "signal_to_noise_per_step", "signal_to_noise_per_second"))
    if np.isnan(report.gradient).all():
        row["bias_to_gradient"] = None
    elif report.exploded is not None:
        row["bias_to_gradient"] = "exploded"
    timed = math.isfinite(report.seconds)
    costs = {"ms": 1e3 * report.seconds, "ms_error": 1e3 * report.seconds_error} if timed else {}
    return row | costs | {"diverged": _diverged(report), "memory": _bytes(report.memory)}


def _diverged(report: Report) -> str:
    at_the_cap = f", {percent(report.fraction_capped)} at the cap" if report.fraction_capped > 0 else ""
    return percent(report.fraction_diverged) + at_the_cap


def _notes(reports: tuple[Report, ...]) -> list[str]:
    """Return notes about the numbers of a table, one sentence or two each."""
    diverged = [report.name for report in reports if report.fraction_diverged > 0]
    unknown = [
        one.name for one in reports if one.fraction_diverged == 0 and not one.reason and math.isnan(one.bias.value)
    ]
    exploded = [report.name for report in reports if report.exploded is not None]
    notes = []
    if diverged:
        notes.append(
            f"Diverged: {', '.join(diverged)}. Without a cap the smoothed meta-loss is infinite, and target, bias and cosine are unknown. "
            "The means are those of losses that are replaced by the largest number, or, for methods that differentiate, of the runs that "
            "did not diverge. Give the problem a cap with ml.saturate(problem, cap)."
        )
    dominated = [report for report in reports if report.dominance > 0 and report.fraction_diverged == 0]
    if dominated:
        shares = ", ".join(f"{percent(one.dominance)} of {one.name}" for one in dominated)
        notes.append(
            f"The worst 1 % of the particles account for most of the mean loss ({shares}). If theta changes their losses, they also "
            "dominate mean, variance and bias. Give the problem a cap of the size of the other losses, with ml.saturate(problem, cap)."
        )
    if unknown:
        notes.append(
            f"–: unknown, because the target (or, for the cosine, the mean) is within four standard errors of zero ({', '.join(unknown)}). "
            "Use more reference_pairs or episodes."
        )
    if exploded:
        notes.append(
            f"∇L has exploded (|∇L| = {_short(max(one.exploded or 0 for one in reports))}): it is more than 1000 times as long as the "
            f"mean of {', '.join(exploded)}, so the bias to ∇L has no meaning."
        )
    return notes


def _bytes(count: int | None) -> str:
    if count is None:
        return ""
    power = max(0, min(3, int(math.log(max(count, 1), 1024))))
    return f"{count / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}"
