"""Runs are recorded in their folder, always, and in Weights & Biases, offline unless asked otherwise.

    with open_run("runs", config, name="compare") as run:
        run.log({"loss": 0.5}, step=0)
        run.figure("losses", figure)

The folder is the record, and W&B is a view of it: a run needs no account, network or service.
"""

import importlib.metadata
import shlex
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from metalearn.recording.run_folder import LocalRun, check_image, make_run_folder, run_folder, short, unwritable
from metalearn.recording.secrets import hide, known_secrets, scrub, scrub_arguments
from metalearn.recording.values import plain, same, shell_override
from metalearn.recording.weights_and_biases import WandbRun, first_line, open_wandb, tell

MODES = ("offline", "online", "disabled")


class Tracker(Protocol):
    """Where a run's results go. `finish` returns a sentence on where they are."""

    def log(self, metrics: Mapping[str, Any], step: int) -> None: ...
    def figure(self, name: str, figure: Any) -> None: ...
    def table(self, name: str, rows: list[dict]) -> None: ...
    def arrays(self, name: str, arrays: Mapping[str, Any]) -> None: ...
    def file(self, name: str, path: str | Path) -> None: ...
    def finish(self, error: str | None = None) -> str | None: ...


class Run:
    """An open run: a tracker that hands everything to its trackers, the folder first.

    Used as a context manager; an exception inside marks the run as failed, with its reason, and is passed on.

    Attributes:
      folder: the folder of this run, a place for checkpoints too.
      trackers: those it hands to.
    """

    def __init__(self, folder: Path, trackers: tuple[Tracker, ...], secrets: list[str], resumable: bool = False):
        self.folder = folder
        self.trackers = trackers
        self._secrets = secrets
        self._resumable = resumable
        self._finished = False

    @property
    def wandb_id(self) -> str | None:
        """The id of the W&B run, for a checkpoint; None without W&B."""
        return next((tracker.run.id for tracker in self.trackers if isinstance(tracker, WandbRun)), None)

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Record named scalars (or small arrays) at an outer step; nested dictionaries get names such as "es/loss"."""
        for tracker in self.trackers:
            tracker.log(metrics, step)

    def figure(self, name: str, figure: Any) -> None:
        """Record a matplotlib figure, a function that draws one (`later`), or a uint8 array [height, width(, 3 or 4)].

        Where it cannot be drawn, a sentence on stderr says so, and the run goes on.
        """
        if not callable(figure):
            check_image(figure)
        try:
            figure = figure() if callable(figure) else figure
            for tracker in self.trackers:
                tracker.figure(name, figure)
        except OSError:
            raise
        except Exception as error:
            tell(f"The figure {name!r} could not be drawn, and the run goes on without it: {first_line(error)}")

    def table(self, name: str, rows: list[dict]) -> None:
        """Record a table, one dictionary per row."""
        for tracker in self.trackers:
            tracker.table(name, rows)

    def arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Record named arrays, as one .npz."""
        for tracker in self.trackers:
            tracker.arrays(name, arrays)

    def file(self, name: str, path: str | Path) -> None:
        """Record a file that is written already, such as a film or a report."""
        for tracker in self.trackers:
            tracker.file(name, path)

    def finish(self, error: str | None = None) -> str | None:
        """Close everything once; returns and prints where the run is and how to upload it."""
        if self._finished:
            return None
        self._finished = True
        reason = scrub(error, self._secrets) if error else None
        sentences = [sentence for tracker in self.trackers if (sentence := tracker.finish(reason))]
        print("\n".join(sentences), flush=True)
        return "\n".join(sentences)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.finish(f"KeyboardInterrupt: stopped by {str(error) or 'Ctrl-C'}")
            if self._resumable:
                print(f"Go on with the same command and {shell_override('resume', short(self.folder))}", flush=True)
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
) -> Run:
    """Open a run: its folder <folder>/<timestamp>-<name> and, beside it, W&B.

    Configuration entries that look like a key, token, password or secret are written as "<hidden>", here and in W&B.

    Args:
      folder: where the folders of runs lie; created where missing.
      config: the configuration, of Hydra or any nested dictionary, dataclass or NamedTuple.
      name: what the run does, in a word.
      mode: "offline" writes W&B files without a network or an account; "online" sends them, and falls back to offline;
        "disabled" leaves W&B out.
      project: the W&B project.
      entity: the W&B user or team; the account's own by default.
      group: the W&B group, for runs that belong together.
      tags: the W&B tags.
      wandb_id: the id of a W&B run to continue, from `Run.wandb_id`; honoured online only.
      resume: the folder of a run of the same configuration, to which this one adds in place of making a new folder.
      may_differ: entries of the configuration, beside `resume`, `tracker` and `folder`, that a resumed run may change.

    Raises:
      RunFolderError: the folder cannot be written, or the one to resume is no run's.
      ValueError: the mode is unknown, or the run to resume had another configuration.
    """
    if mode not in MODES:
        raise ValueError(f"The tracking mode must be one of {', '.join(MODES)}; {mode!r} was given.")
    settings = _resolved(config)
    secrets = known_secrets(settings)
    settings = hide(settings, secrets)
    provenance = collect_provenance(secrets)
    path = make_run_folder(folder, name) if resume is None else run_folder(resume)
    if resume is not None:
        _check_same(path, settings, {"resume", "tracker", "folder", *may_differ})
    try:
        local = LocalRun(path, settings, provenance)
    except OSError as error:
        raise unwritable(path, error) from error
    beside = None
    if mode != "disabled":
        labels = {"project": project, "entity": entity, "group": group, "tags": list(tags), "wandb_id": wandb_id}
        beside = open_wandb(path, {**settings, "provenance": provenance}, mode=mode, **labels)
    trackers = (local,) if beside is None else (local, beside)
    return Run(path, trackers, secrets, resumable="resume" in settings)


def collect_provenance(secrets: list[str] | None = None) -> dict:
    """What made a result: commit, versions, device, command line and time; neither environment nor the machine's name.

    Args:
      secrets: texts that must not appear, beyond the values of options whose names look like secrets.
    """
    device = jax.devices()[0]
    return {
        "command": shlex.join(scrub_arguments(sys.argv, secrets or ())),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "git": _git_state(),
        "versions": {
            "python": ".".join(map(str, sys.version_info[:3])),
            "metalearn": _version("metalearn"),
            "jax": jax.__version__,
            "numpy": np.__version__,
        },
        "device": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
    }


def _git_state() -> dict | None:
    """Commit and dirty flag of the repository that the run was started in; None where there is none."""
    try:
        commit = _git("rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL
    ).stdout.strip()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _check_same(path: Path, settings: dict, ignored: set[str]) -> None:
    """Refuse to go on in a folder with other settings, before anything in it is touched."""
    import yaml

    before = yaml.safe_load((path / "config.yaml").read_text(encoding="utf-8"))
    before, now = ({k: v for k, v in part.items() if k not in ignored} for part in (before, settings))
    if before.keys() != now.keys():
        raise ValueError(f"{short(path)} is a run of another experiment and cannot be resumed by this one.")
    for name, value in now.items():
        if not same(before[name], value):
            raise ValueError(
                f"{short(path)} was run with {name} = {before[name]!r} and cannot be resumed with {value!r}. Repeat its "
                f"command with {shell_override('resume', short(path))} added, or start a new run."
            )


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
