"""Stop an experiment on Ctrl-C, SIGTERM, SIGHUP and SIGUSR1, regardless of the Python code that they interrupt."""

import os
import signal
import sys
import threading
from typing import Any

DELAY = 0.05  # seconds until a lost signal is sent again


def stop_on_signals() -> None:
    """Let signals raise KeyboardInterrupt as Ctrl-C does, so that the run folder records that the run was stopped.

    SIGTERM comes from `kill` and schedulers, SIGHUP from a terminal that was closed (not under `nohup`, which ignores
    it), and SIGUSR1 from SLURM before its time limit.

    Python ignores an exception that is raised in a finalizer or in a callback of the garbage collector, such as that of
    JAX. A signal that arrives there is sent again.
    """
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _raise)
    sys.unraisablehook = _send_again


def _raise(number: int, frame: Any) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def _send_again(unraisable: Any) -> None:
    if not isinstance(unraisable.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    number = signal.Signals[str(unraisable.exc_value) or "SIGINT"]
    again = threading.Timer(DELAY, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()
