"""Kill -9 at random moments of a meta-training and of a landscape; each is resumed to its end, with equal bits.

METALEARN_KILLS is the number of kills of each; `make faults` has 25.
"""

import os
import random
import signal
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from metalearn.recording import read_metrics, read_status
from tests.processes import FORKING, TIMEOUT, _job, run_experiment
from tests.processes import ROOT as REPOSITORY

pytestmark = pytest.mark.long
KILLS = int(os.environ.get("METALEARN_KILLS", "5"))
LONGEST_WAIT = {"meta_train": 0.15, "landscape": 0.4}  # seconds between a new line or tile and a kill
THREADED = """
import runpy, sys
from metalearn.recording import background
background.LARGE = 0
sys.argv[0] = {script!r}
runpy.run_path({script!r}, run_name="__main__")
"""  # every snapshot is written in a thread
META_TRAIN = [
    *("meta_train", "problem=phase_walk", "estimator=[persistent_es]", "pairs=2", "chunk_length=4", "judges=4"),
    *("held_out=2", f"outer.num_steps={40 * (KILLS + 5)}", "tracker=none"),
]
LANDSCAPE = ["landscape", "condition=single", f"resolution={32 + 16 * KILLS}", "num_steps=3000", "tracker=none"]


def progress_of(folder):
    """Count what a run has written so far."""
    lines = sum(path.read_bytes().count(b"\n") for path in folder.glob("runs/*/metrics.jsonl"))
    return lines + len(list(folder.glob("runs/*/landscapes/**/*.npz")))


def killed(folder, words, wait) -> bool:
    """Start a run, kill it a moment after it has written something new, and return whether it was still running."""
    name, *arguments = words
    command = [script_of(folder, name), *arguments, "resume=auto"]
    files = [str(folder / stream) for stream in ("stdout", "stderr")]
    process = FORKING.Process(target=_job, args=(command, str(folder), dict(os.environ), files))
    before, began = progress_of(folder), time.monotonic()
    process.start()
    while process.is_alive() and progress_of(folder) == before and time.monotonic() - began < TIMEOUT:
        time.sleep(0.02)
    time.sleep(wait)
    running = process.is_alive()
    process.kill()
    process.join()
    return running and process.exitcode == -signal.SIGKILL


def script_of(folder, name) -> str:
    """Return the script of an experiment, which writes its snapshots in a thread if the folder has another."""
    other = folder / "threaded.py"
    return str(other if other.exists() else REPOSITORY / "experiments" / f"{name}.py")


def files_of(run: Path) -> set[str]:
    return {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}


def whole_run(folder, words) -> Path:
    name, *arguments = words
    result = run_experiment(name, *arguments, "resume=auto", cwd=folder)
    assert result.returncode == 0, result.stderr
    (run,) = (folder / "runs").iterdir()
    assert read_status(run)["status"] == "finished"
    return run


def interrupted(folder, words) -> tuple[Path, int, float]:
    """Return the run that was killed and resumed until it ended, the number of kills, and the seconds of a resume."""
    draw, kills, seconds = random.Random(0), 0, []
    for _ in range(KILLS):
        began = time.monotonic()
        kills += killed(folder, words, draw.uniform(0, LONGEST_WAIT[words[0]]))
        seconds.append(time.monotonic() - began)
    return whole_run(folder, words), kills, statistics.median(seconds)


def arrays(run, pattern):
    found = {}
    for path in sorted(run.glob(pattern)):
        with np.load(path) as stored:
            found |= {f"{path.name} {name}": stored[name] for name in stored.files}
    return found


def agree(one, other, pattern):
    first, second = arrays(one, pattern), arrays(other, pattern)
    assert first
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


CASES = {"meta_train": META_TRAIN, "threaded": META_TRAIN, "landscape": LANDSCAPE}


@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_repeatedly_ends_with_the_same_bits(tmp_path, case):
    words = CASES[case]
    whole, other = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, other):
        folder.mkdir()
    if case == "threaded":
        script = str(REPOSITORY / "experiments" / "meta_train.py")
        (other / "threaded.py").write_text(THREADED.format(script=script))
    one = whole_run(whole, words)
    run, kills, seconds = interrupted(other, words)
    print(f"{case}: {kills} kills; {seconds:.1f} s from a start to its kill, median")
    assert kills >= KILLS // 2
    assert files_of(run) == files_of(one), "nothing is missing, and nothing is left over"
    assert not list(run.rglob("*.part"))
    agree(one, run, "*.npz") if list(one.glob("*.npz")) else agree(one, run, "landscapes/*.npz")
    lines = [[{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(each)] for each in (one, run)]
    assert lines[0] == lines[1], "every line of the log once"
    for path in sorted((one / "tables").glob("*.csv")):
        assert path.read_bytes() == (run / "tables" / path.name).read_bytes(), path.name
