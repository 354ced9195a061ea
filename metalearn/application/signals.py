"""SIGTERM and Ctrl-C end an experiment, whatever Python code they interrupt."""

import os
import signal
import sys
import threading
from typing import Any

DELAY = 0.05  # seconds until a lost signal is sent again


def stop_on_signals() -> None:
    """Let SIGTERM raise KeyboardInterrupt as Ctrl-C does, so that the run folder records that the run was stopped.

    Python ignores an exception that is raised in a finalizer or in a callback of the garbage collector, such as that of
    JAX. A signal that arrives there is sent again.
    """
    signal.signal(signal.SIGTERM, _raise)
    sys.unraisablehook = _send_again


def _raise(number: int, frame: Any) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _send_again(unraisable: Any) -> None:
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = signal.SIGTERM if str(unraisable.exc_value) else signal.SIGINT
    again = threading.Timer(DELAY, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
