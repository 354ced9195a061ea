"""The command line of an experiment: one line and exit code 2 for a mistake, a traceback and exit code 1 for a bug."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import textwrap

import absl.logging
import pytest
import yaml

from metalearn.application import application, read_list
from metalearn.recording import read_metrics
from tests.processes import own_configurations

SCRIPT = '''
"""Walk a little.

It costs $5 and ${nothing}.
"""

import time

from hydra.utils import instantiate

from metalearn.application import application, output_folder
from metalearn.inner.divergence import saturate
from metalearn.recording import open_run


def main(config):
    problem = instantiate(config.problem)
    if config.crash == "key":
        {}["a genuine bug"]
    if config.crash == "value":
        float("a genuine bug as well")
    if config.crash == "refused":
        saturate(None, cap=float("inf"))
    with open_run(output_folder(), config, name="walk", **config.tracker) as run:
        run.log({"problem": problem}, step=0)
        if config.crash == "sleep":
            print("sleeping", flush=True)
            time.sleep(60)


if __name__ == "__main__":
    application(main, "walk", "configs")
'''

FACTORIES = """
def walk(omega, steps=1):
    if omega <= 0:
        raise ValueError(f"omega must be positive; {omega} was given.")
    if omega == 7:
        raise ImportError("Real data need scikit-learn; install it with: pip install 'metalearn[data]'.")
    if omega == 8:
        return {}["a bug in a factory"]
    return omega


def mine():
    return 42.0
"""

FILES = {
    "walk.py": SCRIPT,
    "factories.py": FACTORIES,
    "configs/walk.yaml": """
        defaults:
          - problem: quiet
          - estimator: full
          - _self_
        folder: runs
        crash: null
        num_steps: 10
        api_key: null
        tracker:
          mode: disabled
        """,
    "configs/problem/quiet.yaml": "{_target_: factories.walk, omega: 2.0, steps: 3}",
    "configs/problem/loud.yaml": "{_target_: factories.walk, omega: 3.0}",
    "configs/problem/ours.yaml": "{_target_: metalearn.inner.divergence.saturate, problem: null, cap: 1.0}",
    "configs/problem/broken.yaml": "{_target_: [",
    "configs/estimator/full.yaml": "sigma: 0.1",
    "configs/estimator/empty.yaml": "sigma: ???",
    "my_configs/problem/theirs.yaml": "_target_: factories.mine",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A user's folder with a script, its configurations and its factories."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
    yield tmp_path
    for name in ("walk", "factories"):
        sys.modules.pop(name, None)


@pytest.fixture
def launch(place, monkeypatch, capsys):
    """Run the script in this process, and return its exit code, stdout and stderr."""

    def call(*arguments):
        spec = importlib.util.spec_from_file_location("walk", place / "walk.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules["walk"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", ["walk.py", *arguments])
        # Configuring logging closes old handlers, and absl's closes a stream that pytest put in the place of stderr.
        monkeypatch.setattr(absl.logging.PythonHandler, "close", lambda handler: None)
        code = 0
        try:
            with own_configurations():
                application(module.main, "walk", place / "configs")
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return call


def runs(place):
    return sorted(path.parent for path in place.rglob("metrics.jsonl"))


def test_a_run_is_recorded_and_nothing_else_is_written(place, launch):
    code, out, err = launch("problem.omega=5", "num_steps=3")
    assert (code, err) == (0, "")
    assert "Recorded in runs/" in out
    (run,) = runs(place)
    assert read_metrics(run)[0]["problem"] == 5
    assert yaml.safe_load((run / "config.yaml").read_text())["num_steps"] == 3
    assert "num_steps=3" in json.loads((run / "provenance.json").read_text())["command"]
    assert os.getcwd() == str(place)
    assert {path.name for path in place.iterdir()} - {"__pycache__"} == {
        "walk.py",
        "factories.py",
        "configs",
        "my_configs",
        "runs",
    }


MISTAKES = {
    "unknown key": (
        ["num_step=3"],
        r"no configuration key 'num_step' \(did you mean num_steps\?\); .* has: problem, .*\+num_step=",
    ),
    "unknown key in a group": (["problem.omga=3"], r"no configuration key 'problem\.omga' \(did you mean omega\?\)"),
    "unknown choice": (
        ["estimator=ful"],
        r"estimator=ful is not available \(did you mean full\?\); .* can be: empty, full\.$",
    ),
    "unknown group": (["estimators=full"], r"'estimators' \(did you mean estimator\?\)"),
    "syntax": (["problem.omega==["], r"The override 'problem\.omega==\[' cannot be read: .* Write key=value"),
    "unknown option": (["--steps", "3"], r"The command line cannot be read: unrecognized arguments: --steps"),
    "no value": (["estimator=empty"], r"estimator\.sigma has no value yet; give one with estimator\.sigma=<value>\.$"),
    "two values": (["num_steps=1,2"], r"Ambiguous value for argument 'num_steps=1,2'"),
    "refused by a factory": (["problem.omega=-1"], r"problem: omega must be positive; -1 was given\.$"),
    "missing extra": (["problem.omega=7"], r"problem: Real data need scikit-learn; install it with: pip install"),
    "wrong type": (["problem=ours", "problem.cap=high"], r"problem: .*(str|high)"),
    "unknown argument": (
        ["+problem.z=1"],
        r"problem: walk\(\) got an unexpected keyword argument 'z'; .* factories\.walk\.$",
    ),
    "unknown module": (["problem._target_=nowhere.walk"], r"problem: _target_ 'nowhere\.walk' cannot be imported"),
    "unknown factory": (
        ["problem._target_=factories.wal"],
        r"problem: _target_ 'factories\.wal' does not exist: factories has no wal \(did you mean walk\?\)",
    ),
    "refused by metalearn": (["crash=refused"], r"cap must be a finite number; inf was given\.$"),
    "wrong mode": (
        ["tracker.mode=onlin"],
        r"The tracking mode must be one of offline, online, disabled; 'onlin' was given",
    ),
    "folder is a file": (
        ["folder=walk.py"],
        r"The run folder 'walk\.py' cannot be written: a file has its name",
    ),
    "folder that cannot be made": (["folder=/proc/nothere"], r"cannot be written: no such file or directory"),
    "folder below a file": (
        ["folder=walk.py/runs"],
        r"The run folder 'walk\.py/runs' cannot be written: a file has its name",
    ),
    "no folder of configurations": (["--config-dir", "nowhere"], r"config directory '.*nowhere' not found$"),
    "no configuration": (["--config-name", "run"], r"Cannot find primary config 'run'"),
    "no YAML": (["problem=broken"], r"A configuration file is not valid YAML: .*broken\.yaml"),
    "no such reference": (["num_steps=${steps}"], r"num_steps.* refers to a configuration key that does not exist"),
}


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_user_error_is_one_line_with_exit_code_2(place, launch, arguments, expected):
    code, _, err = launch(*arguments)
    assert code == 2, err
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert re.search(expected, line), line
    assert not runs(place)


@pytest.mark.parametrize(
    ("argument", "last_line"),
    [
        ("crash=key", "KeyError: 'a genuine bug'"),
        ("crash=value", "ValueError: could not convert"),
        ("problem.omega=8", "KeyError: 'a bug in a factory'"),
    ],
)
def test_a_bug_shows_its_traceback_with_exit_code_1(launch, argument, last_line):
    code, _, err = launch(argument)
    assert code == 1
    assert err.startswith("Traceback")
    assert last_line in err
    assert "hydra/_internal/utils" not in err
    assert "error: " not in err.splitlines()[-1].partition(":")[0]


def test_the_traceback_of_a_user_error_is_shown_on_request(launch, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    code, _, err = launch("problem.omega=-1")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: problem: omega must be positive")
    assert os.environ["HYDRA_FULL_ERROR"] == "1"


def test_help_is_readable(launch):
    code, out, err = launch("--help")
    assert (code, err) == (0, "")
    assert out.startswith("Walk a little.\n\nIt costs $5")
    assert "\nestimator: empty, full\nproblem: broken, loud, ours, quiet\n" in out
    assert "omega: 2.0" in out
    assert "my_file.py:my_problem" in out
    assert "Powered by Hydra" not in out


@pytest.mark.parametrize("arguments", [("--cfg", "job"), ("--hydra-help",), ("--cfg", "job", "--resolve")])
def test_options_of_hydra_work(place, launch, arguments):
    code, out, err = launch(*arguments)
    assert (code, err) == (0, "")
    assert "omega" in out or "hydra" in out
    assert not runs(place)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config-dir", "my_configs", "problem=theirs"),
        ("+seed=1", "--config-dir", "my_configs", "problem=theirs"),
        ("hydra.searchpath=[my_configs]", "problem=theirs"),
        ("~problem", "+problem._target_=factories.mine"),
    ],
)
def test_a_user_defined_problem_needs_no_registration(place, launch, arguments):
    code, _, err = launch(*arguments)
    assert code == 0, err
    (run,) = runs(place)
    assert read_metrics(run)[0]["problem"] == 42


def test_a_sweep_continues_after_a_user_error_and_hides_secrets(place, launch):
    code, out, err = launch("problem.omega=1,-1,2", "-m", "api_key=s3cret-value")
    assert code == 2
    assert "#2 : problem.omega=2" in out
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert lines == ["error: problem: omega must be positive; -1 was given."]
    assert "job 1 (problem.omega=-1" in err
    assert [read_metrics(run)[0]["problem"] for run in runs(place)] == [1, 2]
    (sweep,) = (place / "runs").iterdir()
    assert sweep.name.endswith("-sweep")
    assert [path for path in sweep.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()] == []


def start(place, *arguments):
    """Start a process as from a terminal. A background job of a shell ignores Ctrl-C, and so do its child processes."""
    command = [sys.executable, "-c", HEEDING, "walk.py", *arguments]
    return subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


HEEDING = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"


def test_the_process_ends_with_the_exit_code(place):
    with start(place, "problem.omega=-1") as refused, start(place, "--info", "defaults") as told:
        out, err = refused.communicate(timeout=60)
        information, _ = told.communicate(timeout=60)
    assert (refused.returncode, out) == (2, "")
    assert err == "error: problem: omega must be positive; -1 was given.\n"
    assert told.returncode == 0
    assert "problem/quiet" in information


def test_a_single_value_instead_of_a_list_raises_an_error():
    with pytest.raises(ValueError, match=r"sigmas must be a list, such as sigmas=\[0.1\]; 0.1 was given"):
        read_list({"sigmas": 0.1}, "sigmas")
    assert read_list({"sigmas": (1, 2)}, "sigmas") == [1, 2]


LOST = """
import os, signal, sys, time
from metalearn.application.signals import stop_on_signals

class Collected:
    def __del__(self):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(0.1)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs of a shell
stop_on_signals()
one = Collected()
try:
    del one
    time.sleep(30)
except KeyboardInterrupt as error:
    print("stopped", error)
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_that_arrives_in_a_finalizer_is_not_lost(name):
    done = subprocess.run([sys.executable, "-c", LOST, name], capture_output=True, text=True, timeout=25, check=True)
    assert done.stdout.startswith("stopped")
    assert done.stderr == ""


@pytest.mark.parametrize(("sent", "by"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_prints_one_line_and_keeps_the_recorded_files(place, sent, by):
    with start(place, "crash=sleep") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sleeping\n"
        process.send_signal(sent)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    (line,) = err.splitlines()
    assert line.startswith(f"interrupted: stopped by {by}; ")
    (run,) = runs(place)
    assert json.loads((run / "status.json").read_text())["reason"] == f"KeyboardInterrupt: stopped by {by}"
    assert len(read_metrics(run)) == 1
