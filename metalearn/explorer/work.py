"""Work in the background that is abandoned when newer work arrives."""

import threading
from collections.abc import Callable
from typing import Any

Check = Callable[[], None]


class AbandonedError(Exception):
    """Newer work has arrived."""


class Worker:
    """A thread that does the newest piece of work; older pieces stop at their next call of `check`.

    Attributes:
      begun, finished, abandoned: the numbers of pieces so far.
    """

    def __init__(self, failed: Callable[[Exception], Any] | None = None):
        self.begun = self.finished = self.abandoned = 0
        self._failed = failed
        self._newest = 0
        self._waiting: tuple[int, Callable[[Check], Any]] | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._busy = False
        self._thread = threading.Thread(target=self._run, name="explorer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Check], Any]) -> None:
        """Begin `work(check)` as soon as the present piece has stopped; a piece that waits is dropped.

        `check` raises `AbandonedError` once a newer piece was submitted.
        """
        with self._changed:
            self._newest += 1
            self._waiting = (self._newest, work)
            self._changed.notify_all()

    def cancel(self) -> None:
        """Abandon the present piece and the one that waits."""
        with self._changed:
            self._newest += 1
            self._waiting = None
            self._changed.notify_all()

    def idle(self, timeout: float | None = None) -> bool:
        """Wait until nothing runs or waits; return whether this was so before the timeout in seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy and self._waiting is None, timeout)

    def close(self) -> None:
        """Abandon everything and end the thread."""
        self.cancel()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _run(self):
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                if self._waiting is None:
                    return
                (number, work), self._waiting = self._waiting, None
                self._busy = True
                self.begun += 1
            self._do(number, work)

    def _do(self, number, work):
        def check():
            if number != self._newest:
                raise AbandonedError

        try:
            check()
            work(check)
            self.finished += 1
        except AbandonedError:
            self.abandoned += 1
        except Exception as error:
            if self._failed is not None:
                self._failed(error)
