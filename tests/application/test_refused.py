"""A configuration that is refused leaves nothing behind, and a run records the file that it imported."""

import pytest

from metalearn.application import runs
from metalearn.application.problem_files import call_study, imported_bytes
from metalearn.recording import open_run
from tests.processes import run_here

FILE = """
import jax.numpy as jnp
import metalearn as ml
def mine(size=1.0):
    step = lambda s, theta, key: s - 0.5 * (s - theta)
    problem = ml.InnerProblem(lambda theta, key: jnp.float32(0), step, lambda s, theta, key: (s - size) ** 2)
    return ml.Study(problem, jnp.float32(-1), horizon=8, length=4, name="pull")
"""
TINY = [
    "estimator=[full_es]",
    "pairs=2",
    "judges=2",
    "held_out=1",
    "outer.num_steps=1",
    "chunk_length=1",
    "tracker=none",
]
QUICK = ["problem=phase_walk", "estimator=persistent_es", "pairs=2", "landscape.resolution=2", "tracker=offline"]


@pytest.mark.parametrize("word", ["episodes=1", "reference_pairs=1", "episodes=0", "episodes=2.5"])
def test_compare_refuses_before_it_makes_a_folder(tmp_path, monkeypatch, word):
    def opened(*_, **__):
        raise AssertionError("a run was opened")

    monkeypatch.setattr(runs, "open_run", opened)
    result = run_here("compare", *QUICK, word, f"folder={tmp_path}", cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["disabled", "offline"])
def test_a_refusal_inside_of_a_new_run_removes_its_folder(tmp_path, mode, capsys):
    refusing = {"is_refusal": lambda error: isinstance(error, ValueError), "mode": mode}
    with pytest.raises(ValueError, match="no"), open_run(tmp_path, {"a": 1}, **refusing):
        raise ValueError("no")
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_a_run_with_results_or_a_bug_is_kept(tmp_path):
    refusing = {"is_refusal": lambda error: isinstance(error, ValueError), "mode": "disabled"}
    runs_begun = [open_run(tmp_path, {"a": 1}, **refusing) for _ in range(2)]
    runs_begun[0].log({"loss": 1.0}, 0)
    (runs_begun[1].folder / "tiles").mkdir()
    for run in runs_begun:
        with pytest.raises(ValueError, match="no"), run:
            raise ValueError("no")
    with pytest.raises(KeyError), open_run(tmp_path, {"a": 1}, **refusing):
        raise KeyError("a bug")
    with pytest.raises(ValueError, match="no"), open_run(tmp_path, {"a": 1}, resume=runs_begun[0].folder, **refusing):
        raise ValueError("no")
    assert len(list(tmp_path.iterdir())) == 3


def test_the_file_that_was_imported_is_recorded_when_it_was_edited_since(tmp_path, monkeypatch):
    file = tmp_path / "edited.py"
    file.write_text(FILE)
    monkeypatch.chdir(tmp_path)
    real = runs.find_file

    def edit(address):
        file.write_text(FILE + "\n# edited while the run began\n")
        return real(address)

    monkeypatch.setattr(runs, "find_file", edit)
    result = run_here("meta_train", "problem=edited.py:mine", *TINY, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    (copy,) = tmp_path.glob("runs/*/problem.py")
    assert copy.read_text() == FILE
    call_study("edited.py:mine")
    assert imported_bytes(file).decode() == file.read_text()
