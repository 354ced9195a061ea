"""Which run is resumed: the newest of the same configuration, never one in progress, damaged, renamed or changed."""

import json
import re
from typing import Any

import pytest

from metalearn.recording import RunFolderError, open_run, read_metrics, read_status

CONFIG = {"seed": 1, "outer": {"num_steps": 10, "rate": 0.1}, "tracker": {"mode": "none"}, "resume": None}


def opened(folder, config=CONFIG, name="run", resume: object = "auto", **more):
    return open_run(folder, config, name=name, mode="disabled", resume=resume, **more)


def killed(folder, config=CONFIG, name="run"):
    """A run that was killed after a line of its log."""
    run = opened(folder, config, name, None)
    run.log({"loss": 1.0}, 0)
    local: Any = run.trackers[0]
    local._metrics.close()
    local._lock.release()
    return run.folder


def fail(folder, resume, words, step):
    """A resumed run that fails after a line of its log."""
    with opened(folder, resume=resume) as run:
        run.log({"loss": 1.0}, step)
        raise ValueError(words)


def changed(**outer):
    return CONFIG | {"outer": CONFIG["outer"] | outer}


def test_auto_continues_the_newest_run_of_the_same_name_and_configuration(tmp_path):
    with opened(tmp_path) as first:
        pass
    assert [path.name for path in tmp_path.iterdir()] == [first.folder.name]
    newest = killed(tmp_path)
    killed(tmp_path, name="other")
    killed(tmp_path, changed(rate=0.2))
    with opened(tmp_path) as again:
        assert again.folder == newest
        again.log({"loss": 1.0}, 0)
        again.log({"loss": 0.5}, 1)
    assert [line["outer_step"] for line in read_metrics(newest)] == [0, 1]
    assert read_status(newest)["status"] == "finished"


def test_tracking_settings_may_change_on_resume(tmp_path):
    newest = killed(tmp_path)
    with opened(tmp_path, CONFIG | {"tracker": {"mode": "online"}, "resume": "auto"}) as again:
        assert again.folder == newest


def test_a_changed_configuration_raises_an_error_with_the_differences(tmp_path):
    killed(tmp_path)
    words = (
        r"was run with outer\.num_steps = 10 and cannot be resumed with 20\. It also had outer\.rate = 0\.1, here 0\.3"
    )
    with pytest.raises(ValueError, match=words):
        opened(tmp_path, changed(num_steps=20, rate=0.3))
    with pytest.raises(ValueError, match="is a run of another experiment"):
        opened(tmp_path, {"frames": 1}, resume=next(tmp_path.iterdir()))


def test_a_run_that_the_caller_rejects_is_unchanged_and_an_earlier_run_continues(tmp_path):
    """Runs of the same configuration with other inputs, such as the file of a problem."""
    with opened(tmp_path, resume=None) as earlier:
        pass
    with opened(tmp_path, resume=None) as newest:
        pass
    left = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def refuse(*folders):
        def check(folder):
            if folder.name in [one.name for one in folders]:
                raise ValueError(f"{folder.name} has other inputs.")

        return check

    for resume in ("auto", newest.folder):
        with pytest.raises(ValueError, match=f"{newest.folder.name} has other inputs"):
            opened(tmp_path, resume=resume, check=refuse(earlier.folder, newest.folder))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == left
    with opened(tmp_path, check=refuse(newest.folder)) as again:
        assert again.folder == earlier.folder
    with pytest.raises(ValueError, match=r"outer\.rate = 0\.1"):
        opened(tmp_path, changed(rate=0.3), check=refuse())


def test_a_finished_run_stays_as_it_was_if_a_resume_fails_before_it_records(tmp_path, capsys):
    """Landscapes made with another version of JAX are refused after the run was opened."""
    with opened(tmp_path, resume=None) as run:
        run.log({"loss": 1.0}, 0)
    (run.folder / "provenance.json").write_text("{}")
    left = {path: path.read_bytes() for path in run.folder.glob("*.*")}
    with pytest.raises(ValueError, match="refused"):
        fail(tmp_path, run.folder, "refused", 0)  # the line of this step was written before
    assert {path: path.read_bytes() for path in run.folder.glob("*.*")} == left
    assert "is as it was before" in capsys.readouterr().out
    with pytest.raises(ValueError, match="failed"):
        fail(tmp_path, run.folder, "failed", 1)
    assert read_status(run.folder)["status"] == "failed"
    with pytest.raises(ValueError, match="failed again"):
        fail(tmp_path, run.folder, "failed again", 1)
    assert read_status(run.folder)["reason"] == "ValueError: failed again"


def test_damaged_lines_at_the_end_of_a_log_are_removed_and_counted(tmp_path, capsys):
    folder = killed(tmp_path)
    with open(folder / "metrics.jsonl", "ab") as stream:
        stream.write(b"garbage\n\xff\n{")
    with opened(tmp_path, resume=folder):
        pass
    assert "ends in 2 lines that cannot be read" in capsys.readouterr().err
    assert [line["loss"] for line in read_metrics(folder)] == [1.0]
    with opened(tmp_path, resume=folder):
        pass
    assert "cannot be read" not in capsys.readouterr().err


def test_a_number_that_may_grow_cannot_shrink(tmp_path):
    folder, grow = killed(tmp_path), {"may_grow": ("outer.num_steps",)}
    with opened(tmp_path, changed(num_steps=20), resume=folder, **grow) as again:
        assert again.folder == folder
    with pytest.raises(ValueError, match=r"num_steps = 20 and cannot be resumed with 10"):
        opened(tmp_path, resume=folder, **grow)
    with pytest.raises(ValueError, match=r"outer\.rate = 0\.1 and cannot be resumed with 0\.2"):
        opened(tmp_path, changed(num_steps=30, rate=0.2), resume=folder, **grow)
    with opened(tmp_path, changed(num_steps=40, rate=9), resume=folder, may_differ=("outer.rate",), **grow):
        pass


def test_a_run_in_progress_cannot_be_resumed(tmp_path):
    with opened(tmp_path) as run:
        for resume in ("auto", run.folder):
            with pytest.raises(RunFolderError, match=r"is in use: process \d+ on .* is writing to it"):
                opened(tmp_path, resume=resume)
    assert read_status(run.folder)["status"] == "finished", "the refused ones changed nothing"


@pytest.mark.parametrize("content", [b"", b"a: [", b"5", b"\xff\xfe\x00", b"- 1\n- 2\n"])
def test_a_damaged_configuration_is_reported_and_the_previous_run_is_used(tmp_path, capsys, content):
    before, newest = killed(tmp_path), killed(tmp_path)
    (newest / "config.yaml").write_bytes(content)
    with opened(tmp_path) as again:
        assert again.folder == before
    assert re.search(r"A run is left out: .*config\.yaml is damaged", capsys.readouterr().err)
    with pytest.raises(RunFolderError, match=r"config\.yaml is damaged; this run cannot be resumed"):
        opened(tmp_path, resume=newest)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_a_damaged_status_does_not_prevent_resuming(tmp_path, content):
    folder = killed(tmp_path)
    (folder / "status.json").write_bytes(content)
    with pytest.raises(RunFolderError, match=r"status\.json is damaged"):
        read_status(folder)
    with opened(tmp_path, resume=folder):
        pass
    assert json.loads((folder / "status.json").read_text())["status"] == "finished"


@pytest.mark.parametrize("resume", [[], 5, True, "", "  ", {}])
def test_a_path_that_is_not_a_run_folder_raises_an_error(tmp_path, resume):
    with pytest.raises(TypeError, match="resume must be the folder of a run, auto, or null"):
        opened(tmp_path, resume=resume)
    assert not list(tmp_path.iterdir())


def test_a_clock_that_is_set_back_loses_nothing(tmp_path, monkeypatch):
    """The names of folders collide or go back; lines and seconds go on, and no run is overwritten."""
    real, monotonic = __import__("time").strftime, 100.0
    monkeypatch.setattr("time.strftime", lambda form, *_: real(form, (2031, 1, 1, 0, 0, 0, 0, 1, 0)))
    first, second = killed(tmp_path), killed(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form, *_: real(form, (2001, 1, 1, 0, 0, 0, 0, 1, 0)))
    monkeypatch.setattr("time.monotonic", lambda: monotonic)
    third = killed(tmp_path)
    assert len({first, second, third}) == 3
    with opened(tmp_path, resume=first) as again:
        again.log({"loss": 0.5}, 1)
    seconds = [line["seconds"] for line in read_metrics(first)]
    assert seconds == sorted(seconds)
    assert all(second >= 0 for second in seconds)
    assert len(read_metrics(third)) == 1


@pytest.mark.parametrize("label", [{"project": 5}, {"group": 5}, {"tags": 5}, {"tags": "a"}, {"tags": [1]}])
def test_labels_that_are_not_strings_raise_an_error_before_a_folder_is_made(tmp_path, label):
    with pytest.raises(TypeError, match="of the tracker must be a"):
        open_run(tmp_path / "runs", {}, **label)
    assert not list(tmp_path.iterdir())
