"""The history of an outer loop in a run."""

from typing import Any

from metalearn.outer.history import History


def log_history(run: Any, history: History, prefix: str = "") -> None:
    """Log a history for each outer step: metrics, evaluations, and the leaves of θ if it has at most 32 numbers.

    Args:
      run: a run from `open_run`, or any tracker with `log(metrics, step)`.
      history: the history that `ml.meta_train` returns.
      prefix: a prefix of the names, such as "PES", for a run with several histories.

    Raises:
      TypeError: `history` is not a `History`.
      ValueError: the history is that of several runs (`vmap`).
    """
    if not isinstance(history, History):
        raise TypeError(f"history must be the second result of ml.meta_train; {type(history).__name__} was given.")
    for row in history.rows():
        step = row.pop("step")
        run.log({prefix: row} if prefix else row, step)
