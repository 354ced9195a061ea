"""The folder of a run: all its results, readable without any service, and kept if the run is killed.

    runs/2026-11-20-181503-compare/
      config.yaml       the resolved configuration; secrets are replaced by "<hidden>"
      provenance.json   commit, versions, device, command line
      status.json       running, finished or failed, with the reason; a killed run stays "running"
      metrics.jsonl     one line per call of `log`, flushed immediately
      programs.json     the compiled programs, with effort and seconds; written at the end
      figures/*.png  tables/*.json *.csv  arrays/*.npz  files/*

JSON cannot represent floats that are not finite. They are written as the strings "nan", "inf" and "-inf", which
Python's `float` reads. `read_metrics` converts them back.
"""

import contextlib
import csv
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.compilation import compiled_programs
from metalearn.recording.values import columns, finite, flatten, plain, restore, save_arrays

_LONGEST_NAME = 120  # bytes, so that with its ending the name fits into the 255 bytes of most file systems


class RunFolderError(OSError):
    """The folder of the run cannot be written. The message is one sentence for the user."""


class LocalRun:
    """A tracker that writes to one folder."""

    def __init__(self, path: Path, config: dict, provenance: dict):
        """Write what is known at the start. The caller must hide secrets.

        Args:
          path: an existing folder for this run only.
          config: the resolved configuration.
          provenance: the result of `collect_provenance`.
        """
        import yaml

        self.path = path
        self._begin = time.monotonic()
        self._compiled_before = len(compiled_programs())
        self._started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with replacing(path / "config.yaml") as file:
            file.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        self._write_json(path / "provenance.json", provenance)
        self._metrics = open(path / "metrics.jsonl", "ab", buffering=0)  # noqa: SIM115  closed by finish
        self._write_status("running", None)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Append one line; nothing is kept in memory."""
        clock = {"outer_step": int(step), "seconds": round(time.monotonic() - self._begin, 3)}
        record = clock | flatten(metrics) | {"outer_step": int(step)}
        self._metrics.write((json.dumps(finite(plain(record)), ensure_ascii=False, allow_nan=False) + "\n").encode())

    def figure(self, name: str, figure: Any) -> None:
        """Write a matplotlib figure, or an image as a uint8 array [height, width(, 3 or 4)], to figures/."""
        check_image(figure)
        with replacing(self._fresh("figures", name, ".png")) as file:
            if hasattr(figure, "savefig"):
                figure.savefig(file, format="png")
            else:
                from PIL import Image

                Image.fromarray(np.asarray(figure)).save(file, format="png")

    def table(self, name: str, rows: list[dict]) -> None:
        """Write rows as JSON and as CSV to tables/; the columns are the keys in the order in which they appear."""
        rows = [plain(row) for row in rows]
        path = self._fresh("tables", name, ".json")
        self._write_json(path, rows)
        with (
            replacing(path.with_name(path.name.removesuffix(".json") + ".csv")) as file,
            open(file, "w", newline="") as stream,
        ):
            writer = csv.DictWriter(stream, columns(rows))
            writer.writeheader()
            writer.writerows(rows)

    def arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Write arrays to arrays/ as one .npz; nested dictionaries get names such as "train/loss"."""
        with replacing(self._fresh("arrays", name, ".npz")) as file:
            save_arrays(file, arrays)

    def file(self, name: str, path: str | Path) -> None:
        """Copy an existing file, such as a film or a report, to files/."""
        with replacing(self._fresh("files", name, Path(path).suffix)) as file:
            shutil.copyfile(path, file)

    def finish(self, error: str | None = None) -> str | None:
        """Mark the run as finished, or as failed with a reason, and return a sentence with its folder."""
        if self._metrics.closed:
            return None
        self._metrics.close()
        programs = [one._asdict() for one in compiled_programs()[self._compiled_before :]]
        self._write_json(self.path / "programs.json", programs)
        self._write_status("failed" if error else "finished", error)
        return f"Recorded in {short(self.path)}"

    def _write_status(self, status: str, reason: str | None) -> None:
        ended = None if status == "running" else time.strftime("%Y-%m-%dT%H:%M:%S%z")
        self._write_json(
            self.path / "status.json", {"status": status, "reason": reason, "started": self._started, "ended": ended}
        )

    def _write_json(self, path: Path, content: Any) -> None:
        with replacing(path) as file:
            file.write_text(
                json.dumps(finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
            )

    def _fresh(self, kind: str, name: str, suffix: str) -> Path:
        """Return an unused path, because a second figure of the same name must not replace the first."""
        parts = [file_name(part) for part in str(name).removesuffix(suffix).split("/") if part.strip()] or ["unnamed"]
        stem = self.path.joinpath(kind, *parts)
        stem.parent.mkdir(parents=True, exist_ok=True)
        path, count = stem.with_name(stem.name + suffix), 1
        while path.exists():
            count += 1
            path = stem.with_name(f"{stem.name}-{count}{suffix}")
        return path


def read_metrics(path: str | Path) -> list[dict]:
    """Read the lines that `LocalRun.log` wrote, with non-finite floats; an incomplete last line is ignored.

    Args:
      path: the folder of a run, or its metrics.jsonl.
    """
    path = Path(path)
    lines = (path / "metrics.jsonl" if path.is_dir() else path).read_text(encoding="utf-8").split("\n")
    return [restore(json.loads(line)) for line in lines[:-1]]


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


def check_image(figure: Any) -> None:
    """Check that an image can be shown. Other arrays would silently become a black picture.

    Raises:
      TypeError: `figure` is neither a matplotlib figure nor a uint8 image.
    """
    if hasattr(figure, "savefig"):
        return
    dtype = getattr(figure, "dtype", type(figure).__name__)
    if dtype != np.uint8 or np.ndim(figure) not in (2, 3):
        raise TypeError(
            "A figure must be a matplotlib figure or a uint8 image [height, width] or [height, width, 3 or 4]; "
            f"{dtype} with {np.ndim(figure)} dimensions was given. Scale [0, 1] by 255 and convert to uint8."
        )


def short(path: Path) -> str:
    """Return the path relative to the current folder if it lies below it, otherwise the whole path."""
    with contextlib.suppress(ValueError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def file_name(name: str) -> str:
    """Return a text as the name of a file in the same folder; several texts can have the same name."""
    clean = "".join(letter if letter.isalnum() or letter in "-_.+=" else "_" for letter in name.strip())
    return clean.encode()[:_LONGEST_NAME].decode(errors="ignore") if clean.strip(".") else "_"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces the file when it is complete, so that a kill leaves no incomplete file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
