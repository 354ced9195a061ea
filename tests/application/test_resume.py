"""A meta-training that is killed between any two writes continues with the same bits and logs every step once."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from omegaconf import OmegaConf

import metalearn as ml
from metalearn.application import meta_training, train
from metalearn.application.parts import Parts
from metalearn.recording import RunFolderError, open_run, read_metrics
from metalearn.recording.checkpoints import load_evaluations

KEY = jax.random.key(0)
ESTIMATOR = ml.persistent_es(ml.problems.noisy_linear_quadratic(), ml.Truncation(12, 3), sigma=0.1, num_pairs=2)
OPTIMIZER, EVALUATE = optax.adam(0.02), ml.held_out_loss(ml.problems.noisy_linear_quadratic(), 12, 2)
CONFIG = OmegaConf.create({"chunk_length": 2, "outer": {"stop_on": None, "patience": None}})
STEPS = 6  # three chunks


class Killed(BaseException):
    """The exception that stands for a kill."""


def descend(run, num_steps=STEPS):
    shares: dict[str, Any] = {}
    one = (ESTIMATOR, OPTIMIZER, num_steps, jnp.float32(0.3), KEY, EVALUATE, "a b")
    end = train(CONFIG, *one, run, lambda *_: None, shares)
    return end, shares


def opened(folder, resume=None):
    return open_run(folder, {}, mode="disabled", resume=resume)


def left(run):
    """Return the contents of all files of a run, without times."""
    lines = [{name: line[name] for name in line if name != "seconds"} for line in read_metrics(run.folder)]
    curve = {name: values.tolist() for name, values in load_evaluations(run.folder / "a-b.evaluations.npz").items()}
    return lines, curve, json.loads((run.folder / "a-b.divergence.json").read_text())


def end_as_killed(run):
    run.trackers[0]._metrics.close()
    run.trackers[0]._lock.release()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    with opened(tmp_path_factory.mktemp("whole")) as run:
        end, shares = descend(run)
    return end, shares, left(run)


def agrees(run, found, whole):
    end, shares = found
    jax.tree.map(np.testing.assert_array_equal, end._replace(estimator_state=()), whole[0]._replace(estimator_state=()))
    assert shares == whole[1]
    assert left(run) == whole[2]


@pytest.mark.parametrize("write", ["log", "extend_evaluations", "replacing", "save_snapshot"])
@pytest.mark.parametrize("chunk", [1])
@pytest.mark.parametrize("after", [False, True])
def test_a_kill_between_any_two_writes_changes_no_bit_of_the_result(tmp_path, whole, monkeypatch, write, chunk, after):
    run, calls = opened(tmp_path), []
    place = run if write == "log" else meta_training
    does = getattr(place, write)

    def killing(*arguments, **more):
        calls.append(1)
        if len(calls) == chunk + 1 and not after:
            raise Killed
        found = does(*arguments, **more)
        if len(calls) == chunk + 1 and write != "replacing":
            raise Killed
        return found

    with monkeypatch.context() as patch:
        patch.setattr(place, write, killing)
        if write == "replacing" and after:
            patch.setattr(meta_training, "_save", killing_save(chunk))
        with pytest.raises(Killed):
            descend(run)
    end_as_killed(run)
    with opened(tmp_path, run.folder) as again:
        agrees(again, descend(again), whole)


def killing_save(chunk):
    """Raise `Killed` at the first line of `_save`."""
    save, calls = meta_training._save, []

    def killing(*arguments):
        calls.append(1)
        if len(calls) == chunk + 1:
            raise Killed
        save(*arguments)

    return killing


def test_a_finished_part_is_reported_again_and_not_computed_again(tmp_path, whole):
    with opened(tmp_path) as run:
        descend(run)
    with opened(tmp_path, run.folder) as again:
        agrees(again, descend(again), whole)


def test_a_log_line_lost_after_its_snapshot_is_written_again(tmp_path, whole):
    with opened(tmp_path) as run:
        descend(run)
    path = run.folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    with opened(tmp_path, run.folder) as again:
        agrees(again, descend(again), whole)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_snapshot_is_reported_and_the_previous_one_is_used(tmp_path, whole, capsys, damage):
    with opened(tmp_path) as run:
        descend(run)
    path = run.folder / "a-b.snapshot.npz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes({"cut": content[:300], "flipped": content, "empty": b""}[damage])
    with opened(tmp_path, run.folder) as again:
        agrees(again, descend(again), whole)
    assert "A snapshot is damaged, and the one before it is used:" in capsys.readouterr().err
    for one in run.folder.glob("*snapshot*.npz"):
        one.write_bytes(b"")
    with (
        opened(tmp_path, run.folder) as again,
        pytest.raises(ValueError, match=r"All snapshots of a b are damaged: .*Delete them"),
    ):
        descend(again)


def test_a_damaged_snapshot_never_replaces_the_intact_one(tmp_path, whole, monkeypatch):
    """A resume writes the next snapshot and is killed before it is complete: the one before must still be there."""
    with opened(tmp_path) as run:
        descend(run)
    (run.folder / "a-b.snapshot.npz").write_bytes(b"")

    def kill(*_):
        raise Killed

    with monkeypatch.context() as patch, opened(tmp_path, run.folder) as again:
        patch.setattr(meta_training, "save_snapshot", kill)
        with pytest.raises(Killed):
            descend(again)
    with opened(tmp_path, run.folder) as again:
        agrees(again, descend(again), whole)


@pytest.mark.parametrize("content", ["{}", "[]", "", '{"first": "a", "worst": 0, "last": 0, "capped": 0}'])
def test_damaged_share_files_raise_a_clear_error(tmp_path, content):
    with opened(tmp_path) as run:
        descend(run)
    (run.folder / "a-b.divergence.json").write_text(content)
    with (
        opened(tmp_path, run.folder) as again,
        pytest.raises(RunFolderError, match=r"a-b\.divergence\.json is damaged"),
    ):
        descend(again)


def test_log_lines_that_cannot_be_restored_are_reported(tmp_path, capsys):
    with opened(tmp_path) as run:
        descend(run)
    (run.folder / "metrics.jsonl").unlink()
    with opened(tmp_path, run.folder) as again:
        descend(again)
    assert "has no line of the snapshots of a b" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"abc" * 100, b"PK\x03\x04"])
def test_a_damaged_part_is_reported_and_computed_again(tmp_path, capsys, content):
    progress = lambda *_: None
    with opened(tmp_path) as run:
        Parts(run, progress).compute("a", lambda: {"x": np.arange(3)})
    (run.folder / "arrays" / "a.npz").write_bytes(content)
    with opened(tmp_path, run.folder) as again:
        found = Parts(again, progress).compute("a", lambda: {"x": np.arange(3)})
    np.testing.assert_array_equal(found["x"], np.arange(3))
    assert "a.npz is damaged" in capsys.readouterr().err
    with opened(tmp_path, run.folder) as again:
        Parts(again, progress).compute("a", pytest.fail)
    assert [path.name for path in (run.folder / "arrays").iterdir()] == ["a.npz"]
