"""The study of proxies from the command line: its folder, an interrupted run, user-defined problems, and user errors."""

import functools
import json
import shutil

import numpy as np
import pytest

from tests.processes import error_line, run_study

SMALL = ("num_steps=2", "rows=20", "hidden=2")
TINY = (
    "size=quick", "seeds=2", "chunk_length=2", "outer.num_steps=4", "features.counts=[3,10,40]", "features.seeds=9",
    *(f"problem.arguments.{setting}" for setting in SMALL), "weights.arguments.example_weights=4",
    "weights.arguments.num_steps=2", "tracker=none",
)  # fmt: skip
OWN = """
import jax.numpy as jnp
import metalearn as ml


def study():
    problem = ml.InnerProblem(lambda theta, key: 0.0 * theta, lambda s, theta, key: s, lambda s, theta, key: (theta - 1.0) ** 2)
    names = {"wanted": lambda s, theta, key: (theta - 0.4) ** 2, "third": lambda s, theta, key: (theta - 0.3) ** 2}
    return ml.Study(problem, jnp.array(0.2), 2, observables=names)


def far(state, theta, key):
    return (theta - 0.5) ** 2


def pair(state, theta, key):
    return jnp.stack([theta, theta])


def infinite(state, theta, key):
    return theta / 0.0
"""


run = functools.partial(run_study, "goodhart")


def rows(folder, name):
    return {row["case"]: row for row in json.loads((folder / "tables" / f"{name}.json").read_text())}


def test_a_run_records_its_results_and_a_resumed_run_computes_only_the_missing_parts(tmp_path):
    result = run(tmp_path, *TINY)
    assert result.returncode == 0, result.stderr
    (folder,) = tmp_path.iterdir()
    for name in ("goodhart", "mitigations", "example_weights", "features"):
        assert (folder / "figures" / f"{name}.png").stat().st_size > 0
    assert list(rows(folder, "mitigations")) == ["none", "early_stopping"]
    assert list(rows(folder, "example_weights")) == ["20 rows"]
    features = json.loads((folder / "tables" / "features.json").read_text())
    assert [row["features"] for row in features] == [3, 10, 40]
    assert max(features, key=lambda row: row["test_median"])["features"] == 10
    kept = (folder / "arrays" / "mitigation" / "none.npz").read_bytes()
    (folder / "arrays" / "features.npz").unlink()
    shutil.rmtree(folder / "figures")
    assert run(tmp_path, *TINY, f"resume={folder}").returncode == 0
    assert (folder / "arrays" / "mitigation" / "none.npz").read_bytes() == kept
    assert json.loads((folder / "tables" / "features.json").read_text()) == features
    assert (folder / "figures" / "goodhart.png").exists()
    other = run(tmp_path, *TINY, "goal=third", f"resume={folder}")
    assert "was run with goal = 'clean'" in other.stderr


@pytest.mark.parametrize("goal", ["wanted", "mine.py:far"])
def test_a_user_defined_problem_with_two_observables(tmp_path, goal):
    (tmp_path / "mine.py").write_text(OWN)
    names = f"problem={tmp_path}/mine.py:study", f"goal={goal.replace('mine', f'{tmp_path}/mine')}"
    cheap = "outer.num_steps=40", "size=quick", "seeds=2", "held_out=1", "pairs=1", "tracker=none"
    result = run(tmp_path, *names, *cheap)
    assert result.returncode == 0, result.stderr
    folder = next(path for path in tmp_path.iterdir() if path.name.endswith("goodhart"))
    found = rows(folder, "mitigations")
    place = {"wanted": 0.4, "mine.py:far": 0.5}[goal]
    assert found["none"]["start"] == pytest.approx((0.2 - place) ** 2, rel=1e-3)
    assert found["none"]["worse_than_start"] == 1
    assert found["none"]["end"] == pytest.approx((1 - place) ** 2, rel=0.2)
    assert 0 < found["none"]["turning_step"] < 20
    curves = np.load(folder / "arrays" / "mitigation" / "none.npz")
    theta = 1 - np.sqrt(curves["proxy"])  # theta goes from 0.2 to 1, and overshoots only at the end
    np.testing.assert_allclose(curves["goal"][:, :3], (theta - place)[:, :3] ** 2, rtol=1e-3, atol=1e-6)


def test_a_problem_without_a_useful_derivative_says_so(tmp_path):
    (tmp_path / "mine.py").write_text(OWN.replace("(theta - 1.0) ** 2", "jnp.round(theta)"))
    assert "jnp.round" in (tmp_path / "mine.py").read_text()
    result = run(tmp_path, f"problem={tmp_path}/mine.py:study", "goal=wanted", "outer.num_steps=1", "chunk_length=1",
                 "size=quick", "seeds=1", "held_out=1", "pairs=1", "tracker=none")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "is zero everywhere" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["seeds=0"], "seeds must be at least 1; 0 was given"),
        (["outer.learning_rate=0"], "outer.learning_rate must be a number in (0, inf)"),
        (["chunk_length=0"], "chunk_length must be at least 1"),
        (["estimator=[full_es,full_backprop]"], "One estimator is needed"),
        (["problem.arguments.noise=2"], "noise must be a number in [0, 1]"),
        (["proxy=accuracy"], "proxy must be an observable of the problem; it has: loss, training"),
        (["mitigations.early_stopping.stop_on=forth"], "stop_on must be an observable of the problem"),
        (["features.counts=[]"], "counts must be a sequence of numbers"),
    ],
)
def test_an_invalid_setting_is_a_one_line_error_and_leaves_no_run_folder(tmp_path, arguments, words):
    assert words in error_line(run(tmp_path, *TINY, *arguments), tmp_path)


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        ("pair", "The observable 'pair' must return one real number"),
        ("infinite", "goal must be finite at the start; 'infinite' is inf"),
        ("missing", "missing"),
    ],
)
def test_invalid_user_defined_goals_raise_an_error(tmp_path, goal, words):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "runs").mkdir()
    names = f"problem={tmp_path}/mine.py:study", f"goal={tmp_path}/mine.py:{goal}"
    result = run(tmp_path / "runs", *names, "size=quick", "tracker=none")
    assert result.returncode == 2, result.stderr
    assert words in result.stderr.splitlines()[-1]
    assert not list((tmp_path / "runs").iterdir())
