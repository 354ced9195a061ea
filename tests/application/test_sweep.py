"""Sweep files of Weights & Biases run without W&B: grids, random draws, runs and error messages."""

import json
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from metalearn.application import sweep as command
from metalearn.application.sweep import as_word, read_words, run_sweep
from metalearn.application.sweep_files import points, read_sweep
from metalearn.usage import CONFIGS, check_line, chooses_problem
from tests.processes import run_package

ARGUMENTS = ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
PROGRAM = """
import json, pathlib, sys
given = dict(word.split("=", 1) for word in sys.argv[1:])
with open(pathlib.Path(given["folder"]) / "seen.jsonl", "a") as stream:
    stream.write(json.dumps(given) + "\\n")
sys.exit(int(given.get("code", 0)))
"""


def written(folder, **changes):
    """Write a program and a sweep file over it, and return the path of the sweep file."""
    (folder / "program.py").write_text(PROGRAM)
    file = {
        "program": str(folder / "program.py"),
        "method": "grid",
        "command": [*ARGUMENTS, "more=7", "tracker=online"],
    }
    file |= {"parameters": {"a": {"values": [1, None, True]}, "b": {"value": [1, 2]}}} | changes
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in file.items() if value is not None}))
    return path


@pytest.mark.parametrize("path", sorted((CONFIGS / "sweeps").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_sweep_files_of_the_library_use_existing_keys(path):
    sweep = read_sweep(path, "random" if "bayes" in path.read_text() else None)
    found = list(points(sweep, None, 0))
    assert found
    for point in found:
        words = [f"{name}={as_word(value)}" for name, value in point.items()]
        check_line(
            words,
            CONFIGS,
            sweep.program.stem + "_problem" * (sweep.program.stem == "meta_train" and chooses_problem(words)),
        )
    assert len({json.dumps(point) for point in found}) == len(found)
    assert read_sweep(path.name, sweep.method) == sweep, "found by its name alone"


def test_the_sweep_of_estimators_sigmas_and_seeds_is_a_grid():
    found = list(points(read_sweep(CONFIGS / "sweeps" / "estimators.yaml"), None, 0))
    varied = Counter((point["estimator"], point["problem.sigma"], point["seed"]) for point in found)
    assert len(found) == len(varied) == 27


def test_every_point_of_a_sweep_runs_even_if_others_fail(tmp_path, capfd):
    path = written(tmp_path, parameters={"code": {"values": [0, 3, 2]}, "b": {"value": [1, None]}})
    assert run_sweep(read_sweep(path), tmp_path, "none") == 2
    seen = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
    fixed = {"b": "[1,null]", "more": "7", "tracker": "none", "folder": str(tmp_path)}
    assert seen == [{"code": code} | fixed for code in ("0", "3", "2")]
    said = capfd.readouterr()
    assert "1 of 3 runs finished" in said.out
    assert "run 2 failed with exit code 3; the sweep continues." in said.err
    assert "The sweep was not collected: No finished run" in said.err


def test_a_signal_stops_the_run_and_the_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_run", lambda words: 130)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(read_sweep(written(tmp_path)), tmp_path, "none")
    monkeypatch.setattr(sys, "argv", ["sweep", str(written(tmp_path)), f"folder={tmp_path}/runs", "tracker=none"])
    monkeypatch.setattr(command, "stop_on_signals", lambda: None)
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 130


def test_random_points_follow_their_distributions_and_a_longer_sweep_starts_with_the_points_of_a_shorter_one(tmp_path):
    parameters = {
        "rate": {"distribution": "log_uniform_values", "min": 1e-4, "max": 1.0},
        "share": {"min": 0.0, "max": 2.0},
        "width": {"distribution": "int_uniform", "min": 3, "max": 6},
        "kind": {"values": ["a", "b"], "probabilities": [0.25, 0.75]},
    }
    sweep = read_sweep(written(tmp_path, method="random", parameters=parameters, run_cap=2000))
    found = list(points(sweep, None, 5))
    assert found[:10] == list(points(sweep, 10, 5))
    assert found[0] != next(points(sweep, 1, 6))
    count, logs = len(found), np.log10([point["rate"] for point in found])
    for sample, mean, deviation in (
        (logs, -2, 4 / 12**0.5),
        (np.array([point["share"] for point in found]), 1, 2 / 12**0.5),
        (np.array([point["width"] for point in found]), 4.5, 1.25**0.5),
        (np.array([point["kind"] == "b" for point in found]), 0.75, (0.75 * 0.25) ** 0.5),
    ):
        assert abs(sample.mean() - mean) < 5 * deviation / count**0.5
        assert abs(sample.mean() - (mean + 0.2 * deviation)) > 5 * deviation / count**0.5, "a biased twin fails"
    assert {point["width"] for point in found} == {3, 4, 5, 6}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"program": "nothing.py"}, "There is no program nothing.py"),
        ({"method": "bayes"}, r"method 'bayes', which needs Weights & Biases: wandb sweep .*method=random"),
        ({"command": None}, "has no command"),
        ({"command": ["${program}"]}, r"must be a list that contains"),
        ({"parameters": {}}, "parameters of .* must have entries"),
        ({"parameters": {"a": 5}}, "Parameter a must have a value, values, or min and max; it is 5"),
        ({"parameters": {"a": {"parameters": {}}}}, "Parameter a must have"),
        ({"parameters": {"a": {"values": 5}}}, "values of parameter a must be a list; 5 was given"),
        ({"parameters": {"a": {"value": 5, "mu": 1}}}, "There is no setting mu of parameter a"),
        ({"parameters": {"a": {"min": 1, "max": 0}}}, "numbers, min below max; 1 and 0"),
        ({"parameters": {"a": {"min": 0, "max": 1, "distribution": "beta"}}}, "distribution of parameter a must be"),
        ({"parameters": {"a": {"min": 0, "max": 1.0}}}, "A grid needs values of parameter a; it has a range"),
        ({"run_cap": 0}, "run_cap must be at least 1"),
        ({"metod": "grid"}, "There is no setting metod .*did you mean"),
    ],
)
def test_invalid_sweep_files_raise_a_clear_error(tmp_path, changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        read_sweep(written(tmp_path, **changes))


def test_a_random_sweep_needs_a_number_of_runs(tmp_path):
    with pytest.raises(ValueError, match="give run_cap in the file, or count=10"):
        list(points(read_sweep(written(tmp_path, method="random")), None, 0))


def test_arguments_of_the_sweep_command_are_checked(tmp_path):
    assert read_words(["a.yaml", "count=3"])[1] == command.SETTINGS | {"count": 3, "random_seed": 0}
    for words, said in (
        ([], "sweep needs one sweep file"),
        (["a", "b"], "sweep needs one sweep file"),
        (["a", "count=x"], "count must be a whole number; 'x'"),
        (["a", "count=0"], "count must be at least 1"),
        (["a", "cuont=1"], "sweep has no setting 'cuont', did you mean 'count'|no setting 'cuont'"),
        (["a", "--grid"], "sweep has no setting '--grid'"),
        (["a", "tracker=on"], "tracker must be one of none, offline, online"),
        (["a", "random_seed=-1"], "random_seed must be a whole number"),
    ):
        with pytest.raises((TypeError, ValueError), match=said):
            read_words(words)
    (tmp_path / "torn.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="cannot be read as YAML"):
        read_sweep(tmp_path / "torn.yaml")
    with pytest.raises(ValueError, match=r"There is no sweep file estimator\.yaml.*the library has: estimators\.yaml"):
        read_sweep("estimator.yaml")


@pytest.mark.slow
def test_a_sweep_of_the_library_runs_and_is_collected(tmp_path):
    result = run_package("sweep", CONFIGS / "sweeps" / "estimators.yaml", "count=2", "tracker=none", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "2 of 2 runs finished" in result.stdout
    assert "compare: 2 runs in 1 group" in result.stdout
    (table,) = Path(tmp_path).glob("runs/*-sweep/*-collect/tables/runs.json")
    assert {row["seed"] for row in json.loads(table.read_text())} == {0, 1}
