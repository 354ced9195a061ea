"""Floor 0: what is being compiled or measured at this moment, said every 15 seconds unless a display shows it."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

INTERVAL = 15.0  # seconds between two lines about one program
TICK = 1.0  # seconds between two looks

_lock = threading.Lock()
_active: list["Watch"] = []
_listeners: list[Callable[[tuple["Activity", ...]], None]] = []
_thread: threading.Thread | None = None
_here = threading.local()


class Activity(NamedTuple):
    """A program that is being compiled, or something else that takes long, and for how many seconds."""

    name: str
    seconds: float
    verb: str = "compiling"

    def __str__(self) -> str:
        return f"{self.verb} {self.name}, {self.seconds:.0f} s"


class Watch:
    """One call that may compile, or something else that takes long; it is announced from `begin` on."""

    def __init__(self, name: str, verb: str = "compiling"):
        self.name = getattr(_here, "title", None) or name
        self.verb = verb
        self.began: float | None = None
        self.said = 0

    def begin(self) -> None:
        """Compiling starts now."""
        if self.began is None:
            self.began = time.monotonic()
            _announce(self)

    def seconds(self) -> float:
        """Since `begin`; 0 before it."""
        return 0.0 if self.began is None else time.monotonic() - self.began

    def activity(self) -> Activity:
        """What is said of it."""
        return Activity(self.name, self.seconds(), self.verb)


@contextlib.contextmanager
def watched(name: str, verb: str = "compiling") -> Iterator[Watch]:
    """A call that may compile: `begin`, or `compiling_here` from inside, announces it until the context ends."""
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
    """Announce the call of this thread that is being watched: JAX traces it."""
    watch = getattr(_here, "watch", None)
    if watch is not None:
        watch.begin()


@contextlib.contextmanager
def titled(title: str) -> Iterator[None]:
    """Programs compiled in this thread are announced under this title, such as "PES, 2 of 6", in place of their names."""
    before = getattr(_here, "title", None)
    _here.title = title
    try:
        yield
    finally:
        _here.title = before


@contextlib.contextmanager
def listening(listener: Callable[[tuple[Activity, ...]], None]) -> Iterator[None]:
    """Show what is being compiled: `listener(activities)` is called every second, also when nothing is, in place of the
    lines on the standard error stream.
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
    """At every tick, tell the listeners, or say every 15 seconds what is being compiled; end when nothing is."""
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
