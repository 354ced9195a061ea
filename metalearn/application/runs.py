"""The run of an experiment, with a copy of the file of its problem."""

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from metalearn.application.command_line import output_folder
from metalearn.application.mistakes import sentence
from metalearn.application.problem_files import find_file, imported_bytes
from metalearn.application.studies import check_keys
from metalearn.recording import Run, open_run
from metalearn.recording.files import replacing, short
from metalearn.recording.processes import is_first

COPY = "problem.py"  # name of the problem's file in the folder of a run
OF_TRACKER = ("mode", "project", "entity", "group", "tags", "wandb_id")


def open_experiment(config: Any, name: str, *, may_differ: Collection[str] = (), may_grow: Collection[str] = ()) -> Run:
    """Open the run that a configuration describes, with its `folder`, `tracker` and `resume`.

    The file of problem=FILE:FUNCTION, as it was when it was imported, is copied to problem.py in the folder of the run.
    Modules that it imports are not.
    A run with another file counts as one with another configuration: it cannot be resumed, and is not changed.

    Args:
      config: the configuration of an experiment.
      name, may_differ, may_grow: as in `open_run`.

    Raises:
      TypeError, ValueError, RunFolderError: as in `open_run`; `tracker` has an unknown entry; or the file of the
        problem has changed since the run to resume.
    """
    if not isinstance(config.tracker, Mapping):
        raise ValueError(f"tracker must be offline, online or none; {config.tracker!r} was given.")
    check_keys("tracker", config.tracker, OF_TRACKER)
    settings = config.get("problem")
    address = settings.get("study") if isinstance(settings, Mapping) else None
    file = None if address is None else find_file(address)
    may = {"may_differ": may_differ, "may_grow": may_grow}
    check = lambda folder: None if file is None else _check_unchanged(file, folder / COPY)
    run = open_run(
        output_folder(), config, name=name, resume=config.get("resume"), check=check, is_refusal=is_refusal,
        **may, **config.tracker,
    )  # fmt: skip
    if file is not None and is_first() and not (copy := run.folder / COPY).is_file():
        try:
            with replacing(copy) as path:
                path.write_bytes(imported_bytes(file))
        except BaseException as error:
            run.__exit__(type(error), error, None)
            raise
    return run


def is_refusal(error: BaseException) -> bool:
    """Return whether an error says that the configuration is wrong, and not that a file cannot be written."""
    return not isinstance(error, OSError) and sentence(error) is not None


def _check_unchanged(file: Path, copy: Path) -> None:
    if not copy.is_file() or copy.read_bytes() == imported_bytes(file):
        return
    contents = copy.read_bytes(), imported_bytes(file)
    before, now = (content.decode("utf-8", "replace").splitlines() for content in contents)
    first = next(
        (change for change in difflib.SequenceMatcher(None, before, now, False).get_opcodes() if change[0] != "equal"),
        None,
    )
    where = f" from line {first[3] + 1} on" if first else ""
    raise ValueError(
        f"{short(file)} differs{where} from {short(copy)}, the file with which the run was started, so the run "
        f"cannot be resumed. Restore that file, or start a new run."
    )
