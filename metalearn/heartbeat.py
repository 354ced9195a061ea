"""Progress messages about what is being compiled or measured, every 15 seconds unless a display shows it."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

INTERVAL = 15.0  # seconds between two lines about one program
TICK = 1.0  # seconds between two checks

_lock = threading.Lock()
_active: list["Watch"] = []
_listeners: list[Callable[[tuple["Activity", ...]], None]] = []
_thread: threading.Thread | None = None
_here = threading.local()


class Activity(NamedTuple):
    """A compilation or another long computation in progress, and the seconds it has taken so far."""

    name: str
    seconds: float
    verb: str = "compiling"

    def __str__(self) -> str:
        return f"{self.verb} {self.name}, {self.seconds:.0f} s"


class Watch:
    """One call that may compile, or another long computation. It is announced after `begin`."""

    def __init__(self, name: str, verb: str = "compiling"):
        self.name = getattr(_here, "title", None) or name
        self.verb = verb
        self.began: float | None = None
        self.said = 0

    def begin(self) -> None:
        """Start the clock and the announcements."""
        if self.began is None:
            self.began = time.monotonic()
            _announce(self)

    def seconds(self) -> float:
        """Return the seconds since `begin`, or 0 before it."""
        return 0.0 if self.began is None else time.monotonic() - self.began

    def activity(self) -> Activity:
        """Return the current activity."""
        return Activity(self.name, self.seconds(), self.verb)


@contextlib.contextmanager
def watched(name: str, verb: str = "compiling") -> Iterator[Watch]:
    """Watch a call that may compile. `begin`, or `compiling_here` inside it, announces it until the context ends."""
    watch, outer = Watch(name, verb), getattr(_here, "watch", None)
    _here.watch = watch
    try:
        yield watch
    finally:
        _here.watch = outer
        if watch.began is not None:
            with _lock:
                _active.remove(watch)


def compiling_here() -> None:
    """Announce the watched call of this thread. Functions call this while JAX traces them."""
    watch = getattr(_here, "watch", None)
    if watch is not None:
        watch.begin()


@contextlib.contextmanager
def titled(title: str) -> Iterator[None]:
    """Announce programs compiled in this thread by this title, such as "PES, 2 of 6", instead of their names."""
    before = getattr(_here, "title", None)
    _here.title = title
    try:
        yield
    finally:
        _here.title = before


@contextlib.contextmanager
def listening(listener: Callable[[tuple[Activity, ...]], None]) -> Iterator[None]:
    """Call `listener(activities)` every second instead of printing lines on the standard error stream.

    When the last activity has ended, the listener is called once more, with an empty tuple.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def _announce(watch: Watch) -> None:
    global _thread
    with _lock:
        _active.append(watch)
        if _thread is None or not _thread.is_alive():
            _thread = threading.Thread(target=_beat, name="metalearn heartbeat", daemon=True)
            _thread.start()


def _beat() -> None:
    """Inform the listeners at every tick, or print the activities every 15 seconds; return when there are none."""
    global _thread
    while True:
        time.sleep(TICK)
        with _lock:
            watches = list(_active)
            if not watches:
                _thread = None
        for listener in tuple(_listeners):
            listener(tuple(one.activity() for one in watches))
        if not watches:
            return
        if not _listeners:
            _say(watches)


def _say(watches: list[Watch]) -> None:
    for watch in watches:
        if watch.seconds() >= (watch.said + 1) * INTERVAL:
            watch.said = int(watch.seconds() // INTERVAL)
            print(watch.activity(), file=sys.stderr, flush=True)
