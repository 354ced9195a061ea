"""Record a run in Weights & Biases as well, as a copy of the run folder that no result depends on."""

import contextlib
import io
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.recording.files import short, tell
from metalearn.recording.run_folder import check_image
from metalearn.recording.values import columns, flatten, plain, save_arrays

SECONDS_LOST = 1.0  # seconds between two writes of W&B's file; a killed run loses at most this
MOST_STEPS = 10**6  # W&B's counter of calls in one part; it drops calls with a smaller counter
_FLUSH = "x_transaction_log_flush_interval"
_FILMS = (".mp4", ".gif", ".webm", ".ogg")
_PART = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(.+)")


class WandbRun:
    """A tracker for an open `wandb` run. It raises no errors of W&B: the first is printed, and the run continues."""

    def __init__(self, run: Any, first_step: int | None = None):
        """Take over an open run; the steps of a continued run begin at `first_step`, after those of its other parts."""
        self.run = run
        self._told = False
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
            self._log({name: wandb.Image(_drawn(figure) if hasattr(figure, "savefig") else np.asarray(figure))})

        self._guard(send)

    def table(self, name: str, rows: list[dict]) -> None:
        """Send rows as a table."""

        def send():
            import wandb

            names, entries = columns(rows), [plain(row) for row in rows]
            data: Any = [[_cell(entry.get(column)) for column in names] for entry in entries]
            with _staging_in(Path(self.run.settings.sync_dir)):
                self._log({name: wandb.Table(columns=list(names), data=data, allow_mixed_types=True)})

        self._guard(send)

    def arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Send arrays as one .npz file, which is an artifact of the run."""

        def send():
            import wandb

            path = self._path_for(f"arrays/{name}.npz")
            save_arrays(path, arrays)
            artifact = wandb.Artifact(f"{self.run.id}-{name.replace('/', '-')}", type="arrays")
            artifact.add_file(str(path))
            with _staging_in(Path(self.run.settings.sync_dir)):
                self.run.log_artifact(artifact)

        self._guard(send)

    def file(self, name: str, path: str | Path) -> None:
        """Save an existing file; films can be played in the browser."""

        def send():
            import shutil

            import wandb

            suffix = Path(path).suffix
            if suffix in _FILMS:
                self._log({name: wandb.Video(str(path), format=suffix[1:])})  # type: ignore[arg-type]
            else:
                self._save(Path(shutil.copyfile(path, self._path_for(f"files/{name.removesuffix(suffix)}{suffix}"))))

        self._guard(send)

    def finish(self, error: str | None = None) -> str | None:
        """Close the run, and return how to upload it or where to read it."""
        where = f"Upload it with: {_sync(self.run)}"
        if not self.run.offline:
            where = f"Online at {self.run.url}"
        self._guard(lambda: self.run.finish(exit_code=1 if error else 0))
        return where

    def _path_for(self, name: str) -> Path:
        path = Path(self.run.dir) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _save(self, path: Path) -> None:
        self.run.save(str(path), base_path=self.run.dir, policy="now")

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:
            if not self._told:
                self._told = True
                tell(f"W&B failed; the run continues and is recorded in its folder: {first_line(error)}")


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
    parts = _parts(folder)
    wandb_id = wandb_id or (_PART.fullmatch(parts[-1].name)[1] if parts else None)  # type: ignore[index]
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
        tell(f"W&B is not reachable ({reason}), so the run is recorded offline; upload it later with: {_sync(run.run)}")
    return run


def _sync(run) -> str:
    """Return the command that uploads all parts of a run that were written offline."""
    here = Path(run.settings.sync_dir)
    parts = [part for part in _parts(here.parent.parent) if part.name.startswith("offline")]
    return shlex.join(["wandb", "sync", *map(short, parts or [here])])


def _parts(folder: Path) -> list[Path]:
    """Return the folders of the parts of the W&B run in the folder of a run, in the order of their times."""
    found = [path for path in folder.glob("wandb/*") if _PART.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name.removeprefix("offline-"))


def _start(mode: str, arguments: dict, num_parts: int) -> tuple[WandbRun | None, str]:
    try:
        import wandb

        quiet = wandb.Settings(silent=True)
        if mode == "online":
            wandb.setup(settings=quiet)
            if not wandb.login(prompt=False):
                return None, "no API key was found; run `wandb login` once, or set WANDB_API_KEY"
        flush: dict[str, Any] = {_FLUSH: SECONDS_LOST} if _FLUSH in wandb.Settings.model_fields else {}
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
        )
        run = wandb.init(mode=mode, reinit="create_new", settings=settings, **arguments)  # type: ignore[arg-type]
        run.define_metric("outer_step")
        run.define_metric("*", step_metric="outer_step")
    except Exception as error:
        return None, first_line(error)
    return WandbRun(run, num_parts * MOST_STEPS if num_parts else None), ""


def _drawn(figure: Any) -> Any:
    """Return the figure as an image; `wandb.Image` accepts only figures that pyplot made."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@contextlib.contextmanager
def _staging_in(folder: Path) -> Iterator[None]:
    """Stage artifacts in the run's folder: the default is the home folder, where `wandb sync` may not find them."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR")
        if before is not None:
            os.environ["WANDB_DATA_DIR"] = before
