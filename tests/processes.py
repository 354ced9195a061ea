"""Experiments in processes of their own, forked from one that has imported what they need: half a second in place of six."""

import atexit
import multiprocessing
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import warnings

import jax

ROOT = pathlib.Path(__file__).parent.parent
TIMEOUT = 500.0  # seconds, after which a process is killed
PRELOADED = ["hydra", "matplotlib.figure", "metalearn.recording", "rich.progress", "sklearn.datasets"]

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(PRELOADED)


def run_experiment(name, *arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    """`python experiments/<name>.py arguments…`, its exit code and what it printed."""
    return run_script(ROOT / "experiments" / f"{name}.py", *arguments, cwd=cwd)


def run_package(*arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    """`python -m metalearn arguments…`."""
    return run_script(ROOT / "metalearn" / "__main__.py", *arguments, cwd=cwd)


def run_script(script, *arguments, cwd=ROOT) -> subprocess.CompletedProcess:
    """The exit code of a script and what it printed.

    Warnings of the user's kind are errors; compiled programs are shared with the tests.
    """
    with tempfile.TemporaryDirectory() as place:
        files = [pathlib.Path(place) / stream for stream in ("stdout", "stderr")]
        command = [str(script), *map(str, arguments)]
        process = FORKING.Process(target=_job, args=(command, str(cwd), dict(os.environ), [*map(str, files)]))
        process.start()
        process.join(TIMEOUT)
        if process.is_alive():
            process.kill()
            process.join()
        return subprocess.CompletedProcess(command, process.exitcode, *(path.read_text() for path in files))


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
