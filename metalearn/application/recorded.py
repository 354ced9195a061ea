"""Open the run of an experiment, in the same way for all of them."""

from collections.abc import Collection, Mapping
from typing import Any

from metalearn.application.command_line import output_folder
from metalearn.application.studies import check_keys
from metalearn.recording import Run, open_run

OF_TRACKER = ("mode", "project", "entity", "group", "tags", "wandb_id")


def open_experiment(config: Any, name: str, *, may_differ: Collection[str] = (), may_grow: Collection[str] = ()) -> Run:
    """Open the run of a configuration with `folder`, `tracker` and `resume`: a new one, or one that goes on.

    Args:
      config: the configuration.
      name, may_differ, may_grow: as in `open_run`.

    Raises:
      TypeError, ValueError, RunFolderError: as in `open_run`, or `tracker` has an entry that nothing reads.
    """
    if not isinstance(config.tracker, Mapping):
        raise ValueError(f"tracker must be offline, online or none; {config.tracker!r} was given.")
    check_keys("tracker", config.tracker, OF_TRACKER)
    found = {"may_differ": may_differ, "may_grow": may_grow, **config.tracker}
    return open_run(output_folder(), config, name=name, resume=config.resume, **found)
