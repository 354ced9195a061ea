"""Weights & Biases beside the run folder: a copy for those who want it, and nothing that a run depends on."""

import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.recording.run_folder import check_image, short
from metalearn.recording.values import columns, flatten, plain, save_arrays

_FILMS = (".mp4", ".gif", ".webm", ".ogg")


class WandbRun:
    """A tracker on an open `wandb` run. No failure of W&B leaves it: the first is told, and the run goes on."""

    def __init__(self, run: Any):
        self.run = run
        self._told = False

    def log(self, metrics: Mapping[str, Any], step: int) -> None:
        """Log against our own `outer_step`: W&B drops a `step=` that is older than its last one without a word."""
        values = {name: plain(value) for name, value in flatten(metrics).items()}
        self._guard(lambda: self.run.log({**values, "outer_step": int(step)}))

    def figure(self, name: str, figure: Any) -> None:
        """Send a matplotlib figure or a uint8 image."""

        def send():
            import wandb

            check_image(figure)
            self.run.log({name: wandb.Image(_drawn(figure) if hasattr(figure, "savefig") else np.asarray(figure))})

        self._guard(send)

    def table(self, name: str, rows: list[dict]) -> None:
        """Send rows as a table."""

        def send():
            import wandb

            names, entries = columns(rows), [plain(row) for row in rows]
            data = [[_cell(entry.get(column)) for column in names] for entry in entries]
            with _staging_in(Path(self.run.settings.sync_dir)):
                self.run.log({name: wandb.Table(columns=list(names), data=data, allow_mixed_types=True)})

        self._guard(send)

    def arrays(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Send arrays as one .npz, an artifact of the run."""

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
        """Save a file that is written already; films can be watched in the browser."""

        def send():
            import shutil

            import wandb

            suffix = Path(path).suffix
            if suffix in _FILMS:
                self.run.log({name: wandb.Video(str(path), format=suffix[1:])})  # type: ignore[arg-type]
            else:
                self._save(Path(shutil.copyfile(path, self._path_for(f"files/{name.removesuffix(suffix)}{suffix}"))))

        self._guard(send)

    def finish(self, error: str | None = None) -> str | None:
        """Close the run and say how to upload it, or where it can be read."""
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
                tell(f"W&B failed and the run goes on, recorded in its folder: {first_line(error)}")


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
    """Start a W&B run whose files lie in the run folder; None where W&B cannot be started at all.

    It never prompts, and waits for no longer than 25 seconds: online needs credentials that are there already and a
    server that answers, and becomes offline otherwise, with a sentence. Command line, environment, console and the
    repository's address are not sent.
    """
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
        run, reason = _start("online", arguments)
        if run:
            return run
    run, failure = _start("offline", arguments)
    if not run:
        tell(f"W&B could not be started and the run is recorded in its folder only: {failure}")
    elif reason:
        tell(f"W&B is not reachable ({reason}) and records offline; upload the run later with: {_sync(run.run)}")
    return run


def _sync(run) -> str:
    """The command that uploads a run."""
    return shlex.join(["wandb", "sync", short(Path(run.settings.sync_dir))])


def _start(mode: str, arguments: dict) -> tuple[WandbRun | None, str]:
    try:
        import wandb

        quiet = wandb.Settings(silent=True)
        if mode == "online":
            wandb.setup(settings=quiet)
            if not wandb.login(prompt=False):
                return None, "no API key was found; run `wandb login` once, or set WANDB_API_KEY"
        settings = wandb.Settings(
            silent=True,
            console="off",
            symlink=False,
            init_timeout=15,
            disable_git=True,
            save_code=False,
            x_disable_meta=True,
            x_save_requirements=False,
        )
        run = wandb.init(mode=mode, reinit="create_new", settings=settings, **arguments)  # type: ignore[arg-type]
        run.define_metric("outer_step")
        run.define_metric("*", step_metric="outer_step")
    except Exception as error:
        return None, first_line(error)
    return WandbRun(run), ""


def tell(sentence: str) -> None:
    """Say something on stderr. A warning could be turned into an error, and recording must not end a run."""
    print(sentence, file=sys.stderr, flush=True)


def _drawn(figure: Any) -> Any:
    """The figure as an image; `wandb.Image` itself accepts only figures made by pyplot."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer)


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


@contextlib.contextmanager
def _staging_in(folder: Path) -> Iterator[None]:
    """Stage artifacts beside the run: by default they wait in the home folder, where `wandb sync` may miss them."""
    before = os.environ.get("WANDB_DATA_DIR")
    os.environ["WANDB_DATA_DIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("WANDB_DATA_DIR")
        if before is not None:
            os.environ["WANDB_DATA_DIR"] = before
