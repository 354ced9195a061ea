"""Run every point of a W&B sweep file without W&B, sweep configs/sweeps/estimators.yaml, and collect the runs."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metalearn.application.collect import MODES, collect
from metalearn.application.signals import stop_on_signals
from metalearn.application.sweep_files import Sweep, points, read_sweep
from metalearn.exit_codes import INTERRUPTED, MISTAKE
from metalearn.inner.checks import check_count, check_seed
from metalearn.recording.files import RunFolderError, short
from metalearn.recording.folders import make_run_folder
from metalearn.words import suggestion

SETTINGS = {"folder": "runs", "tracker": "offline", "count": None, "method": None, "random_seed": "0"}
USAGE = """\
usage: python -m metalearn sweep FILE [folder=runs] [tracker=offline] [count=N] [method=random] [random_seed=0]

FILE is a sweep file of Weights & Biases, such as configs/sweeps/estimators.yaml; `wandb sweep FILE` and `wandb agent`
run the same. Each point is a run of the experiment in its own process, in a new folder. A run that fails is reported,
and the sweep continues. The sweep ends with a table of all runs.

  folder=FOLDER                  the parent of the folder of the sweep
  tracker=none|offline|online    of every run, and of the table
  count=N                        the largest number of runs; by default run_cap of the file, or all of a grid
  method=grid|random             instead of the method of the file, which may be bayes
  random_seed=N                  of the points of a random sweep"""


def run_sweep(sweep: Sweep, folder: Path, tracker: str, count: int | None = None, seed: int = 0) -> int:
    """Run every point in a process, collect the runs, and return the exit code: 0, or the smallest of a failed run.

    Args:
      sweep: the result of `read_sweep`.
      folder: the folder of all runs, which exists.
      tracker: none, offline or online.
      count, seed: as in `points`.
    """
    found, failures, began = list(points(sweep, count, seed)), [], time.perf_counter()
    fixed = [word for word in sweep.words if word.partition("=")[0] not in ("tracker", "folder")]
    for number, point in enumerate(found, start=1):
        words = [f"{name}={as_word(value)}" for name, value in point.items()]
        print(f"[{number}/{len(found)}] {sweep.program.stem} {' '.join(words)}", flush=True)
        places = [f"folder={folder}", f"tracker={tracker}"]
        code = _run([sys.executable, str(sweep.program), *words, *fixed, *places])
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            failures.append(code)
            print(f"run {number} failed with exit code {code}; the sweep continues.", file=sys.stderr, flush=True)
    print(
        f"{len(found) - len(failures)} of {len(found)} runs finished in {time.perf_counter() - began:.0f} s", flush=True
    )
    try:
        collect([folder], folder, MODES[tracker])
    except RunFolderError as error:
        print(f"The sweep was not collected: {error}", file=sys.stderr)
    return min((code for code in failures if code > 0), default=1 if failures else 0)


def as_word(value: Any) -> str:
    """Return a value of a sweep file in the syntax of the command line, with lists and strings as in Hydra."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return "[" + ",".join(map(as_word, value)) + "]" if isinstance(value, list) else str(value)


def _run(command: list[str]) -> int:
    """Run a command to its end. A signal that stops this process also stops the command, which records it."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise


def read_words(words: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """Return the file and the settings of a command line.

    Raises:
      TypeError, ValueError: no file or several are given, or a setting is unknown or out of range.
    """
    given: dict[str, Any] = dict(SETTINGS)
    files = [word for word in words if "=" not in word and not word.startswith("-")]
    for word in words:
        key, equals, value = word.partition("=")
        if word not in files and key not in SETTINGS:
            raise ValueError(f"sweep has no setting {key!r}{suggestion(key, SETTINGS)}; it has: {', '.join(SETTINGS)}.")
        if equals:
            given[key] = value
    if len(files) != 1:
        raise ValueError("sweep needs one sweep file, such as python -m metalearn sweep configs/sweeps/estimators.yaml")
    if given["tracker"] not in MODES:
        raise ValueError(f"tracker must be one of {', '.join(MODES)}; {given['tracker']!r} was given.")
    if given["count"] is not None:
        given["count"] = _whole("count", given["count"])
        check_count("count", given["count"])
    given["random_seed"] = check_seed("random_seed", _whole("random_seed", given["random_seed"]))
    return files[0], given


def _whole(name: str, text: str) -> int:
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number; {text!r} was given.")
    return int(text)


def main() -> None:
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(USAGE)
        return
    stop_on_signals()
    folder = Path(SETTINGS["folder"])
    try:
        file, given = read_words(sys.argv[1:])
        sweep = read_sweep(file, given["method"])
        folder = Path(os.path.relpath(make_run_folder(given["folder"], "sweep")))
        sys.exit(run_sweep(sweep, folder, given["tracker"], given["count"], given["random_seed"]))
    except KeyboardInterrupt:
        print(f"interrupted; the runs so far are kept: python -m metalearn collect {short(folder)}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except (TypeError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(MISTAKE)


if __name__ == "__main__":
    main()
