"""The parts of a W&B run in the folder of a run, and the command that uploads them."""

import json
import re
import shlex
from pathlib import Path

from metalearn.recording.files import short

_PART = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(.+)")


def sync_command(run) -> str:
    """Return the command that uploads a run, with all of its parts that were written offline."""
    here = Path(run.settings.sync_dir)
    parts = [part for part in find_parts(here.parent.parent) if part.name.startswith("offline")]
    online = [] if here in parts else ["--include-online", short(here)]
    return shlex.join(["wandb", "sync", *online, *map(short, parts)])


def find_parts(folder: Path) -> list[Path]:
    """Return the folders of the parts of the W&B run in the folder of a run, in the order of their times."""
    found = [path for path in folder.glob("wandb/*") if _PART.fullmatch(path.name)]
    return sorted(found, key=lambda path: path.name.removeprefix("offline-"))


def last_id(parts: list[Path]) -> str | None:
    """Return the id of the run that has these parts."""
    found = _PART.fullmatch(parts[-1].name) if parts else None
    return found[1] if found else None


def find_refusal(folder: Path) -> str | None:
    """Return the first error in W&B's own log of a run, which it does not raise; None if there is none."""
    try:
        lines = (folder / "logs" / "debug-internal.log").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if '"level":"ERROR"' in line]
    except (OSError, ValueError):
        return None
    return " ".join(str(found[0].get(key, "")) for key in ("msg", "status")).strip() if found else None
