"""Callbacks of the outer loop, and early stopping."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from metalearn.inner.checks import check_count
from metalearn.types import Theta
from metalearn.words import counted

Callback = Callable[[int, Theta, Any], Any]
PATIENCE = 5
LONGEST = 160  # bytes of a reason in a snapshot


def stop_early(patience: int, name: str = "the evaluation") -> Callback:
    """Return a callback of `meta_train` that ends training after readings without improvement.

    `meta_train(..., stop_on=name, patience=patience)` does the same and returns the best θ. With this callback alone,
    the best θ is in `history.snapshot.best`.

    Args:
      patience: the number of readings in a row without improvement after which to stop.
      name: the name of the reading, for the reason.

    Raises:
      TypeError: `patience` is not a whole number.
      ValueError: `patience` is below 1, or the run has neither `evaluate` nor `stop_on`.
    """
    check_count("patience", patience)

    def look(step, theta, history):
        best = history.snapshot.best
        if best.step < 0 and best.waited == 0:
            raise ValueError("stop_early needs readings; pass evaluate to meta_train, or stop_on and watch.")
        if best.waited < patience:
            return None
        none = "was never finite" if best.step < 0 else f"was smallest ({best.loss:.4g}) at outer step {int(best.step)}"
        return f"{name} {none}, {counted(int(best.waited), 'reading')} before outer step {step}"

    return look


def as_callbacks(callback: Callback | Sequence[Callback] | None) -> list[Callback]:
    """Return a list of callbacks.

    Raises:
      TypeError: a callback is not a function of three arguments.
    """
    found: list[Any] = [] if callback is None else [callback]
    if isinstance(callback, list | tuple):
        found = list(callback)
    for one in found:
        if not callable(one):
            raise TypeError(f"callback must be a function, or a list of functions; {one!r} was given.")
        check_takes("callback", one, "step", "theta", "history")
    return found


def check_takes(name: str, function: Any, *arguments: str) -> None:
    """Check that a function can be called with these arguments, before anything is computed.

    Raises:
      TypeError: it takes others.
    """
    try:
        inspect.signature(function).bind(*arguments)
    except ValueError:  # a function of another language, whose arguments are not known
        return
    except TypeError as error:
        raise TypeError(
            f"{name} must be a function ({', '.join(arguments)}); {function!r} was given ({error})."
        ) from None


def call_callbacks(callbacks: Sequence[Callback], step: int, part: Any) -> np.ndarray:
    """Call the callbacks; return the reason of the first that ends training. Those after it find it in the snapshot.

    Raises:
      TypeError: a callback returns something other than None, a bool or a string.
    """
    for callback in callbacks:
        answer = callback(step, part.snapshot.theta, part)
        if not (answer is None or isinstance(answer, bool | np.bool_ | str)):
            raise TypeError(
                f"callback must return None, True or False, or a string with the reason; it returned {answer!r}."
            )
        asked = isinstance(answer, bool | np.bool_) and bool(answer)
        if (asked or (isinstance(answer, str) and answer)) and not part.snapshot.ended.any():
            reason = answer if isinstance(answer, str) else f"a callback stopped it after outer step {step}"
            part = part._replace(snapshot=part.snapshot._replace(ended=as_bytes(reason, LONGEST)))
    return part.snapshot.ended


def as_bytes(text: str, length: int) -> np.ndarray:
    """Return a text as bytes of a fixed length, the same in all snapshots."""
    return np.frombuffer(text.encode()[:length].ljust(length, b"\0"), np.uint8)


def as_text(written: Any) -> str:
    """Return the text that `as_bytes` encoded."""
    return bytes(np.asarray(written)).rstrip(b"\0").decode(errors="replace")


GOES_ON = as_bytes("", LONGEST)
