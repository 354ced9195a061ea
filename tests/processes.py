"""Run experiments in forked processes in which everything is imported, or in the process of the tests."""

import atexit
import contextlib
import io
import multiprocessing
import os
import pathlib
import runpy
import signal
import subprocess
import sys
import tempfile
import warnings

import absl.logging
import jax
import pytest
from hydra.core.config_store import ConfigStore

ROOT = pathlib.Path(__file__).parent.parent
TIMEOUT = 500.0  # seconds, after which a process is killed
PRELOADED = ["hydra", "matplotlib.figure", "metalearn.recording", "rich.progress", "sklearn.datasets"]

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(PRELOADED)


def run_experiment(name, *arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    """Run `python experiments/<name>.py arguments…`, and return its exit code and output."""
    return run_script(ROOT / "experiments" / f"{name}.py", *arguments, cwd=cwd)


def run_package(*arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    """Run `python -m metalearn arguments…`."""
    return run_script(ROOT / "metalearn" / "__main__.py", *arguments, cwd=cwd)


def run_script(script, *arguments, cwd=ROOT, **variables) -> subprocess.CompletedProcess:
    """Run `python script arguments…` with the environment of the tests and these variables.

    `UserWarning`s are errors. Compiled programs are shared with the tests.
    """
    with tempfile.TemporaryDirectory() as place:
        files = [pathlib.Path(place) / stream for stream in ("stdout", "stderr")]
        command = [*map(str, (script, *arguments))]
        process = FORKING.Process(target=_job, args=(command, str(cwd), os.environ | variables, [*map(str, files)]))
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
            process.join()
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in files))


def run_here(name, *arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    """Run a script in this process, which is faster because imports and compiled programs are there already."""
    command, code = [str(ROOT / "experiments" / f"{name}.py"), *map(str, arguments)], 0
    said, before = (io.StringIO(), io.StringIO()), signal.getsignal(signal.SIGTERM)
    precision = jax.config.read("jax_enable_x64")
    with (
        own_configurations(),
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(said[0]),
        contextlib.redirect_stderr(said[1]),
    ):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "path", list(sys.path))
        # Configuring logging closes old handlers, and absl's closes a stream that pytest put in the place of stderr.
        patch.setattr(absl.logging.PythonHandler, "close", lambda handler: None)
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        finally:
            signal.signal(signal.SIGTERM, before)
            jax.config.update("jax_enable_x64", precision)  # explain changes it for its process
    return subprocess.CompletedProcess(command, code, *(stream.getvalue() for stream in said))


def run_study(name, folder, *arguments) -> subprocess.CompletedProcess:
    """Run the study of this name in this process, with its run folder inside `folder`."""
    return run_here(name, *arguments, f"folder={folder}", cwd=folder)


def error_line(result, folder) -> str:
    """Return the error message of a run; check that it is one line, that the exit code is 2 and `folder` is empty."""
    assert result.returncode == 2, result.stdout + result.stderr
    (line,) = result.stderr.splitlines()
    assert not list(folder.iterdir())
    return line


@contextlib.contextmanager
def own_configurations():
    """Remove the options of the group `problem` that a block adds to Hydra's store, which the whole process shares."""
    store = ConfigStore.instance().repo
    before = dict(store.get("problem", {}))
    try:
        yield
    finally:
        store["problem"] = before


def _job(command, cwd, variables, files):
    for descriptor, path in enumerate(files, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = command
    warnings.simplefilter("error", UserWarning)
    jax.config.update("jax_compilation_cache_dir", str(ROOT / ".jax_cache"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    try:
        runpy.run_path(command[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
