"""What one estimator did, and several side by side: numbers with their errors, as a table and as rows."""

import dataclasses
import math
from typing import Any

import numpy as np

from metalearn.inner.problem import Theta


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
      reason: why the estimator, or its target, could not be measured; empty where both were.
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
    reason: str = ""

    def __str__(self) -> str:
        """One line: bias, cosine and signal to noise, and the share that diverged; or why there are none."""
        if not self.num_episodes:
            return f"{self.name}: {self.reason}"
        shown = ", ".join(f"{COLUMNS[field]} {getattr(self, field)}" for field in BRIEF)
        return f"{self.name}: {shown}, diverged {self.fraction_diverged:.1%}"


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
BRIEF = ("bias", "cosine", "signal_to_noise_per_step")


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
        reasons = [f"{report.name}: {report.reason}" for report in self.reports if report.reason]
        return "\n".join([lines[0], "─" * max(map(len, lines)), *lines[1:], *reasons])


def unmeasured(name: str, size: int, reason: str) -> Report:
    """The report of an estimator that could not be run; everything is NaN."""
    fields = {field.name: field.type for field in dataclasses.fields(Report)}
    blank: dict[Any, Any] = {
        np.ndarray: np.full(size, math.nan),
        Measured: Measured(math.nan, math.nan),
        float: math.nan,
    }
    values = {field: blank[kind] for field, kind in fields.items() if kind in blank}
    return Report(**values, name=name, memory=None, num_episodes=0, reason=reason)


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
    if not report.num_episodes:
        return ("–",) * 4
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
