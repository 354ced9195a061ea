"""The history of an outer loop in a run."""

from typing import Any

from metalearn.outer.history import History


def log_history(run: Any, history: History, prefix: str = "") -> None:
    """Log a history outer step by outer step: metrics, evaluations, and θ leaf by leaf where it has at most 32 numbers.

    Args:
      run: of `open_run`, or any tracker with `log(metrics, step)`.
      history: what `ml.meta_train` returns.
      prefix: of the names, such as "PES", where a run holds several histories.

    Raises:
      TypeError: `history` is something else.
      ValueError: it is that of several runs (`vmap`).
    """
    if not isinstance(history, History):
        raise TypeError(f"history must be what ml.meta_train returns second; {type(history).__name__} was given.")
    for row in history.rows():
        step = row.pop("step")
        run.log({prefix: row} if prefix else row, step)
