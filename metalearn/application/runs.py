"""The run of an experiment, which keeps the file that its problem came from."""

import difflib
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from metalearn.application.command_line import output_folder
from metalearn.application.problem_files import file_of
from metalearn.recording import Run, open_run
from metalearn.recording.run_folder import replacing, run_folder, short

COPY = "problem.py"  # of the problem's file, in the folder of a run


def open_experiment(config: Any, name: str, may_differ: Collection[str] = ()) -> Run:
    """Open the run that a configuration describes, with its `folder`, `tracker` and `resume`.

    The file of problem=FILE:FUNCTION is copied to problem.py in the folder of the run. Modules that it imports are not.

    Args:
      config: the configuration of an experiment.
      name, may_differ: as in `open_run`.

    Raises:
      OSError, TypeError, ValueError: as in `open_run`.
      ValueError: the file of the problem has changed since the run that is to be resumed.
    """
    settings, resume = config.get("problem"), config.get("resume")
    address = settings.get("study") if isinstance(settings, Mapping) else None
    file = None if address is None else file_of(address)
    if file is not None and resume is not None:
        _check_unchanged(file, run_folder(resume) / COPY)
    run = open_run(output_folder(), config, name=name, resume=resume, may_differ=may_differ, **config.tracker)
    if file is not None:
        with replacing(run.folder / COPY) as copy:
            shutil.copyfile(file, copy)
    return run


def _check_unchanged(file: Path, copy: Path) -> None:
    if not copy.is_file() or copy.read_bytes() == file.read_bytes():
        return
    before, now = (path.read_text(encoding="utf-8", errors="replace").splitlines() for path in (copy, file))
    first = next(
        (change for change in difflib.SequenceMatcher(None, before, now, False).get_opcodes() if change[0] != "equal"),
        None,
    )
    where = f" from line {first[3] + 1} on" if first else ""
    raise ValueError(
        f"{short(file)} differs{where} from {short(copy)}, the file that the run was started with, so that the run cannot "
        "be resumed. Put that file back, or start a new run."
    )
