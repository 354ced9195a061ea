"""Files of a run are complete and without repeated lines: after a kill, on a full disk, and with several writers."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from metalearn.recording import RunFolderError, log_file, open_run, read_metrics, read_status, save_snapshot
from metalearn.recording.files import part_name, remove_leftovers, replacing


def begun(folder, steps=3, **more):
    run = open_run(folder, {"seed": 1}, mode="disabled", **more)
    for step in range(steps):
        run.log({"loss": step / 4, "es": {"norm": float("nan")}}, step)
    return run


def local(run) -> Any:
    return run.trackers[0]


def resumed(run):
    return open_run(run.folder.parent, {"seed": 1}, mode="disabled", resume=run.folder)


def ended(run):
    """End a run as a kill does: release its lock without recording an end."""
    local(run)._metrics.close()
    local(run)._lock.release()
    return run


def steps_of(run):
    return [line["outer_step"] for line in read_metrics(run.folder)]


@pytest.mark.parametrize("torn", [1, 5, 9, 30])
def test_a_partly_written_last_line_is_removed_and_written_again(tmp_path, torn):
    run = ended(begun(tmp_path))
    path = run.folder / "metrics.jsonl"
    os.truncate(path, path.stat().st_size - torn)
    with resumed(run) as again:
        for step in range(4):
            again.log({"loss": step / 4, "es": {"norm": float("nan")}}, step)
    assert steps_of(run) == [0, 1, 2, 3]
    assert path.read_bytes().count(b"\n") == 4


@pytest.mark.parametrize("rubbish", [b"\0" * 40, b"\0" * 40 + b"\n", b'"a text"\n', b"\xff\xfe\n{\n", b"7"])
def test_invalid_bytes_at_the_end_are_removed(tmp_path, rubbish):
    run = ended(begun(tmp_path))
    with open(run.folder / "metrics.jsonl", "ab") as file:
        file.write(rubbish)
    with resumed(run) as again:
        again.log({"loss": 1.0}, 3)
    assert steps_of(run) == [0, 1, 2, 3]


def test_a_damaged_line_loses_only_that_line(tmp_path):
    run = ended(begun(tmp_path))
    path = run.folder / "metrics.jsonl"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1][:-7] + lines[2], b""]))
    with pytest.warns(UserWarning, match="line 2 cannot be read"):
        assert steps_of(run) == [0]


class Limited:
    """A file on a nearly full disk; like the system, it writes fewer bytes than it is given."""

    def __init__(self, stream, room):
        self.stream, self.room = stream, room

    def write(self, content):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.stream.write(content[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name):
        return getattr(self.stream, name)


def test_a_short_write_is_detected_and_undone(tmp_path):
    run = begun(tmp_path)
    metrics = local(run)._metrics
    metrics._stream = Limited(metrics._stream, 20)
    with pytest.raises(RunFolderError, match=r"metrics\.jsonl cannot be written: no space left on device\. Finished"):
        run.log({"loss": 1.0}, 3)
    assert (run.folder / "metrics.jsonl").read_bytes().endswith(b"}\n")
    run.finish()
    assert steps_of(run) == [0, 1, 2]


def test_lines_are_not_repeated_and_the_time_continues_after_a_resume(tmp_path, monkeypatch):
    run = begun(tmp_path)
    local(run)._begin -= 1000
    run.log({"loss": 9.0}, 3)
    run.log({"loss": 9.5}, 3)
    ended(run)
    with resumed(run) as again:
        for step, loss in ((2, 0.5), (3, 9.0), (3, 9.5), (4, 1.0)):
            again.log({"loss": loss} | ({"es": {"norm": float("nan")}} if step == 2 else {}), step)
        again.log({"another": 1.0}, 4)
    lines = read_metrics(run.folder)
    assert [line["outer_step"] for line in lines] == [0, 1, 2, 3, 3, 4, 4]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    assert 1000 < lines[-1]["seconds"] < 1100


def test_a_resumed_run_replaces_files_that_it_writes_again(tmp_path):
    def output(run):
        for _ in range(2):
            run.figure("plane", np.zeros((2, 2), np.uint8))
            run.table("theta", [{"a": 1}])
            run.arrays("frame", {"a": np.ones(2)})
            run.file("film", tmp_path / "film.gif")

    (tmp_path / "film.gif").write_bytes(b"film")
    with begun(tmp_path / "runs") as run:
        output(run)
    before = sorted(path.relative_to(run.folder) for path in run.folder.rglob("*"))
    with resumed(run) as again:
        output(again)
    assert sorted(path.relative_to(run.folder) for path in run.folder.rglob("*")) == before
    assert (run.folder / "tables/theta-2.csv").exists(), "the second of one process does not replace the first"


def test_a_run_in_progress_cannot_be_resumed(tmp_path):
    with begun(tmp_path) as run:
        with pytest.raises(RunFolderError, match=rf"is in use: process {os.getpid()} on \S+, since \S+, is writing"):
            resumed(run)
        assert read_status(run.folder)["status"] == "running"
        run.log({"loss": 1.0}, 3)
    assert read_status(run.folder)["status"] == "finished"
    with resumed(run) as again:
        assert steps_of(again) == [0, 1, 2, 3]


def test_the_lock_of_a_killed_run_is_released(tmp_path):
    folder = ended(begun(tmp_path)).folder
    (folder / ".one.txt.99999999.00000000.0.part").write_text("half")
    program = (
        "import fcntl, time; f = open('lock', 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=folder, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(RunFolderError, match=r"is in use: process \d+ on "):
            open_run(tmp_path, {"seed": 1}, mode="disabled", resume=folder)
        assert read_status(folder)["status"] == "running"
        process.send_signal(signal.SIGKILL)
    assert json.loads((folder / "status.json").read_text())["status"] == "running"
    assert read_status(folder)["status"] == "killed"
    open_run(tmp_path, {"seed": 1}, mode="disabled", resume=folder).finish()
    assert not list(folder.glob(".*")), "what the killed run left is removed"


def test_threads_write_one_file_at_a_time(tmp_path):
    save = lambda index: save_snapshot(tmp_path / "one.npz", {"a": np.full(1000, index)})
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(save, range(100)))) == 100
    assert [path.name for path in tmp_path.iterdir()] == ["one.npz"]


def test_only_temporary_files_of_ended_processes_are_removed(tmp_path):
    mine, another = tmp_path / part_name("a"), tmp_path / f".b.{os.getppid()}.0123abcd.3.part"
    old = [tmp_path / "deep" / f".c.d.{number}.0123abcd.0.part" for number in (os.getpid(), 4_000_000_000)]
    for path in (mine, another, *old, tmp_path / "kept.part"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / ".film.4000000000.0123abcd.7.part").mkdir()
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.rglob("*.part")} == {mine.name, another.name, "kept.part"}


def test_a_deleted_folder_is_a_clear_error(tmp_path):
    run = begun(tmp_path)
    shutil.rmtree(run.folder)
    for action in (
        lambda: run.log({"loss": 1.0}, 3),
        lambda: run.table("t", [{"a": 1}]),
        lambda: save_snapshot(run.folder / "one.npz", {"a": np.ones(1)}),
    ):
        with pytest.raises(RunFolderError, match="its folder does not exist, or was deleted"):
            action()
    ended(run)


def test_a_full_disk_is_a_clear_error_for_every_file(tmp_path):
    words = r"one\.txt cannot be written: no space left on device\. Finished files"

    def fill():
        with replacing(tmp_path / "one.txt") as file:
            file.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunFolderError, match=words):
        fill()
    assert not list(tmp_path.iterdir())


def test_a_line_of_a_log_is_found(tmp_path):
    run = begun(tmp_path)
    run.log({"PES": {"loss": 1.0}}, 7)
    path = run.folder / "metrics.jsonl"
    assert log_file.has_line(path, 7, "PES/")
    assert not log_file.has_line(path, 2, "PES/")
    assert not log_file.has_line(path, 7, "NRES/")
    assert not log_file.has_line(tmp_path / "none", 7, "PES/")
    run.finish()


def test_temporary_files_of_a_forked_process_are_removed(tmp_path):
    """Its name has the random word of this process and another process number."""
    from metalearn.recording.files import _PROCESS, remove_leftovers

    left, mine = (tmp_path / f".a.npz.{number}.{_PROCESS}.1.part" for number in (2**22 + 1, os.getpid()))
    for path in (left, mine):
        path.write_bytes(b"half")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [mine.name]
