"""A run that was killed is one W&B run: its file has what was logged, and its parts have one id and one sync line."""

import json
import signal
import subprocess
import sys
import time

import pytest

from metalearn.recording.weights_and_biases import MOST_STEPS, SECONDS_LOST
from tests.recording.test_tracking import isolated

pytestmark = pytest.mark.slow

PROGRAM = """
import sys, time
from metalearn.recording import open_run
resume, first, wait = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "wait"
with open_run("runs", {"seed": 1}, resume=None if resume == "none" else resume) as run:
    print(run.wandb_id, flush=True)
    for step in range(first, first + 3):
        run.log({"loss": 1.0 / (step + 1)}, step)
    print("logged", flush=True)
    time.sleep(60 * wait)
"""


def records(path, folder):
    """Yield the rows of metrics of a W&B file."""
    wandb = sys.executable.replace("python", "wandb")
    told = subprocess.run(
        [wandb, "leet", "inspect", "--json", str(path)],
        env=isolated(folder),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return told.stdout


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    command = [sys.executable, "-c", PROGRAM]
    settings = {"cwd": folder, "env": isolated(folder), "stdin": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([*command, "none", "0", "wait"], stdout=subprocess.PIPE, **settings) as killed:
        assert killed.stdout is not None
        name = killed.stdout.readline().strip()
        assert killed.stdout.readline() == "logged\n"
        time.sleep(2 * SECONDS_LOST)
        killed.send_signal(signal.SIGKILL)
    (run,) = (folder / "runs").iterdir()
    again = subprocess.run([*command, f"runs/{run.name}", "3", "end"], capture_output=True, timeout=100, **settings)
    assert again.returncode == 0, again.stderr
    return folder, run, name, again.stdout


def test_the_parts_of_a_wandb_run_have_one_id_and_one_command_uploads_both(parts):
    _, run, name, said = parts
    assert said.splitlines()[0] == name
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    assert [path.name for path in files] == [f"run-{name}.wandb"] * 2
    (line,) = [line for line in said.splitlines() if "wandb sync" in line]
    assert all(f"runs/{run.name}/wandb/{path.parent.name}" in line for path in files)


def test_lines_logged_before_a_kill_are_kept_and_steps_continue_after_them(parts):
    folder, run, _, _ = parts
    first, second = (records(path, folder) for path in sorted(run.glob("wandb/offline-run-*/*.wandb")))
    assert first.count("outer_step") >= 3, first[:500]
    assert str(MOST_STEPS) in second
    assert [json.loads(line)["outer_step"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [*range(6)]
