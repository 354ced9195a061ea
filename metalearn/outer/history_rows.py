"""The history of an outer loop as rows of a table."""

from typing import Any

import jax
import numpy as np

from metalearn import tabular
from metalearn.words import counted

FIRST = {
    "step": ("step", "outer steps taken before"),
    "evaluation": ("evaluation", "meta-loss of theta, from `evaluate`"),
}
RENAMED = {"loss": "evaluation", "inner_steps": "inner_steps_spent"}
SHOWN = {
    "inner_steps_spent": ("spent", "inner steps until the evaluation"),
    "loss": ("loss", "mean loss of the estimator's particles in this step"),
    "fraction_diverged": ("diverged", "share of its particles that diverged"),
}


def history_rows(self) -> list[dict[str, Any]]:
    """Return one flat dictionary per outer step.

    A row has the scalar metrics, θ before the step (if it was kept and has at most 32 numbers), and the evaluation and
    the goals (if they were read at this step). The last reading may have its own row.

    Raises:
      ValueError: the history is that of several runs (`vmap`).
    """
    return [_row(self, step) for step in _steps(self)]


def history_table(self) -> tabular.Table:
    """Return a table of at most twelve evaluations, or of outer steps if nothing was evaluated."""
    evaluated = np.asarray(self.evaluations["step"]).tolist()
    steps = evaluated or _steps(self)
    rows = [_row(self, steps[index]) for index in tabular.thinned(len(steps))]
    keys = dict.fromkeys(key for row in rows for key in row if key.startswith("theta"))
    title = f"{counted(_last(self) - _first(self), 'outer step')}, theta of {counted(_numbers(self.theta), 'number')}"
    title += f" kept at {len(self.steps)}"
    best = self.snapshot.best
    if evaluated and int(best.step) >= 0:
        title += f", best reading {float(best.loss):.4g} at step {int(best.step)}"
    notes = [f"{len(rows)} of {counted(len(steps), 'row')}; rows() has every outer step."] * (len(rows) < len(steps))
    goals = {name: (name, "a goal that is watched") for name in self.watched}
    return tabular.Table(title, rows, FIRST | goals | SHOWN | {key: (key, "") for key in keys}, notes)


def _row(history, step) -> dict[str, Any]:
    row: dict[str, Any] = {"step": step}
    if step < _last(history):
        for name, values in history.metrics.items():
            value = np.asarray(values[step - _first(history)])
            row |= {name: tabular.plain(value)} if value.ndim == 0 else {}
    kept = np.flatnonzero(np.asarray(history.steps) == step)
    if len(kept):
        row |= tabular.entries("theta", jax.tree.map(lambda leaf: leaf[kept[0]], history.theta))
    for index in np.flatnonzero(np.asarray(history.evaluations["step"]) == step):
        for name, values in history.evaluations.items():
            row[str(RENAMED.get(name, name))] = tabular.plain(np.asarray(values[index]))
    return row


def _steps(history) -> list[int]:
    if np.ndim(history.snapshot.step):
        raise ValueError("Rows are those of one run; take one with jax.tree.map(lambda leaf: leaf[i], history).")
    evaluated = np.asarray(history.evaluations["step"]).tolist()
    return sorted({*range(_first(history), _last(history)), *evaluated})


def _last(history) -> int:
    """Return the outer step after the last one with metrics; a step that would have made θ non-finite counts."""
    return int(history.snapshot.step) + (int(history.snapshot.stopped) >= 0)


def _first(history) -> int:
    return _last(history) - len(next(iter(history.metrics.values()), ()))


def _numbers(theta) -> int:
    """Return how many numbers θ has, given its rows."""
    return sum(int(np.prod(np.shape(leaf)[1:])) for leaf in jax.tree.leaves(theta))
