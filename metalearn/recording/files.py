"""Files that are written completely or not at all, and one sentence if a file cannot be written."""

import contextlib
import itertools
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

_PROCESS = secrets.token_hex(4)  # process numbers are reused; in a container every run may have the same one
_COUNT = itertools.count()
_PART = re.compile(r"\..*\.(\d+)\.([0-9a-f]{8})\.\d+\.part")


class RunFolderError(OSError):
    """The folder of the run cannot be written. The message is one sentence for the user."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces the file when it is complete, so that a kill leaves no incomplete file.

    The content is on the disk before the file gets its name. Several threads and processes can write the same file at
    the same time; the last one wins.

    Raises:
      RunFolderError: the file cannot be written.
    """
    temporary = path.with_name(part_name(path.name))
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise write_failed(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def part_name(name: str) -> str:
    """Return a new name for a temporary file or folder, which `remove_leftovers` removes if this process is killed."""
    return f".{name}.{os.getpid()}.{_PROCESS}.{next(_COUNT)}.part"


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files below a folder whose processes have ended."""
    for path in folder.rglob(".*.part"):
        made_by = _PART.fullmatch(path.name)
        if made_by is None:
            continue
        number = int(made_by[1])  # processes that were forked share _PROCESS
        mine = made_by[2] == _PROCESS and number == os.getpid()
        if not mine and not _is_another(number):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    path.unlink()


def write_failed(path: Path, error: OSError) -> RunFolderError:
    """Return the error of a file that cannot be written."""
    if isinstance(error, RunFolderError):
        return error
    if isinstance(error, FileNotFoundError):
        return RunFolderError(f"{short(path)} cannot be written: its folder does not exist, or was deleted.")
    reason = (error.strerror or str(error)).lower()
    return RunFolderError(
        f"{short(path)} cannot be written: {reason}. Finished files are kept; free some space and resume."
    )


def short(path: Path) -> str:
    """Return the path relative to the current folder if it lies below it, otherwise the whole path."""
    with contextlib.suppress(ValueError, OSError):
        return str(path.resolve().relative_to(Path.cwd()))
    return str(path)


def _is_another(number: int) -> bool:
    """Return whether another process with this number is running."""
    if number == os.getpid():
        return False
    if sys.platform == "win32":  # where os.kill would end the process
        return True
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def tell(sentence: str) -> None:
    """Print a message to stderr. It is not a warning, because a warning can become an error and end the run."""
    print(sentence, file=sys.stderr, flush=True)
