"""Record a run in Weights & Biases as well, as a copy of the run folder that no result depends on."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.recording.files import tell
from metalearn.recording.run_folder import check_image
from metalearn.recording.values import columns, flatten, plain, save_arrays
from metalearn.recording.wandb_media import cell, drawn, staging_in
from metalearn.recording.wandb_parts import find_parts, find_refusal, last_id, sync_command

SECONDS_LOST = 1.0  # seconds between two writes of W&B's file; a killed run loses at most this
MOST_STEPS = 10**6  # W&B's counter of calls in one part; it drops calls with a smaller counter
SECONDS_TO_FINISH = 60.0  # the longest wait for uploads at the end of a run
_FINISH = "finish_timeout"
_FLUSH = "x_transaction_log_flush_interval"
_FILMS = (".mp4", ".gif", ".webm", ".ogg")


class WandbRun:
    """A tracker for an open `wandb` run. It raises no errors of W&B: the first is printed, and the run continues."""

    def __init__(
        self, run: Any, first_step: int | None = None, offline_part: Callable[[], "WandbRun | None"] | None = None
    ):
        """Take over an open run.

        Args:
          run: the result of `wandb.init`.
          first_step: where the steps of a continued run begin, after those of its other parts.
          offline_part: a function that begins an offline part of the same run, for what an online run cannot send.
        """
        self.run = run
        self._told = False
        self._late: list[Callable[[], Any]] = []
        self._empty_part = first_step is not None
        self._offline_part = offline_part
        self._next = {} if first_step is None else {"step": first_step, "commit": True}

    def _log(self, values: dict[str, Any]) -> None:
        self.run.log(values, **self._next)
        self._next = {}

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log with our own `outer_step`, because W&B silently drops values whose `step=` is older than the last."""
        values = {name: plain(value) for name, value in flatten(metrics).items()}
        self._guard(lambda: self._log({**values, "outer_step": int(step)}))

    def figure(self, name: str, figure: Any) -> None:
        """Send a matplotlib figure or a uint8 image."""

        def send():
            import wandb

            check_image(figure)
            self._log({name: wandb.Image(drawn(figure) if hasattr(figure, "savefig") else np.asarray(figure))})

        self._guard(send)

    def table(self, name: str, rows: list[dict]) -> None:
        """Send rows as a table."""

        def send():
            import wandb

            names, entries = columns(rows), [plain(row) for row in rows]
            data: Any = [[cell(entry.get(column)) for column in names] for entry in entries]
            with staging_in(Path(self.run.settings.sync_dir)):
                self._log({name: wandb.Table(columns=list(names), data=data, allow_mixed_types=True)})

        self._guard(send, asks_server=True)

    def arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Send arrays as one .npz file, which is an artifact of the run."""

        def send():
            import wandb

            path = self._path_for(f"arrays/{name}.npz")
            save_arrays(path, arrays)
            with staging_in(Path(self.run.settings.sync_dir)):
                artifact = wandb.Artifact(f"{self.run.id}-{name.replace('/', '-')}", type="arrays")
                artifact.add_file(str(path))
                self.run.log_artifact(artifact)

        self._guard(send, asks_server=True)

    def file(self, name: str, path: str | Path) -> None:
        """Save an existing file; films can be played in the browser."""

        def send():
            import wandb

            suffix = Path(path).suffix
            if suffix in _FILMS:
                self._log({name: wandb.Video(str(path), format=suffix[1:])})  # type: ignore[arg-type]
            else:
                self._save(Path(shutil.copyfile(path, self._path_for(f"files/{name.removesuffix(suffix)}{suffix}"))))

        self._guard(send)

    def finish(self, error: str | None = None) -> str | None:
        """Close the run, and return how to upload it or where to read it.

        The uploads of an online run end within `SECONDS_TO_FINISH`; what is missing then can be uploaded later.
        """
        first, code, empty = self.run, 1 if error else 0, self._empty_part
        self._guard(lambda: first.finish(exit_code=code))
        if first.offline and empty and error:  # a resume that was refused
            shutil.rmtree(first.settings.sync_dir, ignore_errors=True)
            return None
        if first.offline:
            return f"Upload it with: {sync_command(first)}"
        if reason := find_refusal(Path(first.settings.sync_dir)):
            self._tell(f"the server did not accept everything ({reason})")
        if self._late and self._offline_part and (part := self._offline_part()):
            self.run, self._next, late = part.run, part._next, self._late
            for action in [*late, lambda: part.run.finish(exit_code=code)]:
                self._guard(action)
        if self._told:
            return f"W&B may be incomplete at {first.url}; complete it with: {sync_command(first)}"
        return f"Online at {first.url}"

    def _path_for(self, name: str) -> Path:
        path = Path(self.run.dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _save(self, path: Path) -> None:
        self.run.save(str(path), base_path=self.run.dir, policy="now")

    def _guard(self, action: Callable[[], Any], asks_server: bool = False) -> None:
        """Do something, and keep what fails for an offline part.

        After the first failure of an online run, nothing asks its server, because each question can take half a minute.
        """
        online, self._empty_part = not getattr(self.run, "offline", True), False
        if asks_server and online and self._told:
            self._late.append(action)
            return
        try:
            action()
        except Exception as error:
            self._late += [action] * (asks_server and online)
            self._tell(first_line(error))

    def _tell(self, reason: str) -> None:
        if not self._told:
            self._told = True
            tell(f"W&B failed; the run continues and is recorded in its folder: {reason}")


def open_wandb(
    folder: Path,
    config: dict,
    *,
    mode: str,
    project: str,
    entity: str | None,
    group: str | None,
    tags: list[str],
    wandb_id: str | None,
) -> WandbRun | None:
    """Start a W&B run whose files are in the run folder; return None if W&B cannot be started.

    It never prompts, and waits at most 25 seconds. Online mode needs stored credentials and a server that answers;
    otherwise a message is printed and the run is offline. Command line, environment, console output and the address of
    the repository are not sent. If the folder already contains a part of a W&B run, another part is added; the parts
    are uploaded together.
    """
    parts = find_parts(folder)
    wandb_id = wandb_id or last_id(parts)
    arguments = {
        "project": project,
        "entity": entity,
        "group": group,
        "tags": tags or None,
        "id": wandb_id,
        "config": config,
    }
    arguments |= {"name": folder.name, "dir": str(folder), "resume": "allow" if wandb_id else None}
    reason = None
    if mode == "online":
        run, reason = _start("online", arguments, len(parts))
        if run:
            return run
    run, failure = _start("offline", arguments, len(parts))
    if not run:
        tell(f"W&B could not be started; the run is recorded in its folder only: {failure}")
    elif reason:
        tell(
            f"W&B cannot be used online ({reason}), so the run is recorded offline; upload it later with: {sync_command(run.run)}"
        )
    return run


def _start(mode: str, arguments: dict, num_parts: int) -> tuple[WandbRun | None, str]:
    try:
        import wandb

        quiet = wandb.Settings(silent=True)
        if mode == "online":
            wandb.setup(settings=quiet)
            if not wandb.login(prompt=False):
                return None, "no API key was found; run `wandb login` once, or set WANDB_API_KEY"
        known = wandb.Settings.model_fields
        flush: dict[str, Any] = {_FLUSH: SECONDS_LOST} if _FLUSH in known else {}
        wait: dict[str, Any] = {_FINISH: SECONDS_TO_FINISH, f"{_FINISH}_raises": True} if _FINISH in known else {}
        settings = wandb.Settings(
            silent=True,
            console="off",
            symlink=False,
            init_timeout=15,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_save_requirements=False,
            **flush,
            **wait,
        )
        run = wandb.init(mode=mode, reinit="create_new", settings=settings, **arguments)  # type: ignore[arg-type]
        run.define_metric("outer_step")
        run.define_metric("*", step_metric="outer_step")
    except Exception as error:
        return None, first_line(error)
    first = num_parts * MOST_STEPS if num_parts else None
    later = arguments | {"id": run.id, "resume": "allow"}
    return WandbRun(run, first, lambda: _start("offline", later, num_parts + 1)[0]), ""


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
