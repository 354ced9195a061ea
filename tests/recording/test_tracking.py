"""Recording a run: its folder, what W&B can read, and that nothing is lost, leaked or blocks the run."""

import json
import math
import os
import pathlib
import pty
import re
import signal
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
import yaml

import metalearn as ml
from metalearn.compilation import asked_effort
from metalearn.figures import save_style
from metalearn.recording import LocalRun, Run, RunFolderError, WandbRun, open_run, read_metrics
from metalearn.recording.secrets import hide, is_secret, scrub_arguments

SECRETS = (
    "c0nfigured-s3cret",
    "fr0m-the-environment-0123456789abcdef0123",
    "0n-the-command-line",
    "in-an-address",
    "in-an-error",
)

PROGRAM = """
import pathlib
import sys
import time
import numpy as np
from matplotlib.figure import Figure
from metalearn.recording import open_run

config = {
    "seed": 3,
    "tracker": {"api_key": "c0nfigured-s3cret", "mirror": "https://me:in-an-address@host/data"},
    "copy": "built from c0nfigured-s3cret",
}
begin = time.monotonic()
with open_run("runs", config, name="demo", mode=sys.argv[1], group="g", tags=["a"]) as run:
    pathlib.Path("seconds").write_text(str(time.monotonic() - begin))
    run.log({"loss": float("nan"), "es": {"gradient_norm": np.float32(1.5)}}, step=10)
    run.log({"loss": 0.25}, step=20)
    figure = Figure()
    figure.subplots().plot([1, 2, 3])
    run.figure("losses", figure)
    run.table("estimators", [{"name": "es", "bias": 0.5}, {"name": "pes", "bias": float("inf")}])
    run.arrays("landscape", {"measure": np.arange(6.0).reshape(2, 3)})
    if len(sys.argv) > 2 and sys.argv[2] == "fail":
        raise RuntimeError("it broke; password=in-an-error")
"""


def isolated(folder: pathlib.Path, **extra: str) -> dict[str, str]:
    """An environment in which W&B finds no account, no settings and no server."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "HYDRA_"))}
    home = {"HOME": str(folder), "MPLCONFIGDIR": matplotlib.get_cachedir()}
    home |= {"WANDB_CONFIG_DIR": str(folder / "config"), "NETRC": str(folder / "netrc")}
    return kept | home | {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_HTTP_TIMEOUT": "2"} | extra


def start(folder: pathlib.Path, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    (folder / "program.py").write_text(program)
    command = [sys.executable, "program.py", *arguments]
    return subprocess.run(
        command,
        cwd=folder,
        env=isolated(folder, **environment),
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def inspect(folder: pathlib.Path, *options: str) -> str:
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    wandb = str(pathlib.Path(sys.executable).with_name("wandb"))
    command = [wandb, "leet", "inspect", *options, "--json", str(file)]
    return subprocess.run(command, env=isolated(folder), capture_output=True, text=True, timeout=60, check=True).stdout


class Recorded(NamedTuple):
    folder: pathlib.Path
    output: subprocess.CompletedProcess


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """An offline run that records everything, with secrets in every place they can come from, and fails at its end."""
    folder = tmp_path_factory.mktemp("offline")
    arguments = (
        "offline",
        "fail",
        "--password",
        SECRETS[2],
        f"tracker.token={SECRETS[2]}",
        f"a={{api_key:{SECRETS[2]}}}",
    )
    output = start(folder, PROGRAM, *arguments, WANDB_API_KEY=SECRETS[1])
    (run,) = (folder / "runs").iterdir()
    return Recorded(run, output)


def test_the_folder_of_a_failed_offline_run_is_complete(failed):
    run, output = failed
    assert output.returncode == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\d-\d{6}-demo", run.name)
    status = json.loads((run / "status.json").read_text())
    assert status["status"] == "failed"
    assert status["reason"].startswith("RuntimeError: it broke")
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["seed"] == 3
    assert config["tracker"] == {"api_key": "<hidden>", "mirror": "https://<hidden>@host/data"}
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["versions"]["jax"] == jax.__version__
    assert provenance["command"].startswith("program.py offline fail")
    assert provenance["device"]["platform"]
    assert [record["outer_step"] for record in read_metrics(run)] == [10, 20]
    assert (run / "figures/losses.png").read_bytes().startswith(b"\x89PNG")
    np.testing.assert_array_equal(np.load(run / "arrays/landscape.npz")["measure"], np.arange(6.0).reshape(2, 3))


def test_no_written_file_contains_a_secret(failed):
    files = [path for path in failed.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    leaks = [(path.name, secret) for path in files for secret in SECRETS if secret.encode() in path.read_bytes()]
    assert leaks == []


def test_wandb_and_matplotlib_are_imported_only_where_they_are_used():
    program = "import sys, metalearn.recording; print({'wandb', 'matplotlib', 'PIL'} & set(sys.modules))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert output.stdout == "set()\n"


def test_wandb_reads_the_offline_run_back(failed):
    summary = json.loads(inspect(failed.folder, "--summary"))
    assert summary["state"] == "failed"
    assert summary["config"]["seed"] == 3
    assert summary["config"]["tracker"]["api_key"] == "<hidden>"
    assert summary["config"]["provenance"]["command"].startswith("program.py")
    assert summary["summary"]["outer_step"] == 20
    assert summary["summary"]["losses"]["_type"] == "image-file"
    assert summary["summary"]["estimators"]["_type"] == "table-file"
    records = [json.loads(line) for line in inspect(failed.folder).splitlines()]
    history = [record["history"]["item"] for record in records if record["type"] == "history"]
    assert [item["outer_step"] for item in history[:2]] == [10, 20]
    assert history[0]["es/gradient_norm"] == 1.5
    axes = [record["metric"] for record in records if record["type"] == "metric"]
    assert {"*"} == {metric["glob_name"] for metric in axes if metric.get("step_metric") == "outer_step"}
    artifacts = [record["artifact"] for record in records if record["type"] == "artifact"]
    (arrays,) = [artifact for artifact in artifacts if artifact["type"] == "arrays"]
    assert arrays["name"].endswith("-landscape")
    assert arrays["manifest"]["contents"][0]["path"] == "landscape.npz"
    (staged,) = failed.folder.glob("wandb/offline-run-*/files/arrays/landscape.npz")
    np.testing.assert_array_equal(np.load(staged)["measure"], np.arange(6.0).reshape(2, 3))


def test_the_command_to_synchronise_is_printed(failed):
    assert re.search(r"^Upload it with: wandb sync runs/.*-demo/wandb/offline-run-", failed.output.stdout, re.MULTILINE)
    (folder,) = re.findall(r"wandb sync (\S+)", failed.output.stdout)
    assert (failed.folder.parents[1] / folder).is_dir()


def test_online_falls_back_to_offline_without_a_prompt_or_a_long_wait(tmp_path):
    keys = {"without a key": "", "without a network": "0123456789abcdef0123456789abcdef01234567"}
    leader, follower = pty.openpty()  # on a terminal wandb would prompt, which it must not
    processes = {}
    for case, key in keys.items():
        folder = tmp_path / case
        folder.mkdir()
        environment = isolated(folder, **({"WANDB_API_KEY": key} if key else {}))
        command = [sys.executable, "-c", PROGRAM, "online"]
        processes[case] = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=follower, stdout=follower, stderr=subprocess.PIPE, text=True
        )
    for case, process in processes.items():
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "wandb:" not in err
        (line,) = [line for line in err.splitlines() if "W&B" in line]
        assert "is recorded offline; upload it later with: wandb sync runs/" in line
        (run,) = (tmp_path / case / "runs").iterdir()
        assert json.loads((run / "status.json").read_text())["status"] == "finished"
        assert list(run.glob("wandb/offline-run-*/*.wandb"))
        assert float((tmp_path / case / "seconds").read_text()) < 30
    os.close(follower)
    os.close(leader)


def test_a_killed_run_keeps_its_metrics(tmp_path):
    program = """
import itertools
from metalearn.recording import open_run
run = open_run("runs", {"seed": 1}, mode="disabled")
for step in itertools.count():
    run.log({"loss": 1.0 / (step + 1)}, step)
    if step == 100:
        print("logged", flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "logged\n"
        process.send_signal(signal.SIGKILL)
    (run,) = (tmp_path / "runs").iterdir()
    records = read_metrics(run)
    assert len(records) > 100
    assert [record["outer_step"] for record in records] == list(range(len(records)))
    assert json.loads((run / "status.json").read_text())["status"] == "running"
    assert yaml.safe_load((run / "config.yaml").read_text()) == {"seed": 1}


@pytest.fixture
def run(tmp_path):
    with open_run(tmp_path, {}, mode="disabled") as run:
        yield run


def test_lines_are_valid_json_and_non_finite_floats_are_restored(run):
    run.log({"a": math.nan, "b": -math.inf, "c": jnp.array([1.0, math.inf]), "outer_step": 99}, step=jnp.int32(4))
    (line,) = (run.folder / "metrics.jsonl").read_text().splitlines()
    raw = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert (raw["a"], raw["b"], raw["c"], raw["outer_step"]) == ("nan", "-inf", [1.0, "inf"], 4)
    (record,) = read_metrics(run.folder)
    assert math.isnan(record["a"])
    assert record["c"] == [1.0, math.inf]


def test_a_half_written_last_line_is_left_out(run):
    run.log({"loss": 1.0}, 0)
    with open(run.folder / "metrics.jsonl", "a") as file:
        file.write('{"outer_step": 1, "lo')
    assert [record["outer_step"] for record in read_metrics(run.folder / "metrics.jsonl")] == [0]


def test_tables_keep_all_columns_as_json_and_csv(run):
    run.table("a table", [{"x": jnp.float32(1), "y": math.nan}, {"x": 2, "z": "three"}])
    assert json.loads((run.folder / "tables/a_table.json").read_text()) == [
        {"x": 1.0, "y": "nan"},
        {"x": 2, "z": "three"},
    ]
    assert (run.folder / "tables/a_table.csv").read_text().splitlines() == ["x,y,z", "1.0,nan,", "2,,three"]


def test_arrays_of_any_name_and_dtype_are_readable_by_numpy_alone(run):
    tree = {"file": np.arange(3), "nested": {"half": jnp.ones(2, jnp.bfloat16)}, "key": jax.random.key(7)}
    run.arrays("state", tree)
    with np.load(run.folder / "arrays/state.npz", allow_pickle=False) as arrays:
        assert set(arrays) == {"file", "nested/half", "key"}
        np.testing.assert_array_equal(arrays["file"], np.arange(3))
        np.testing.assert_array_equal(arrays["nested/half"], np.ones(2, np.float32))
        np.testing.assert_array_equal(arrays["key"], jax.random.key_data(jax.random.key(7)))


def test_figures_of_one_name_do_not_replace_each_other_and_stay_in_the_folder(run):
    image = np.zeros((2, 2, 3), np.uint8)
    run.figure("../../plane", image)
    run.figure("../../plane", image)
    names = sorted(str(path.relative_to(run.folder)) for path in run.folder.rglob("*.png"))
    assert len(names) == 2
    assert all(name.startswith("figures/") for name in names)


def test_a_float_image_raises_a_clear_error(run):
    with pytest.raises(TypeError, match=r"uint8 image .* float64 with 2 dimensions was given\. Scale"):
        run.figure("plane", np.zeros((2, 2)))


def test_files_are_copied(run, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"film")
    run.file("films/edge", tmp_path / "film.mp4")
    assert (run.folder / "files/films/edge.mp4").read_bytes() == b"film"


def test_runs_of_the_same_second_have_different_folders(tmp_path):
    runs = [open_run(tmp_path / "new" / "runs", {}, name="a b", mode="disabled") for _ in range(3)]
    for run in runs:
        run.finish()
    assert len({run.folder for run in runs}) == 3
    assert all(run.folder.parent == (tmp_path / "new" / "runs").resolve() for run in runs)


def test_finish_happens_once_and_interruptions_are_named(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt), open_run(tmp_path, {}, mode="disabled") as run:
        raise KeyboardInterrupt
    assert run.finish() is None
    assert "Ctrl-C" in json.loads((run.folder / "status.json").read_text())["reason"]
    assert capsys.readouterr().out.count("Recorded in") == 1


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_at_the_path_of_the_folder_is_a_clear_error(tmp_path, below):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(
        RunFolderError, match=r"The run folder '.*' cannot be written: a file has its name.* folder=<path>\."
    ):
        open_run(tmp_path / "runs" / below, {}, mode="disabled")
    assert issubclass(RunFolderError, OSError)


def test_a_folder_without_permission_is_a_clear_error(tmp_path, monkeypatch):
    def forbidden(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pathlib.Path, "mkdir", forbidden)  # the superuser, who may run this, can write to every folder
    with pytest.raises(RunFolderError, match=r"cannot be written: permission denied\."):
        open_run(tmp_path / "runs", {}, mode="disabled")


def test_an_unknown_mode_raises_an_error_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"offline, online, disabled; 'onlin' was given\."):
        open_run(tmp_path / "runs", {}, mode="onlin")
    assert not (tmp_path / "runs").exists()


class BrokenWandb:
    """A W&B run whose calls all fail, as after the end of its service process."""

    offline = True
    dir = property(lambda self: self.log())
    settings = property(lambda self: self)
    sync_dir = "nowhere"

    def log(self, *_, **__):
        raise ConnectionError("the service is gone.\nand more lines")

    finish = save = log


def test_a_failing_wandb_causes_one_warning_and_does_not_stop_a_run(tmp_path, capsys):
    run = Run(tmp_path, (LocalRun(tmp_path, {}, {}), WandbRun(BrokenWandb())), [])
    with run:
        for step in range(3):
            run.log({"loss": 1.0}, step)
        run.figure("image", np.zeros((2, 2), np.uint8))
        run.table("rows", [{"a": 1}])
        run.arrays("arrays", {"a": np.ones(1)})
    told = capsys.readouterr().err.splitlines()
    assert told == ["W&B failed; the run continues and is recorded in its folder: the service is gone"]
    assert len(read_metrics(tmp_path)) == 3
    assert json.loads((tmp_path / "status.json").read_text())["status"] == "finished"


@pytest.mark.parametrize(
    "name", ["key", "api_key", "apiKey", "WANDB_API_KEY", "password", "tokens", "client-secret", "a.b.token"]
)
def test_names_of_secrets_are_recognised(name):
    assert is_secret(name, "x" * 8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", 0),
        ("max_tokens", 512),
        ("monkey", "x"),
        ("keyboard", "x"),
        ("tokenizer", "bpe"),
        ("password", None),
        ("seed", 1),
    ],
)
def test_names_and_values_without_a_secret_are_not_hidden(name, value):
    assert not is_secret(name, value)


def test_secrets_are_hidden_at_every_depth():
    config = {
        "a": [{"token": "abc"}],
        "credentials": {"user": "me"},
        "b": ["--password=abc", "x"],
        "pin": {"password": 1234},
    }
    expected = {"a": [{"token": "<hidden>"}], "credentials": "<hidden>", "b": ["--password=<hidden>", "x"]}
    assert hide(config) == expected | {"pin": {"password": "<hidden>"}}


def test_arguments_are_scrubbed():
    given = [
        "x.py",
        "--token",
        "abc",
        "a.api_key=d,e",
        "p={key:abc,n:1}",
        "q=[{secret: 'a b'}]",
        "seed=1",
        "key=0",
        "++pwd=x=y",
    ]
    clean = [
        "x.py",
        "--token",
        "<hidden>",
        "a.api_key=<hidden>",
        "p={key:<hidden>,n:1}",
        "q=[{secret: <hidden>}]",
        "seed=1",
        "key=0",
    ]
    assert scrub_arguments(given) == [*clean, "++pwd=<hidden>"]


def test_the_style_of_matplotlib_is_restored():
    before = dict(matplotlib.rcParams.copy())
    with save_style():
        assert matplotlib.rcParams["figure.constrained_layout.use"]
        assert matplotlib.rcParams["savefig.dpi"] == 150
        assert matplotlib.get_backend().lower() == "agg"
    after = dict(matplotlib.rcParams.copy())
    assert {name for name in before if name != "backend" and before[name] != after[name]} == set()


def test_a_run_lists_the_programs_that_it_compiled(tmp_path):
    ml.jit(lambda x: x + 1, "before the run")(1.0)
    run = LocalRun(tmp_path, {}, {})
    ml.jit(lambda x: x + 2, "one of the run")(1.0)
    run.finish()
    (program,) = json.loads((tmp_path / "programs.json").read_text())
    assert program["name"] == "one of the run"
    assert program["effort"] == asked_effort()
    assert program["equations"] == 1
