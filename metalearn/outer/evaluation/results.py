"""The results of an evaluation: learning curves, one row for each optimiser on each benchmark, and a table."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from metalearn import tabular
from metalearn.brief import brief_help
from metalearn.intervals import FEWEST, error_of_mean
from metalearn.outer.comparison.report import Measurement
from metalearn.outer.evaluation.speed_up import SpeedUp

RATES = tuple(10.0 ** (-4 + k / 3) for k in range(13))  # the rates of every sweep, from 1e-4 to 1
ENDS = "* the smallest or the largest of the swept rates: a rate outside of the sweep may be better"
DIVERGED = "† some seeds diverged and count as a loss of 20: each ± is a lower bound on the error"
FEW = "From fewer than four seeds each ± is a lower bound on the error."

SHOWN = {
    "benchmark": ("benchmark", ""),
    "optimizer": ("optimiser", ""),
    "learning_rate": ("rate", "learning rate that a sweep chose"),
    "mean_loss": ("mean loss", "validation loss, mean over the training"),
    "final_loss": ("final loss", "validation loss at the end"),
    "test_error": ("test error", "share of wrong test examples at the end"),
    "speed_up": (
        "speed-up",
        "steps of swept Adam to its last loss over those to the same loss, with a 68 % interval; 0: not reached",
    ),
    "test_loss": ("test loss", "test loss at the end"),
}


@brief_help
class Curves(NamedTuple):
    """The trainings of one optimiser on one benchmark, over seeds.

    Attributes:
      steps: the steps at which the losses are evaluated, every gcd(T, 10)-th step, `[points]`.
      validation: the cross-entropy of all validation data at these steps, `[num_seeds, points]`, capped at 20.
      test_loss, test_error: at the end of training, `[num_seeds]`.
      fraction_diverged: the fraction of seeds whose parameters are not finite at the end, or whose last validation loss
        is at the cap.
    """

    steps: np.ndarray
    validation: np.ndarray
    test_loss: np.ndarray
    test_error: np.ndarray
    fraction_diverged: float


@dataclasses.dataclass(frozen=True)
class Row:
    """One optimiser on one benchmark.

    Attributes:
      benchmark, optimizer: their names.
      learning_rate: the rate that the sweep chose; NaN if there was no sweep.
      mean_loss: the validation loss, averaged over every gcd(T, 10)-th step of the training.
      final_loss: the validation loss at the end; test_loss, test_error: on the test data at the end. Each error is half
        the 68 % interval of the mean over seeds, by Student's t. It is a lower bound for fewer than four seeds, and if
        some seeds diverged.
      speed_up: the steps that the swept Adam needs to first reach its final mean validation loss, divided by the steps
        that this optimiser needs to reach the same loss, with an interval; a text if it does not reach the loss. It has
        little meaning if Adam overfits.
      curves: the learning curves of all seeds.
    """

    benchmark: str
    optimizer: str
    learning_rate: float
    mean_loss: Measurement
    final_loss: Measurement
    test_loss: Measurement
    test_error: Measurement
    speed_up: SpeedUp
    curves: Curves


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The results of all optimisers on all benchmarks.

    `print` shows a table. A star marks a learning rate that is the smallest or the largest of the sweep. Notes below
    the table say where an error is only a lower bound. `rows()` is for logging.

    Attributes:
      results: the rows of the table; `evaluation[benchmark, optimizer]` returns one of them.
    """

    results: tuple[Row, ...]

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS
    __str__ = tabular.to_text

    def __getitem__(self, place: tuple[str, str]) -> Row:
        """Return the row of (benchmark, optimiser)."""
        return {(row.benchmark, row.optimizer): row for row in self.results}[place]

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat dictionary for each row.

        `x_error` is half the 68 % interval of `x` over seeds; `speed_up_low` and `speed_up_high` are the ends of an
        interval.
        """
        return [_flat(row) for row in self.results]

    def best_swept(self) -> dict[str, Row]:
        """Return benchmark -> the swept baseline with the smallest mean loss."""
        swept = [row for row in self.results if np.isfinite(row.learning_rate)]
        loss = lambda row: row.mean_loss.value
        return {name: min((row for row in swept if row.benchmark == name), key=loss) for name in _benchmarks(swept)}

    def ratios(self) -> dict[str, dict[str, Measurement]]:
        """Return benchmark -> optimiser -> r = ā / b̄, its mean loss divided by that of the best swept baseline.

        The seeds are shared, so the error is that of the paired differences: sd(a_i − r b_i) / (√n b̄), widened by
        Student's t. The best of the eight baselines is chosen on the same seeds, which biases r upwards.

        Raises:
          ValueError: a benchmark has no swept baseline, or all optimisers are baselines.
        """
        best = self.best_swept()
        found: dict[str, dict[str, Measurement]] = {name: {} for name in _benchmarks(self.results)}
        judged = [row for row in self.results if not np.isfinite(row.learning_rate)]
        if not judged or best.keys() != found.keys():
            raise ValueError(
                "Ratios compare optimisers with swept baselines; evaluate at least one optimiser with baselines=True."
            )
        for row in judged:
            found[row.benchmark][row.optimizer] = _ratio(row.curves, best[row.benchmark].curves)
        return found

    def _table(self) -> tabular.Table:
        below = [ENDS] * any(map(_at_an_end, self.results))
        below += [DIVERGED] * any(row.curves.fraction_diverged > 0 for row in self.results)
        below += [FEW] * any(1 < len(row.curves.validation) < FEWEST for row in self.results)
        judged = ", ".join(dict.fromkeys(row.optimizer for row in self.results))
        title = f"{', '.join(_benchmarks(self.results))}: {judged}"
        return tabular.Table(title, list(map(_shown, self.results)), SHOWN, below)


def _shown(row) -> dict[str, Any]:
    """Return a row for printing, with the marks that the notes explain."""
    rate = "–" if np.isnan(row.learning_rate) else f"{row.learning_rate:.3g}" + "*" * _at_an_end(row)
    name = row.optimizer + " †" * (row.curves.fraction_diverged > 0)
    return _flat(row) | {
        "speed_up": row.speed_up.reason or row.speed_up.value,
        "learning_rate": rate,
        "optimizer": name,
    }


def _at_an_end(row) -> bool:
    return row.learning_rate in (RATES[0], RATES[-1])


def _ratio(curves, others) -> Measurement:
    ours, theirs = (np.mean(one.validation, axis=1) for one in (curves, others))
    ratio = float(np.mean(ours) / np.mean(theirs))
    return Measurement(ratio, error_of_mean(ours - ratio * theirs) / float(np.mean(theirs)))


def _benchmarks(rows) -> list[str]:
    return list(dict.fromkeys(row.benchmark for row in rows))


def _flat(row) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Measurement):
            flat |= {field.name: value.value, f"{field.name}_error": value.error}
        elif isinstance(value, SpeedUp):
            flat |= {field.name: value.value, f"{field.name}_low": value.low, f"{field.name}_high": value.high}
        elif field.name != "curves":
            flat[field.name] = value
    return flat | {"fraction_diverged": row.curves.fraction_diverged}
