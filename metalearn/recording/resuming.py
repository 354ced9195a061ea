"""Find the run to continue: the given folder, or the newest run with the same configuration."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import yaml

from metalearn.recording.files import RunFolderError, short
from metalearn.recording.folders import file_name, run_folder
from metalearn.recording.lock import is_locked
from metalearn.recording.values import flatten, same, shell_override
from metalearn.recording.weights_and_biases import tell

AUTO = "auto"
_MOST_SHOWN = 5  # differences between two configurations


def folder_to_continue(
    resume: Any,
    folder: str | Path,
    name: str,
    settings: dict,
    may_differ: Collection[str],
    may_grow: Collection[str],
    check: Callable[[Path], None] = lambda path: None,
) -> Path | None:
    """Return the folder of the run to continue, or None for a new run.

    Args:
      resume: the folder of a run, "auto" for the newest run of this name below `folder` with the same configuration, or
        None.
      folder, name: as in `open_run`.
      settings: the resolved configuration without secrets.
      may_differ, may_grow, check: as in `open_run`.

    Raises:
      TypeError: `resume` is not a path.
      RunFolderError: `resume` is not the folder of a run, or its configuration is damaged.
      ValueError: the configuration differs, or `check` refuses the run.
    """
    if resume is None:
        return None
    if not isinstance(resume, str | Path) or not str(resume).strip():
        raise TypeError(f"resume must be the folder of a run, auto, or null; {resume!r} was given.")
    if resume == AUTO:
        return _newest(Path(folder), name, settings, may_differ, may_grow, check)
    path = run_folder(resume)
    before = _read_settings(path)
    if (before.keys() ^ settings.keys()) - set(may_differ):
        raise ValueError(f"{short(path)} is a run of another experiment and cannot be resumed by this one.")
    if refusal := _refusal(path, _differences(before, settings, may_differ, may_grow), check):
        raise refusal
    return path


def _newest(folder, name, settings, may_differ, may_grow, check) -> Path | None:
    """Return the newest run of this name that has this configuration; None if there is no run of this name.

    Raises:
      ValueError: all runs that have ended have other configurations, or `check` refuses them.
    """
    first: ValueError | None = None
    for path in _runs(folder, name):
        try:
            before = _read_settings(run_folder(path))
        except RunFolderError as error:
            tell(f"A run is left out: {error}")
            continue
        refusal = _refusal(path, _differences(before, settings, may_differ, may_grow), check)
        if refusal is None:
            return path.resolve()
        if first is None and not is_locked(path):
            first = refusal
    if first is not None:
        raise first
    return None


def _runs(folder: Path, name: str) -> list[Path]:
    """Return the folders that `make_run_folder` made for this name, the newest first."""
    made = re.compile(rf"(\d{{4}}-\d\d-\d\d-\d{{6}})-{re.escape(file_name(name))}(?:-(\d+))?")
    found = [(match[1], int(match[2] or 1), path) for path in folder.glob("*") if (match := made.fullmatch(path.name))]
    return [path for _, _, path in sorted(found, reverse=True)]


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        found = None
    if not isinstance(found, dict):
        raise RunFolderError(f"{short(path / 'config.yaml')} is damaged; this run cannot be resumed. Start a new one.")
    return found


def _differences(before: dict, now: dict, may_differ: Collection[str], may_grow: Collection[str]) -> dict[str, tuple]:
    """Return name -> (before, now) of all entries that may not differ."""
    one, other = (
        {key.replace("/", "."): value for key, value in flatten(settings).items()} for settings in (before, now)
    )
    found = {}
    for name in dict.fromkeys([*other, *one]):
        free = any(name == some or name.startswith(f"{some}.") for some in may_differ)
        pair = one.get(name, "nothing"), other.get(name, "nothing")
        grown = name in may_grow and _is_larger(*pair)
        if not free and not grown and not same(*pair):
            found[name] = pair
    return found


def _is_larger(before, now) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (before, now))
    return numbers and now > before


def _refusal(path: Path, differences: dict[str, tuple], check: Callable[[Path], None]) -> ValueError | None:
    """Return the error of a run that cannot be continued: its configuration differs, or `check` raises the error."""
    if not differences:
        try:
            check(path)
        except ValueError as error:
            return error
        return None
    (name, (before, now)), *others = differences.items()
    shown = [f"{entry} = {pair[0]!r}, here {pair[1]!r}" for entry, pair in others[:_MOST_SHOWN]]
    more = f" and {len(others) - len(shown)} more" if len(others) > len(shown) else ""
    also = f" It also had {'; '.join(shown)}{more}." if shown else ""
    return ValueError(
        f"{short(path)} was run with {name} = {before!r} and cannot be resumed with {now!r}.{also} Repeat its command with "
        f"{shell_override('resume', short(path))} added, or start a new run."
    )
