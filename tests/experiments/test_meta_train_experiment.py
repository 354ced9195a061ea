"""The experiment as a user runs it: it tunes, judges, keeps what it made, and goes on where it was stopped."""

import json

import pytest

from metalearn.recording import load_optimizer
from tests.processes import run_experiment

SMALL = [
    "tuning=learned_optimizer", "estimator=noise_reuse_es", "tracker=none", "problem.benchmark.num_steps=10", "problem.length=5",
    "problem.stagger=false", "outer.num_steps=4", "chunk_length=2", "pairs=2", "judges=2", "held_out=2", "baselines=false",
]  # fmt: skip


def run(folder, *arguments):
    return run_experiment("meta_train", *SMALL, f"folder={folder}", *arguments)


@pytest.mark.slow
def test_it_tunes_judges_and_keeps(tmp_path):
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    assert {path.name for path in (folder / "figures").iterdir()} == {"curves.png", "descent.png"}
    learned, theta = load_optimizer(folder / "NRES.msgpack")
    assert learned.architecture["name"] == "nominal_optimizer"
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert "NRES" in result.stdout
    again = run(tmp_path, f"resume={folder}")
    assert again.returncode == 0, again.stderr
    assert load_optimizer(folder / "NRES.msgpack")[1]["log_learning_rate"] == theta["log_learning_rate"]


@pytest.mark.slow
def test_searches_are_judged_beside_what_was_descended(tmp_path):
    result = run(tmp_path, "tuning=hyperparameters", "searches=[random_search,genetic]", "outer.num_steps=8")
    assert result.returncode == 0, result.stderr
    for words in ("NRES", "random search", "genetic"):
        assert words in result.stdout


def test_mistakes_are_one_line(tmp_path):
    for arguments, words in (
        (("tuning=schedule",), "tuning can be: hyperparameters, learned_optimizer"),
        (("seed=x",), "seed"),
        (("searches=[bayes]",), "Every one of searches must be one of"),
        (("searches=[cma_es]",), "searches need a box"),
        (("tuning=hyperparameters", "matrix=all"), "matrix needs a learned optimiser"),
    ):
        result = run(tmp_path, *arguments)
        assert result.returncode == 2, result.stderr
        assert words in result.stderr
        assert "Traceback" not in result.stderr
