"""What arrives at Weights & Biases is what the folder of the run has: the real client and a server that stands in."""

import hashlib
import io
import json
import math
import pathlib
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from metalearn.recording import read_metrics, read_status
from tests.recording.test_tracking import isolated
from tests.wandb_http import KEY
from tests.wandb_server import ENTITY, StandIn, StoredRun

CONFIG = {
    "seed": 3,
    "rate": 0.5,
    "whole": True,
    "nothing": None,
    "names": ["a", "b"],
    "outer": {"steps": 10, "text": "1e-05"},
}
PROGRAM = f"""
import pathlib
import sys
import numpy as np
from matplotlib.figure import Figure
from metalearn.recording import open_run

mode, resume, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
config = {CONFIG!r}
with open_run("runs", config, mode=mode, group="a study", tags=["x"], resume=None if resume == "new" else resume) as run:
    for step in range(first, first + 5):
        values = {{"loss": 1 / (step + 3), "count": 2**40 + step, "es": {{"norm": float("nan") if step == 1 else np.float32(0.1)}}}}
        run.log(values, step)
    if first == 0:
        figure = Figure()
        figure.subplots().plot([1, 3, 2])
        run.figure("curves/losses", figure)
        run.figure("pixels", np.random.default_rng(0).integers(0, 256, (7, 5, 3)).astype(np.uint8))
        run.table("rows", [{{"name": "ü", "bias": 0.1 + 0.2, "n": 3}}, {{"name": None, "bias": float("inf"), "good": False}}])
        run.arrays("landscape", {{"x": np.arange(5.0), "part": {{"measure": np.random.default_rng(1).normal(size=(4, 5))}}}})
        pathlib.Path("film.gif").write_bytes(b"GIF89a" + bytes(range(256)))
        run.file("film", "film.gif")
        pathlib.Path("page.html").write_text("<p>a page</p>")
        run.file("report", "page.html")
    print(run.wandb_id, flush=True)
"""


def go(folder, server, *arguments, **variables):
    """Run the program with the address and the key of the server."""
    environment = isolated(folder, **{"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY} | variables)
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, stdin=subprocess.DEVNULL
    )


def sync(folder, server, said, **variables):
    """Run the command that the run printed."""
    line = [line for line in said.splitlines() if "wandb sync" in line][-1]
    words = line[line.index("wandb sync") :].split()
    command = [str(pathlib.Path(sys.executable).with_name("wandb")), *words[1:]]
    environment = isolated(folder, **{"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY} | variables)
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)


def the_run(folder) -> pathlib.Path:
    (run,) = (folder / "runs").iterdir()
    return run


def same(one, other) -> bool:
    return one == other or (
        isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other)
    )


def check_metrics(arrived, run):
    """Check that every row of the log is there once, with every value to the bit."""
    rows = [row for row in arrived.rows() if "loss" in row]
    logged = [{name: value for name, value in line.items() if name != "seconds"} for line in read_metrics(run)]
    assert len(rows) == len(logged)
    for row, line in zip(rows, logged):
        assert row.keys() == line.keys()
        assert all(same(row[name], line[name]) for name in line), (row, line)


def only(found, ending, word):
    (name,) = [name for name in found if name.endswith(ending) and word in name]
    return found[name]


def hash_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_everything(server, folder, name):
    """Compare what arrived with the folder of the run."""
    run, arrived = the_run(folder), server.runs[name]
    check_metrics(arrived, run)
    for image, file in (("losses", "curves/losses.png"), ("pixels", "pixels.png")):
        sent = np.asarray(Image.open(io.BytesIO(only(arrived.files, ".png", image))))
        np.testing.assert_array_equal(sent, np.asarray(Image.open(run / "figures" / file)))
    table = json.loads(only(arrived.files, ".table.json", "rows"))
    rows = json.loads((run / "tables" / "rows.json").read_text())
    assert table["columns"] == ["name", "bias", "n", "good"]
    assert table["data"] == [["ü", 0.1 + 0.2, 3, None], [None, math.inf, None, False]]
    assert rows[0]["bias"] == table["data"][0][1]
    assert hash_of(only(server.artifacts[f"{name}-landscape"], ".npz", "landscape")) == hash_of(
        (run / "arrays" / "landscape.npz").read_bytes()
    )
    assert hash_of(only(arrived.files, ".gif", "film")) == hash_of((run / "files" / "film.gif").read_bytes())
    assert hash_of(only(arrived.files, ".html", "report")) == hash_of((run / "files" / "report.html").read_bytes())
    sent = {key: value for key, value in arrived.config.items() if key != "provenance"}
    assert sent == CONFIG
    assert all(type(sent[key]) is type(CONFIG[key]) for key in CONFIG)
    assert arrived.fields["groupName"] == "a study"
    assert arrived.fields["tags"] == ["x"]
    assert arrived.exit_code == 0


def test_an_online_run_arrives_whole_and_goes_on_after_a_resume(tmp_path):
    with StandIn() as server:
        first = go(tmp_path, server, "online", "new", "0")
        assert first.returncode == 0, first.stderr
        assert first.stderr == ""
        name = first.stdout.split()[0]
        check_everything(server, tmp_path, name)
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            assert KEY.encode() not in path.read_bytes(), path
        again = go(tmp_path, server, "online", str(the_run(tmp_path)), "5")
        assert again.stderr == ""
        assert again.stdout.split()[0] == name
        assert list(server.runs) == [name]
        check_metrics(server.runs[name], the_run(tmp_path))
        assert [row["outer_step"] for row in server.runs[name].rows() if "loss" in row] == list(range(10))


@pytest.mark.long
def test_an_offline_run_arrives_whole_when_it_is_uploaded(tmp_path):
    with StandIn() as server:
        run = go(tmp_path, server, "offline", "new", "0", WANDB_API_KEY="")
        assert run.stderr == ""
        assert not server.runs
        assert sync(tmp_path, server, run.stdout).returncode == 0
        check_everything(server, tmp_path, run.stdout.split()[0])


def no_files(path, number):
    return 500 if "file_stream" in path or "storage" in path else None


def stops(path, number):
    return "drop" if number > 0 or "file_stream" in path else None


WRONG = {
    "no key": (None, {"WANDB_API_KEY": ""}, "no API key was found"),
    "wrong key": (None, {"WANDB_API_KEY": "0" * 40}, "401"),
    "short key": (None, {"WANDB_API_KEY": "zz"}, "40"),
    "no network": (None, {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "authenticate"),
    "all answers are 500": (lambda path, number: 500, {}, "authenticate"),
    "slow": (lambda path, number: time.sleep(4), {}, ""),
    "files are answered with 500": (no_files, {}, "Timed out"),
    "dies": (stops, {}, ""),
    "refuses the metrics": (lambda path, number: 404 if "file_stream" in path else None, {}, "404"),
}


@pytest.mark.long
@pytest.mark.parametrize("case", WRONG)
def test_a_server_that_fails_ends_no_run_and_all_can_be_uploaded_later(tmp_path, case):
    """The run goes on, says it once, ends in time, and arrives whole at a server that answers."""
    misbehave, variables, words = WRONG[case]
    with StandIn(misbehave or (lambda path, number: None)) as server:
        began = time.monotonic()
        run = go(tmp_path, server, "online", "new", "0", **variables)
        assert time.monotonic() - began < 180
    assert run.returncode == 0, run.stderr
    assert read_status(the_run(tmp_path))["status"] == "finished"
    said = [line for line in run.stderr.splitlines() if line.startswith("W&B")]
    assert len(said) == 1, run.stderr
    assert words in said[0]
    assert "Traceback" not in run.stderr
    with StandIn() as server:
        assert sync(tmp_path, server, run.stdout).returncode == 0
        check_everything(server, tmp_path, run.stdout.split()[0])
    key = variables.get("WANDB_API_KEY") or KEY
    for path in (path for path in tmp_path.rglob("*") if path.is_file() and len(key) > 2):
        assert key.encode() not in path.read_bytes(), path


SWEEP = """
program: program.py
method: grid
parameters:
  rate: {values: [0.1, 1.0e-05]}
  whole: {value: true}
command: ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
"""
POINT = """
import sys
from metalearn.recording import open_run
with open_run("runs", {"words": sys.argv[1:]}, mode="online") as run:
    run.log({"loss": float(sys.argv[1].partition("=")[2])}, 0)
"""


@pytest.mark.long
def test_an_agent_runs_every_point_of_a_sweep(tmp_path):
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / "program.py").write_text(POINT)
    with StandIn() as server:
        environment = isolated(
            tmp_path, WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY, WANDB_AGENT_DISABLE_FLAPPING="true"
        )
        environment["PATH"] = f"{pathlib.Path(sys.executable).parent}:{environment['PATH']}"
        wandb = str(pathlib.Path(sys.executable).with_name("wandb"))
        settings = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "timeout": 300}
        made = subprocess.run([wandb, "sweep", "sweep.yaml", "--project", "metalearn"], **settings)
        assert made.returncode == 0, made.stderr
        (name,) = server.sweeps
        agent = subprocess.run([wandb, "agent", f"{ENTITY}/metalearn/{name}"], **settings)
        assert agent.returncode == 0, agent.stderr
        assert [run.exit_code for run in server.runs.values()] == [0, 0]
        assert all(run.fields["sweep"] == name for run in server.runs.values())
        assert [run.rows()[0]["loss"] for run in server.runs.values()] == [0.1, 1e-05]
        assert [run.config["words"] for run in server.runs.values()] == [
            ["rate=0.1", "whole=True"],
            ["rate=1e-05", "whole=True"],
        ]


def test_the_comparison_sees_what_is_missing(tmp_path):
    """Rows that are lost, doubled or changed fail the same check."""
    arrived = StoredRun()
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text(
        '{"outer_step": 1, "seconds": 0.1, "loss": 0.5}\n{"outer_step": 2, "seconds": 0.2, "loss": "nan"}\n'
    )
    good = {0: {"_step": 0, "outer_step": 1, "loss": 0.5}, 1: {"_step": 1, "outer_step": 2, "loss": math.nan}}
    arrived.history = dict(good)
    check_metrics(arrived, run)
    wrong = [
        {0: good[0]},
        good | {2: good[0]},
        good | {0: good[0] | {"loss": 0.5000001}},
        good | {0: good[0] | {"more": 1}},
    ]
    for history in wrong:
        arrived.history = history
        with pytest.raises(AssertionError):
            check_metrics(arrived, run)
