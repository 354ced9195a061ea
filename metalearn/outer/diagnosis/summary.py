"""The summary of a diagnosis, as text."""

import math
import textwrap
from collections.abc import Iterator
from typing import Any

from metalearn.outer.comparison.report import Measurement
from metalearn.tabular import WIDTH, Table
from metalearn.words import percent

SHOWN = {
    "quantity": ("quantity", ""),
    "value": ("value", "with its standard error if it has one"),
    "unit": ("unit", ""),
}


def summary_text(self) -> str:
    """Return the summary as text."""
    return "\n".join(textwrap.fill(line, WIDTH) if len(line) > WIDTH else line for line in write_summary(self))


def summary_rows(self) -> list[dict[str, Any]]:
    """Return one flat dictionary per number that was measured at θ; the candidates are in `comparison.rows()`."""
    measured = [
        ("Lyapunov exponent", self.exponent, "per inner step"),
        ("share of steps with a flip", self.flip_fraction, ""),
        ("ln ‖∇L‖", self.log_gradient, ""),
        ("ln ‖ds_T/dθ‖", self.log_growth, ""),
        ("κ", self.kappa, "σ‖ds_T/dθ‖ over the spread of s_T"),
        ("‖∇L_σ‖", self.smoothed_length, "meta-loss per θ"),
        ("length of raw over smoothed gradient", self.length_ratio, ""),
        ("cosine of raw and smoothed gradient", Measurement(self.cosine, self.cosine_error), ""),
        ("distance to the border", self.distance, "of θ"),
        ("share of the cloud beyond it", self.beyond, ""),
        ("share of the cloud at the cap", self.capped, ""),
        *((f"SNR of {name}, predicted", value, "per 10⁶ inner steps") for name, value in self.predicted.items()),
    ]
    each = [(name, *_pair(found), unit) for name, found, unit in measured]
    return [{"quantity": n, "value": value, "error": error, "unit": unit} for n, value, error, unit in each]


def summary_table(self) -> Table:
    """Return the table of all measured numbers."""
    rows = [row | {"value_error": row["error"]} for row in self.rows()]
    converges = "training converges" if self.converged else "training does not converge"
    title = f"{converges}, exponent {self.exponent} per step; use {self.recommendation.method}"
    return Table(title, rows, SHOWN, [f"Left out: {sentence}" for sentence in self.left_out])


def _pair(found) -> tuple[float, float]:
    known = isinstance(found, Measurement)
    return (float(found.value), float(found.error)) if known else (float(found), math.nan)


def write_summary(found) -> Iterator[str]:
    """Yield the lines of the summary."""
    line = lambda name, value: f"{name:34s}{value}"
    yield line("training at θ", "converges" if found.converged else "does not converge")
    yield line(
        "Lyapunov exponent λ per step", f"{found.exponent}   flips at {percent(found.flip_fraction, 0)} of the steps"
    )
    yield line("ln ‖∇L‖, ln ‖ds_T/dθ‖", f"{found.log_gradient:.1f}, {found.log_growth:.1f}")
    yield line("κ = σ‖ds_T/dθ‖ / spread of s_T", f"{found.kappa:.3g}")
    yield line("‖∇L_σ‖ (full ES)", str(found.smoothed_length))
    yield line(
        "unsmoothed against smoothed",
        f"{found.length_ratio:.3g} times as long, cosine {Measurement(found.cosine, found.cosine_error)}",
    )
    where = (
        "none within 32 σ"
        if math.isinf(found.distance)
        else f"{'at most ' if found.distance < 0.26 * found.sigma else ''}{found.distance:.3g} ({found.distance / found.sigma:.2g} σ)"
    )
    yield line("distance to the border", f"{where}; {percent(found.beyond, 0)} of the cloud is beyond it")
    if not math.isnan(found.capped):
        yield line("runs of the cloud at the cap", percent(found.capped))
    if found.spectrum is not None:
        plateau = found.spectrum.plateau
        yield line(
            "safe truncation",
            "none: the gradient changes with every longer truncation" if plateau is None else f"{plateau} steps",
        )
    for name, value in found.predicted.items():
        words = f"{value:.3g} per 10⁶ inner steps" if math.isfinite(value) else "its variance overflows"
        yield line(f"{name}, predicted by linear theory", words)
    yield ""
    yield f"{'σ':>10s}{'‖∇L_σ‖':>22s}{'SNR of a pair':>22s}{'cosine':>22s}"
    for row in found.sweep:
        cells = (Measurement(row[name], row[f"{name}_error"]) for name in ("length", "snr", "cosine"))
        yield f"{row['sigma']:10.3g}" + "".join(f"{cell!s:>22s}" for cell in cells)
    yield ""
    yield f"{'candidate':30s}{'bias / ‖∇L_σ‖':>18s}{'cosine':>20s}{'SNR / 10⁶ steps':>24s}"
    for report in found.comparison.reports:
        yield f"{report.name:30s}{report.bias!s:>18s}{report.cosine!s:>20s}{report.signal_to_noise_per_step!s:>24s}"
    yield ""
    advice = found.recommendation
    how = (
        f", windows of {advice.length} steps, σ = {advice.sigma:g}, {advice.num_pairs} pairs"
        if advice.num_pairs
        else ""
    )
    yield f"Use {advice.method}{how}: {advice.reason}."
    yield from (f"Left out: {sentence}" for sentence in found.left_out)
