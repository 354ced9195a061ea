"""Record runs in a folder, and optionally in Weights & Biases, which is offline by default.

    with open_run("runs", config, name="compare") as run:
        run.log({"loss": 0.5}, step=0)
        run.figure("losses", figure)

The folder is the complete record, and W&B is a copy: a run needs no account, network or service.
"""

import shutil
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from metalearn.recording.files import RunFolderError, short
from metalearn.recording.folders import has_results, make_run_folder, unwritable
from metalearn.recording.processes import in_first_process, is_first
from metalearn.recording.provenance import collect_provenance
from metalearn.recording.resuming import folder_to_continue
from metalearn.recording.run_folder import LocalRun, check_image
from metalearn.recording.secrets import hide, known_secrets, scrub, scrub_all
from metalearn.recording.values import plain, shell_override
from metalearn.recording.weights_and_biases import WandbRun, first_line, open_wandb, tell

MODES = ("offline", "online", "disabled")


class Tracker(Protocol):
    """The interface of a tracker, which records results. `finish` returns a sentence with their location."""

    def log(self, metrics: Mapping[str, Any], step: int) -> None: ...
    def figure(self, name: str, figure: Any) -> None: ...
    def table(self, name: str, rows: list[dict]) -> None: ...
    def arrays(self, name: str, arrays: Mapping[str, Any]) -> None: ...
    def file(self, name: str, path: str | Path) -> None: ...
    def finish(self, error: str | None = None) -> str | None: ...


class Run:
    """An open run, which passes everything to its trackers, to the folder first, without secrets.

    Use it as a context manager. An exception inside marks the run as failed, with its reason, and is raised again.

    Attributes:
      folder, trackers: the folder of this run, where checkpoints can also be stored, and the trackers.
    """

    def __init__(
        self,
        folder: Path,
        trackers: tuple[Tracker, ...],
        secrets: list[str],
        resumable: bool = False,
        leaves_nothing: Callable[[BaseException], bool] = lambda error: False,
    ):
        self.folder = folder
        self._leaves_nothing = leaves_nothing
        self.trackers = trackers
        self._secrets = secrets
        self._resumable = resumable
        self._finished = False

    @property
    def wandb_id(self) -> str | None:
        """Return the id of the W&B run, for storage in a checkpoint; None without W&B."""
        return next((tracker.run.id for tracker in self.trackers if isinstance(tracker, WandbRun)), None)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Record named scalars (or small arrays) at an outer step; nested dictionaries get names such as "es/loss"."""
        for tracker in self._open():
            tracker.log(scrub_all(metrics, self._secrets), step)

    def figure(self, name: str, figure: Any) -> None:
        """Record a matplotlib figure, a function that draws one (`later`), or a uint8 array [height, width(, 3 or 4)].

        If the figure cannot be drawn, a message is printed to stderr, and the run continues.
        """
        trackers = self._open()
        if not callable(figure):
            check_image(figure)
        try:
            figure = figure() if callable(figure) else figure
            for tracker in trackers:
                tracker.figure(scrub(name, self._secrets), figure)
        except OSError:
            raise
        except Exception as error:
            tell(f"The figure {name!r} could not be drawn, and the run continues without it: {first_line(error)}")

    def table(self, name: str, rows: list[dict]) -> None:
        """Record a table, one dictionary per row."""
        for tracker in self._open():
            tracker.table(scrub(name, self._secrets), [scrub_all(row, self._secrets) for row in rows])

    def arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Record named arrays as one .npz file."""
        for tracker in self._open():
            tracker.arrays(scrub(name, self._secrets), arrays)

    def file(self, name: str, path: str | Path) -> None:
        """Record an existing file, such as a film or a report."""
        for tracker in self._open():
            tracker.file(scrub(name, self._secrets), path)

    def _open(self) -> tuple[Tracker, ...]:
        if self._finished:
            raise ValueError(
                f"This run is finished, and nothing more can be recorded in {short(self.folder)}; record before `finish` "
                "and inside of `with open_run(...) as run:`, or continue the run with open_run(..., resume=folder)."
            )
        return self.trackers

    def finish(self, error: str | None = None) -> str | None:
        """Close all trackers once; print and return the location of the run and the command to upload it."""
        if self._finished:
            return None
        sentences = self._close(error)
        if sentences:
            print("\n".join(sentences), flush=True)
        return "\n".join(sentences)

    def _close(self, error: str | None) -> list[str]:
        self._finished = True
        reason = scrub(error, self._secrets) if error else None
        return [sentence for tracker in self.trackers if (sentence := tracker.finish(reason))]

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.finish(f"KeyboardInterrupt: stopped by {str(error) or 'Ctrl-C'}")
            if self._resumable:
                print(f"Continue with the same command and {shell_override('resume', short(self.folder))}", flush=True)
        elif error is not None and not self._finished and self.trackers and self._leaves_nothing(error):
            self._close(str(error))
            shutil.rmtree(self.folder, ignore_errors=True)
        elif error is not None and not (isinstance(error, SystemExit) and error.code in (None, 0)):
            self.finish(f"{type(error).__name__}: {error}")
        else:
            self.finish()


def open_run(
    folder: str | Path,
    config: Any,
    *,
    name: str = "run",
    mode: str = "offline",
    project: str = "metalearn",
    entity: str | None = None,
    group: str | None = None,
    tags: tuple[str, ...] | list[str] = (),
    wandb_id: str | None = None,
    resume: str | Path | None = None,
    may_differ: Collection[str] = (),
    may_grow: Collection[str] = (),
    check: Callable[[Path], None] = lambda folder: None,
    is_refusal: Callable[[BaseException], bool] = lambda error: False,
) -> Run:
    """Open a run in the folder <folder>/<timestamp>-<name> and in W&B.

    Configuration entries with names like key, token, password or secret are written as "<hidden>". Of several processes
    (`jax.distributed`) the first writes, and `Run.trackers` of the others is empty.

    Args:
      folder: the parent of the run folders; it is created if it does not exist.
      config: the configuration, of Hydra or any nested dictionary, dataclass or NamedTuple.
      name: one word that describes the run.
      mode: "offline" writes W&B files without network and account; "online" uploads them, or falls back to "offline";
        "disabled" does not use W&B.
      project: the W&B project.
      entity: the W&B user or team; by default that of the account.
      group, tags: the W&B group, for related runs, and the W&B tags.
      wandb_id: the id of a W&B run to continue, from `Run.wandb_id`; by default that of the run to resume.
      resume: the folder of a run to continue, instead of a new one. Its metrics are kept, and existing lines are not
        written again; figures, tables and arrays are replaced by new ones. It must have the same configuration, and no
        other process may be writing to it. "auto" continues the newest run of this name below `folder` with this
        configuration, and begins a new one if there is no run of this name.
      may_differ: entries of the configuration, besides `resume`, `tracker` and `folder`, that a resumed run may change;
        "outer.num_steps" is an entry of the entry "outer".
      may_grow: numbers of the configuration that a resumed run may increase.
      check: a function that is called with the folder of a run of the same configuration, before that run is changed.
        It refuses the run with a `ValueError`; "auto" then looks for an earlier one.
      is_refusal: whether an error says that the configuration is wrong. If it ends a new run in which nothing is
        recorded, the folder is removed.

    Raises:
      RunFolderError: the folder cannot be written, `resume` is not the folder of a run, or that run is still alive.
      TypeError: `config` has no named entries, `resume` is not a path, or a label of W&B is not a string.
      ValueError: the mode is unknown, or the run to resume had another configuration or is refused by `check`.
    """
    if mode not in MODES:
        raise ValueError(f"The tracking mode must be one of {', '.join(MODES)}; {mode!r} was given.")
    _check_labels({"project": project, "entity": entity, "group": group, "wandb_id": wandb_id}, tags)
    settings = _resolved(config)
    secrets = known_secrets(settings, sys.argv)
    settings = hide(settings, secrets)
    provenance = collect_provenance(secrets)
    trackers: list[Tracker] = []
    begun: list[bool] = []  # whether the folder is new, in the first process

    def begin() -> Path:
        free = {"resume", "tracker", "folder", "trusted", *may_differ}
        before = folder_to_continue(resume, folder, name, settings, free, may_grow, check)
        path = before or make_run_folder(folder, name)
        begun.append(before is None)
        try:
            trackers.append(LocalRun(path, settings, provenance))
        except RunFolderError:
            raise
        except OSError as error:
            raise unwritable(path, error) from error
        return path

    path = in_first_process(begin)
    if mode != "disabled" and is_first():
        labels = {"project": project, "entity": entity, "group": group, "tags": list(tags), "wandb_id": wandb_id}
        beside = open_wandb(path, {**settings, "provenance": provenance}, mode=mode, **labels)
        trackers += [] if beside is None else [beside]
    leaves_nothing = lambda error: begun == [True] and is_refusal(error) and not has_results(path)
    return Run(path, tuple(trackers), secrets, "resume" in settings, leaves_nothing)


def _check_labels(labels: Mapping[str, Any], tags: Any) -> None:
    """Check that W&B accepts the labels, before a folder is created.

    Raises:
      TypeError: a label is not a string, or the tags are not a list of strings.
    """
    for name, label in labels.items():
        if label is not None and not isinstance(label, str):
            raise TypeError(f"{name} of the tracker must be a string; {label!r} was given.")
    if isinstance(tags, str) or not isinstance(tags, Sequence) or not all(isinstance(tag, str) for tag in tags):
        raise TypeError(f"tags of the tracker must be a list of strings, such as [first, second]; {tags!r} was given.")


def _resolved(config: Any) -> dict:
    from omegaconf import OmegaConf

    if OmegaConf.is_config(config):
        config = OmegaConf.to_container(config, resolve=True, throw_on_missing=True, enum_to_str=True)
    settings = plain(config or {})
    if not isinstance(settings, dict):
        raise TypeError(
            f"The configuration of a run must have named entries; {type(config).__name__} was given. Give a dictionary."
        )
    return settings
