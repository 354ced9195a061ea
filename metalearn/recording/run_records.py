"""Find the folders of runs and read back what they recorded: configuration, overrides and tables."""

import glob
import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metalearn.recording.files import RunFolderError, short
from metalearn.recording.values import flatten, restore

MARKS = (
    "status.json",
    "config.yaml",
    "provenance.json",
    "metrics.jsonl",
)  # a folder with one of these files is that of a run
PLACES = (
    "folder",
    "tracker",
    "resume",
    "trusted",
)  # settings of the location of a run, which do not affect its results
COLLECTED = "collected"  # an entry of the configuration of a collection, which is also a run


class RunRecord(NamedTuple):
    """The records of a finished run.

    Attributes:
      name: the name of its folder.
      experiment: the name of the experiment, such as "compare".
      config: the resolved configuration by path, {"outer.num_steps": 500}, without the location of the run.
      overrides: the settings that the command line changed, with their values in the configuration.
      tables: name -> rows.
    """

    name: str
    experiment: str
    config: dict[str, Any]
    overrides: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]


def find_runs(paths: Iterable[str | Path]) -> tuple[list[Path], list[str]]:
    """Return the given run folders, or those in a given folder, and a sentence about each other folder.

    Args:
      paths: folders, also with the wildcards of a shell.
    """
    found: dict[Path, Path] = {}
    skipped: list[str] = []
    for given in paths:
        path = Path(given)
        matches = [path] if path.exists() else [Path(one) for one in sorted(glob.glob(str(given), recursive=True))]
        folders = [one for one in matches if one.is_dir()]
        if not folders:
            what = "is a file, not the folder of a run" if matches else "does not exist"
            skipped.append(f"{given} {what}.")
        for folder in folders:
            runs, others = _below(folder)
            found |= {run.resolve(): run for run in runs if run.resolve() not in found}
            skipped += [one for one in others if one not in skipped]
    return list(found.values()), skipped


def _below(folder: Path) -> tuple[list[Path], list[str]]:
    """Return the runs in a folder, and sentences about its subfolders without runs."""
    if any((folder / name).exists() for name in MARKS):
        return [folder], []
    try:
        inside = [_below(one) for one in sorted(folder.iterdir()) if one.is_dir() and not one.is_symlink()]
    except OSError as error:
        return [], [f"{short(folder)} cannot be read: {(error.strerror or str(error)).lower()}."]
    runs = [run for runs, _ in inside for run in runs]
    if not runs:
        return [], [f"{short(folder)} holds no run."]
    return runs, [sentence for _, skipped in inside for sentence in skipped]


def read_run(folder: str | Path) -> RunRecord:
    """Read a finished run.

    Raises:
      RunFolderError: the folder is damaged or of another program, or the run is unfinished, failed or a collection.
    """
    folder = Path(folder)
    status = _mapping(folder, "status.json").get("status")
    if status != "finished":
        reason = _mapping(folder, "status.json").get("reason")
        words = {"running": "is unfinished: it was killed, or is still running", "failed": f"failed: {reason}"}
        raise RunFolderError(f"{short(folder)} {words.get(str(status), 'is damaged: its status is unknown')}.")
    config, provenance = _mapping(folder, "config.yaml"), _mapping(folder, "provenance.json")
    command = _words(folder, provenance)
    if COLLECTED in config:
        raise RunFolderError(f"{short(folder)} is a collection of other runs.")
    flat = {
        key.replace("/", "."): value for key, value in flatten(config).items() if key.partition("/")[0] not in PLACES
    }
    tables = {path.stem: list(_table(folder, path)) for path in sorted((folder / "tables").glob("*.json"))}
    return RunRecord(folder.name, Path(command[0]).stem, flat, dict(_overrides(command[1:], flat)), tables)


def _words(folder: Path, provenance: dict) -> list[str]:
    try:
        command = shlex.split(provenance["command"])
    except (KeyError, AttributeError, ValueError):
        command = []
    if not command:
        raise RunFolderError(f"{short(folder)} is damaged: its provenance.json has no command.")
    return command


def _overrides(words: list[str], config: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for word in words:
        key, equals, value = word.lstrip("+").partition("=")
        if equals and not key.startswith(("-", "~", "hydra")) and key.partition(".")[0] not in PLACES:
            yield key, config.get(key, value)


def _table(folder: Path, path: Path) -> Iterator[dict[str, Any]]:
    rows = _json(folder, path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RunFolderError(f"{short(folder)} is damaged: {path.relative_to(folder)} is not a table.")
    yield from rows


def _mapping(folder: Path, name: str) -> dict[str, Any]:
    content = _json(folder, folder / name)
    if not isinstance(content, dict):
        raise RunFolderError(f"{short(folder)} is damaged: {name} has no named entries.")
    return content


def _json(folder: Path, path: Path) -> Any:
    """Return the content of a JSON or YAML file."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        return restore(json.loads(text)) if path.suffix == ".json" else yaml.safe_load(text)
    except FileNotFoundError:
        raise RunFolderError(
            f"{short(folder)} is damaged, or of another program: it has no {path.relative_to(folder)}."
        ) from None
    except OSError as error:
        raise RunFolderError(f"{short(path)} cannot be read: {(error.strerror or str(error)).lower()}.") from None
    except (ValueError, RecursionError, yaml.YAMLError):
        raise RunFolderError(f"{short(folder)} is damaged: {path.relative_to(folder)} is incomplete.") from None
