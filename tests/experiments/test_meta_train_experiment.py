"""The meta-training experiment as a user runs it: tuning, evaluation, files, and resuming."""

import json

import numpy as np
import pytest

from metalearn.recording import load_optimizer
from tests.processes import run_experiment, run_here

WINE = "metalearn.problems.wine_benchmark"
SMALL = [
    "tuning=learned_optimizer", "estimator=noise_reuse_es", "tracker=none", "problem.benchmark.num_steps=10", "problem.length=5",
    "problem.stagger=false", "outer.num_steps=4", "chunk_length=2", "pairs=2", "judges=2", "held_out=2", "baselines=false",
    "searches=[]",
]  # fmt: skip


def run(folder, *arguments, how=run_experiment):
    return how("meta_train", *SMALL, f"folder={folder}", *arguments)


@pytest.mark.slow
def test_a_meta_training_tunes_evaluates_and_saves_its_results(tmp_path):
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"
    assert {path.name for path in (folder / "figures").iterdir()} == {"curves_as_tuned.png", "descent.png"}
    learned, theta = load_optimizer(folder / "NRES.msgpack")
    assert learned.architecture["name"] == "nominal_optimizer"
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2
    assert "NRES" in result.stdout
    (folder / "NRES.msgpack").unlink()  # as if it had been killed after its last snapshot
    again = run(tmp_path, f"resume={folder}", "judges=3")
    assert again.returncode == 0, again.stderr
    assert load_optimizer(folder / "NRES.msgpack")[1]["log_learning_rate"] == theta["log_learning_rate"]
    assert np.load(folder / "NRES.evaluations.npz")["step"].tolist() == [0, 2, 4]
    assert len(list((folder / "figures").glob("descent*.png"))) == 1, "drawn again in its place, from what was kept"


@pytest.mark.slow
def test_searches_are_evaluated_beside_meta_training(tmp_path):
    result = run(tmp_path, "tuning=hyperparameters", "searches=[random_search,genetic]", "outer.num_steps=8")
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    rows = json.loads((folder / "tables/theta.json").read_text())
    assert [row["label"] for row in rows] == ["NRES", "random search", "genetic algorithm"]
    assert all(sum(np.size(value) for value in row.values()) == 19 for row in rows), "a label and eighteen numbers"
    for words in ("NRES", "random search", "genetic"):
        assert words in result.stdout


@pytest.mark.slow
def test_a_mixture_is_meta_trained_and_evaluated_on_every_benchmark_of_the_matrix(tmp_path):
    (tmp_path / "configs/matrix").mkdir(parents=True)
    (tmp_path / "configs/matrix/wine.yaml").write_text(
        "# @package matrix\nwine: {_target_: metalearn.problems.wine_benchmark, hidden: [4], num_steps: 20}\n"
    )
    mine = ("--config-dir", tmp_path / "configs")
    wanted = ("matrix=wine", "mixture=true", "hyperparameter_steps=2", "searches=[cma_es]", "seeds=2")
    result = run_experiment("meta_train", *mine, *SMALL, f"folder={tmp_path}", *wanted)
    assert result.returncode == 0, result.stderr
    (folder,) = (path for path in tmp_path.iterdir() if path.name != "configs")
    rows = json.loads((folder / "tables/evaluation.json").read_text())
    labels = ("NRES 0", "NRES 1", "CMA-ES 0", "CMA-ES 1", "hyperparameters")
    judged = [(name, label) for name in ("as tuned", "wine") for label in labels]
    assert [(row["benchmark"], row["optimizer"]) for row in rows] == judged
    assert all(row["tuning"] == "learned_optimizer" for row in rows)
    losses = [row["mean_loss"] for row in rows if row["optimizer"] == "hyperparameters"]
    assert losses[0] > losses[1], "each is judged with its own: ten classes begin at a larger loss than three"
    values = json.loads((folder / "tables/hyperparameters.json").read_text())
    assert {value["benchmark"] for value in values} == {"as tuned", "wine"}
    found = {label: [row["value"] for row in values if row["label"] == label] for label in labels[2:]}
    assert found["CMA-ES 0"] != found["CMA-ES 1"], "every meta-seed has a search of its own"
    first = json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
    assert {"NRES 0/loss/wine", "NRES 0/loss/as tuned"} <= set(first)
    # two pairs, which are four members, over a window of five and one of ten steps
    assert first["NRES 0/inner_steps"] == 2 * 2 * (5 + 10)


def test_user_errors_are_one_line(tmp_path):
    for arguments, words in (
        (("tuning=schedule",), "tuning can be: hyperparameters, learned_optimizer"),
        (("seed=x",), "seed"),
        (("searches=[bayes]",), "Every one of searches must be one of"),
        (
            (
                "searches=[random_search]",
                "problem.tuning={_target_: metalearn.hyperparameters.Tuning, _partial_: true, optimizer: null}",
            ),
            "random_search draws from the box of the tuning",
        ),
        (("tuning=hyperparameters", "matrix=all"), "matrix needs a learned optimiser"),
        (("problem.length=0",), "length must be at least 1"),
        (("held_out=0",), "held_out must be at least 1"),
        (("judges=0",), "judges must be at least 1"),
        (("baselines=maybe",), "baselines must be true or false"),
        (("outer.clip_norm=-1",), "outer.clip_norm must be"),
        (("outer.decay=maybe",), "outer.decay must be true or false"),
        (("outer.stop_on=goal",), "outer.stop_on must be null or evaluate"),
        (("outer.patience=3",), "outer.patience needs outer.stop_on"),
        (("outer.stop_on=evaluate", "outer.patience=0"), "outer.patience must be at least 1"),
        (("outer.stop_on=evaluate", "chunk_length=500"), "outer.stop_on needs readings during training"),
        (("outer.learning_rate=fast",), "outer.learning_rate must be"),
        (
            (f"+matrix={{as tuned: {{_target_: {WINE}}}}}",),
            "matrix.as tuned has the name of the tuning's own benchmark",
        ),
        (("+matrix.wine=null",), "matrix.wine must be a benchmark"),
        (("problem.tuning=null",), "problem.tuning must have a _target_ and _partial_: true"),
        (("+problem.tuning.sizes=true",), "problem.tuning: got an unexpected keyword argument 'sizes'"),
        (("+estimators.noise_reuse_es.build.size=1",), "build of the estimator NRES: got an unexpected keyword"),
        (("+matrix.wine=3",), "matrix.wine must be a benchmark"),
        (
            (f"+matrix.wine._target_={WINE}", "+matrix.wine.num_steps=25", "mixture=true"),
            "which cannot be cut into the 2",
        ),
        (("hyperparameter_steps=-1",), "hyperparameter_steps must be at least 0"),
        (("mixture=true",), "mixture also trains on the benchmarks of a matrix"),
    ):
        result = run(tmp_path, *arguments, how=run_here)
        assert result.returncode == 2, result.stderr
        assert words in result.stderr
        assert "Traceback" not in result.stderr
