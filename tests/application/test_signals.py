"""Signals of terminals and schedulers, and users without a home."""

import signal
import sys

import pytest

from metalearn.application.program_cache import cache_folder
from metalearn.application.signals import stop_on_signals

NAMES = [name for name in ("SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


@pytest.fixture
def handlers(monkeypatch):
    before = {name: signal.getsignal(getattr(signal, name)) for name in NAMES}
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    yield
    for name, handler in before.items():
        signal.signal(getattr(signal, name), handler)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("handlers")
def test_a_signal_raises_an_interruption_with_its_name(name):
    signal.signal(getattr(signal, name), signal.SIG_DFL)
    stop_on_signals()
    with pytest.raises(KeyboardInterrupt, match=name):
        signal.raise_signal(getattr(signal, name))


@pytest.mark.usefixtures("handlers")
def test_signals_ignored_by_nohup_stay_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stop_on_signals()
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_user_without_a_home_has_a_cache_folder(monkeypatch, tmp_path):
    def none():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", staticmethod(none))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert cache_folder().parent == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own" / "metalearn"
