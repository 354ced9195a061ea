"""The folders of runs: create them, find them, and read the status of a run."""

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from metalearn.recording.files import RunFolderError, short
from metalearn.recording.lock import is_locked

OPENING = (
    "config.yaml",
    "provenance.json",
    "status.json",
    "metrics.jsonl",
    "lock",
    "problem.py",
    "wandb",
)  # files of `open_run`
_LONGEST_NAME = 120  # bytes, so that with its ending the name fits into the 255 bytes of most file systems


def read_status(folder: str | Path) -> dict[str, Any]:
    """Read the status of a run: "running", "finished" or "failed", with the reason, or "killed".

    A run was killed if its last status is "running" and no process holds the lock of its folder.

    Raises:
      RunFolderError: the folder is not that of a run, or its status.json is damaged.
    """
    path = run_folder(folder)
    found = read_json(path / "status.json")
    return found | {"status": "killed"} if found.get("status") == "running" and not is_locked(path) else found


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run.

    Raises:
      RunFolderError: the file is damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise RunFolderError(
            f"{short(path)} is damaged: it is not a JSON object. Start a new run, or restore the file."
        )
    return found


def make_run_folder(folder: str | Path, name: str) -> Path:
    """Create <folder>/<timestamp>-<name>, with a count appended if this folder exists already.

    Raises:
      RunFolderError: the folder cannot be created or written.
    """
    stem = Path(folder) / f"{time.strftime('%Y-%m-%d-%H%M%S')}-{file_name(name)}"
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        for count in range(1, 10_000):
            path = stem if count == 1 else stem.with_name(f"{stem.name}-{count}")
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                return path.resolve()  # still right when the program changes its working directory
    except OSError as error:
        raise unwritable(folder, error) from error
    raise RunFolderError(
        f"The folder {str(folder)!r} contains ten thousand runs of this second and name; choose another folder or name."
    )


def has_results(folder: Path) -> bool:
    """Return whether the folder of a run has more than what `open_run` writes."""
    log = folder / "metrics.jsonl"
    return (log.is_file() and log.stat().st_size > 0) or any(path.name not in OPENING for path in folder.iterdir())


def run_folder(folder: str | Path) -> Path:
    """Return the folder of an existing run as an absolute path.

    Raises:
      RunFolderError: the folder does not exist, or does not contain a run.
    """
    path = Path(folder)
    if not (path / "status.json").is_file():
        raise RunFolderError(
            f"{str(folder)!r} is not the folder of a run: it has no status.json. Give one of the folders in runs/."
        )
    return path.resolve()


def unwritable(folder: str | Path, error: OSError) -> RunFolderError:
    """Return the error for a folder that cannot be written."""
    occupied = isinstance(error, FileExistsError | NotADirectoryError)
    reason = (
        "a file has its name, or the name of a folder above it" if occupied else (error.strerror or str(error)).lower()
    )
    return RunFolderError(
        f"The run folder {str(folder)!r} cannot be written: {reason}. Choose another with folder=<path>."
    )


def file_name(name: str) -> str:
    """Convert a text to a file name. Several texts can have the same file name."""
    clean = "".join(letter if letter.isalnum() or letter in "-_.+=" else "_" for letter in name.strip())
    return clean.encode()[:_LONGEST_NAME].decode(errors="ignore") if clean.strip(".") else "_"
