"""The folder of a run: all its results, readable without any service, and kept if the run is killed.

    runs/2026-11-20-181503-compare/
      config.yaml       the resolved configuration; secrets are replaced by "<hidden>"
      provenance.json   commit, versions, device, command line
      status.json       running, finished or failed, with the reason; `read_status` distinguishes killed from running
      metrics.jsonl     one line per call of `log`, flushed immediately
      lock              held by the process that writes the run, as long as it lives
      programs.json     the compiled programs, with effort and seconds; written at the end
      figures/*.png  tables/*.json *.csv  arrays/*.npz  files/*

JSON cannot represent floats that are not finite. They are written as the strings "nan", "inf" and "-inf", which
Python's `float` reads. `read_metrics` converts them back.
"""

import csv
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.compilation import compiled_programs
from metalearn.recording import log_file
from metalearn.recording.files import remove_leftovers, replacing, short, write_failed
from metalearn.recording.folders import file_name
from metalearn.recording.lock import FolderLock
from metalearn.recording.log_file import LogFile, read_lines
from metalearn.recording.values import columns, finite, flatten, plain, save_arrays


class LocalRun:
    """A tracker that writes to one folder."""

    def __init__(self, path: Path, config: dict, provenance: dict):
        """Write the configuration and the provenance. The caller must hide secrets.

        Args:
          path: an existing folder for this run only; that of an earlier run is continued.
          config: the resolved configuration.
          provenance: the result of `collect_provenance`.

        Raises:
          RunFolderError: another process writes to the folder.
          OSError: the folder cannot be written.
        """
        import yaml

        self.path = path
        self._lock = FolderLock(path)
        self._used: set[str] = set()
        remove_leftovers(path)
        self._finished_before = _files_of_finished(path)
        self._metrics = LogFile(path / log_file.NAME)
        self._begin = time.monotonic() - self._metrics.seconds
        self._compiled_before = len(compiled_programs())
        self._started = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        with replacing(path / "config.yaml") as file:
            file.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
        self._write_json(path / "provenance.json", provenance)
        self._write_status("running", None)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Append one line, unless the line of this step and these names was written before the run was resumed."""
        clock = {"outer_step": int(step), "seconds": round(time.monotonic() - self._begin, 3)}
        record = clock | flatten(metrics) | {"outer_step": int(step)}
        self._metrics.append(record)

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
        """Copy an existing file, such as a film or a report, to files/.

        Raises:
          FileNotFoundError: there is no such file.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"There is no file {str(path)!r} to record as {name!r}.")
        with replacing(self._fresh("files", name, Path(path).suffix)) as file:
            shutil.copyfile(path, file)

    def finish(self, error: str | None = None) -> str | None:
        """Mark the run as finished, or as failed with a reason, and return a sentence with its folder.

        A finished run that was resumed, and failed before anything was recorded, stays as it was.
        """
        if self._metrics.closed:
            return None
        self._metrics.close()
        if error and self._finished_before and not self._used and not self._metrics.appended:
            try:
                for path, content in self._finished_before.items():
                    with replacing(path) as file:
                        file.write_bytes(content)
            finally:
                self._lock.release()
            return f"Nothing was recorded, and {short(self.path)} is as it was before."
        programs = [one._asdict() for one in compiled_programs()[self._compiled_before :]]
        try:
            self._write_json(self.path / "programs.json", programs)
            self._write_status("failed" if error else "finished", error)
        finally:
            self._lock.release()
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
        """Return a path that this process has not used yet; files of an earlier process are replaced."""
        parts = [file_name(part) for part in str(name).removesuffix(suffix).split("/") if part.strip()] or ["unnamed"]
        stem = self.path.joinpath(kind, *parts)
        path, count = stem.with_name(stem.name + suffix), 1
        while str(path).casefold() in self._used:
            count += 1
            path = stem.with_name(f"{stem.name}-{count}{suffix}")
        self._used.add(str(path).casefold())
        try:
            if not self.path.is_dir():
                raise FileNotFoundError
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_failed(path, error) from error
        return path


def _files_of_finished(folder: Path) -> dict[Path, bytes]:
    """Return what describes a finished run, by file; nothing if the run is new, unfinished or damaged."""
    paths = [folder / name for name in ("config.yaml", "provenance.json", "status.json")]
    try:
        found = {path: path.read_bytes() for path in paths}
        return found if json.loads(found[paths[-1]])["status"] == "finished" else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def read_metrics(path: str | Path) -> list[dict]:
    """Read the lines that `LocalRun.log` wrote, with non-finite floats; an incomplete last line is ignored.

    Args:
      path: the folder of a run, or its metrics.jsonl.

    Warns:
      UserWarning: another line cannot be read; it is left out.
    """
    path = Path(path)
    return read_lines(path / log_file.NAME if path.is_dir() else path)


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
