"""The main experiment from the command line: its run folder, and one-line messages for user errors."""

import json
import os
import subprocess
import sys

import pytest

from tests.processes import ROOT, run_experiment, run_here

QUICK = ["episodes=4", "reference_pairs=16", "pairs=2", "landscape.resolution=4", "trajectories.length_factor=0.02"]

MINE = '''
import jax.numpy as jnp
import metalearn as ml

def pull(strength=1.0):
    """s <- s - strength * exp(theta) s, from one."""
    return ml.InnerProblem(
        lambda theta, key: jnp.ones(()),
        lambda state, theta, key: state - strength * jnp.exp(theta) * state,
        lambda state, theta, key: state**2,
    )
'''


def run(folder, *arguments, how=run_experiment):
    return how("compare", *arguments, f"folder={folder / 'runs'}", cwd=folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A quick run of the toy problem with its landscape and two estimators."""
    folder = tmp_path_factory.mktemp("toy")
    result = run(folder, "problem=toy_regression", "estimator=[truncated_backprop,persistent_es]", *QUICK)
    assert result.returncode == 0, result.stderr
    return result, next((folder / "runs").iterdir())


def test_a_run_prints_the_table_the_folder_and_the_command_to_synchronise(finished):
    result, folder = finished
    for part in ("TBPTT", "PES", "SNR", "inner steps", "wandb sync", "figures"):
        assert part in result.stdout
    assert "Traceback" not in result.stderr
    assert folder.name.endswith("compare-toy_regression")


def test_the_run_folder_contains_all_files(finished):
    _, folder = finished
    for name in (
        "config.yaml",
        "provenance.json",
        "metrics.jsonl",
        "figures/comparison.png",
        "figures/trajectories.png",
    ):
        assert (folder / name).stat().st_size > 0, name
    rows = json.loads((folder / "tables" / "comparison.json").read_text())
    assert "PES" in json.dumps(rows)
    assert "_target_: metalearn.problems.toy_regression" in (folder / "config.yaml").read_text()
    assert (folder / "arrays" / "landscape.npz").stat().st_size > 0
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"


def test_a_user_defined_problem_by_target_and_by_a_yaml_file(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    groups = tmp_path / "my_configs" / "problem"
    groups.mkdir(parents=True)
    (groups / "pull.yaml").write_text(
        "name: pull\nbuild: {_target_: mine.pull, strength: 0.5}\nhorizon: 8\nlength: 4\nrepeat_randomness: false\nsigma: 0.1\n"
        "theta: -1.0\nplane: null\n"
    )
    chosen = ["estimator=noise_reuse_es", "tracker=none", "trusted=[mine]", *QUICK]
    by_file = run(tmp_path, "--config-dir", "my_configs", "problem=pull", *chosen)
    assert by_file.returncode == 0, by_file.stderr
    assert "pull at theta" in by_file.stdout
    by_target = run(tmp_path, "problem=phase_walk", "~problem.build.omega", "problem.build._target_=mine.pull", *chosen)
    assert by_target.returncode == 0, by_target.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["estimator=magic"], ["magic", "persistent_es"]),
        (["problem=nothing"], ["nothing", "digits"]),
        (["pears=3"], ["pears"]),
        (["problem=phase_walk", "estimator=persistent_es", "problem.sigma=-1"], ["sigma must be positive"]),
        (["problem=phase_walk", "estimator=persistent_es", "pairs=0"], ["num_pairs must be at least 1"]),
        (["problem=phase_walk", "problem.length=4"], ["not a multiple"]),
        (["problem=phase_walk", "problem.theta=[1,up]"], ["problem.theta must be"]),
        (["problem=phase_walk", "episodes=1"], ["episodes must be at least 2"]),
        (["problem=phase_walk", "estimator=persistent_es", "pairs=many"], ["pairs must be a number, such as"]),
        (["problem=phase_walk", "problem.build.omega=fast"], ["omega"]),
        (["estimator=[]"], ["No estimator was chosen"]),
    ],
)
def test_a_user_error_is_one_line_and_exit_code_2(tmp_path, arguments, words):
    result = run(tmp_path, *arguments, how=run_here)
    assert result.returncode == 2, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_a_missing_data_extra_is_named_in_the_error(tmp_path):
    blocked = tmp_path / "blocked" / "sklearn"
    blocked.mkdir(parents=True)
    (blocked / "__init__.py").write_text("raise ImportError('blocked by the test')")
    command = [sys.executable, str(ROOT / "experiments/compare.py"), f"folder={tmp_path / 'runs'}"]
    variables = {**os.environ, "PYTHONPATH": str(blocked.parent)}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=variables, check=False)
    assert result.returncode == 2
    assert "metalearn[data]" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unwritable_folder_is_named_in_the_error(tmp_path):
    (tmp_path / "runs").write_text("a file where the folder should be")
    result = run(tmp_path, "problem=phase_walk", "estimator=persistent_es", how=run_here)
    assert result.returncode == 2
    assert "runs" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_problem_file_adds_no_option_to_later_runs_of_the_process(tmp_path):
    file = tmp_path / "aaa.py"
    file.write_text("def mine(): raise ValueError('as expected')")
    assert "as expected" in run(tmp_path, f"problem={file}:mine", how=run_here).stderr
    assert "mine" not in run(tmp_path, "--help", how=run_here).stdout.partition("Change a value")[0]


def test_help_is_readable(tmp_path):
    result = run(tmp_path, "--help", how=run_here)
    assert result.returncode == 0
    for part in (
        "problem: breast_cancer, cubic_loss, digits, ",
        "# pairs of the reference runs",
        "estimator: ",
        "persistent_es",
        "tracker: ",
        "Compare gradient estimators",
    ):
        assert part in result.stdout


def test_an_unknown_effort_in_the_environment_is_a_one_line_error(monkeypatch):
    monkeypatch.setenv("METALEARN_COMPILATION_EFFORT", "best")
    result = run_here("compare", "--cfg", "job")
    assert result.returncode == 2
    assert "effort must be one of automatic, minimal, low, medium, full; 'best' was given" in result.stderr
