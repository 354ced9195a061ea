"""A lock on the folder of a run, which is released when the process that holds it ends for any reason."""

import contextlib
import json
import os
import socket
import time
from pathlib import Path

from metalearn.recording.files import RunFolderError, short

try:
    import fcntl
except ImportError:  # there is no such lock on Windows
    fcntl = None

NAME = "lock"


class FolderLock:
    """A lock for writing to a folder. The system gives it to one process, and releases it when that process ends.

    There are therefore no stale locks to remove. The file describes the process that holds the lock. Processes on
    several machines see each other's locks if their file system supports this, as NFS does.

    Raises:
      RunFolderError: another run has the lock, or the file cannot be written.
    """

    def __init__(self, folder: Path):
        self._stream = open(folder / NAME, "a+b", buffering=0)  # noqa: SIM115  closed by release
        if not _take(self._stream):
            holder = _holder(self._stream)
            self._stream.close()
            raise RunFolderError(
                f"{short(folder)} is in use: {holder} is writing to it. Wait until it has ended, or stop it, and resume then."
            )
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        with contextlib.suppress(OSError):  # on a full disk the lock works without its description
            self._stream.truncate(0)
            self._stream.write(json.dumps(holder).encode())

    def release(self) -> None:
        """Release the lock."""
        self._stream.close()


def is_locked(folder: Path) -> bool:
    """Return whether a run has the lock of a folder."""
    try:
        with open(folder / NAME, "rb") as stream:
            return not _take(stream, shared=True)
    except OSError:
        return False


def _take(stream, shared: bool = False) -> bool:
    """Take the lock until the stream is closed; return True if it was free or its state is unknown."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


def _holder(stream) -> str:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        stream.seek(0)
        found = json.loads(stream.read())
        return f"process {found['process']} on {found['host']}, since {found['since']},"
    return "another process"
