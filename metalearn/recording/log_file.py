"""The log of a run: one JSON object per line. A line is written once, even if the run was killed and resumed."""

import collections
import contextlib
import json
import os
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metalearn.recording.files import short, tell, write_failed
from metalearn.recording.values import finite, plain, restore
from metalearn.words import counted

NAME = "metrics.jsonl"


class LogFile:
    """A file to which lines are appended. Complete lines of an earlier process are kept.

    Attributes:
      seconds: the largest "seconds" of the earlier lines.
      appended: whether this process has written a line.

    Raises:
      OSError: the file cannot be written.
    """

    def __init__(self, path: Path):
        self.path = path
        self.seconds, self.appended = 0.0, False
        self._turn = threading.Lock()
        self._earlier: collections.Counter = collections.Counter()
        content = path.read_bytes() if path.exists() else b""
        self._size = _end_of_whole_lines(content)
        for _, line in _parsed(content[: self._size]):
            if line is not None:
                self._earlier[_identity(line)] += 1
                self.seconds = max(self.seconds, _number(line.get("seconds")))
        self._stream = open(path, "ab", buffering=0)  # noqa: SIM115  closed by close
        if len(content) > self._size:
            self._stream.truncate(self._size)
        if damaged := content.count(b"\n", self._size):
            tell(f"{short(path)} ends in {counted(damaged, 'line')} that cannot be read; removed.")

    def append(self, record: Mapping[str, Any]) -> bool:
        """Write a line immediately; return False if an earlier process already wrote the line of this step and these
        names.

        Raises:
          RunFolderError: the line cannot be written; the file ends with the line before it.
        """
        line = (json.dumps(finite(plain(record)), ensure_ascii=False, allow_nan=False) + "\n").encode()
        with self._turn:
            identity = _identity(record)
            if self._earlier[identity] > 0:
                self._earlier[identity] -= 1
                return False
            try:
                if not os.fstat(self._stream.fileno()).st_nlink:
                    raise FileNotFoundError("the file was deleted")
                _write_all(self._stream, line)
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._stream.truncate(self._size)
                raise write_failed(self.path, error) from error
            self._size += len(line)
            self.appended = True
        return True

    @property
    def closed(self) -> bool:
        """Return whether the file is closed, so that no more lines can be written."""
        return self._stream.closed

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def read_lines(path: Path) -> list[dict]:
    """Read the lines of a log, with non-finite floats; an incomplete last line is ignored.

    Warns:
      UserWarning: another line cannot be read; it is left out.
    """
    content = path.read_bytes()
    lines = list(_parsed(content[: content.rfind(b"\n") + 1]))
    damaged = [str(number) for number, line in lines if line is None]
    if damaged:
        warnings.warn(
            f"{short(path)} is damaged: line {', '.join(damaged)} cannot be read and is left out.", stacklevel=3
        )
    return [restore(line) for _, line in lines if line is not None]


def has_line(path: Path, step: int, prefix: str) -> bool:
    """Return whether a log has a line of this step with a name that begins with `prefix`."""
    content = path.read_bytes() if path.exists() else b""
    found = (line for _, line in _parsed(content) if line is not None)
    return any(line.get("outer_step") == step and any(name.startswith(prefix) for name in line) for line in found)


def _parsed(content: bytes) -> Iterator[tuple[int, dict | None]]:
    """Yield the number of every line and its object, None if it has none."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line:
            try:
                found = json.loads(line)
            except ValueError:
                found = None
            yield number, found if isinstance(found, dict) else None


def _end_of_whole_lines(content: bytes) -> int:
    """Return the size of all complete lines, without the rest that a kill or a full disk may leave."""
    end = content.rfind(b"\n") + 1
    while end:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        if next(_parsed(content[begin:end]), (0, None))[1] is not None:
            break
        end = begin
    return end


def _identity(line: Mapping[str, Any]) -> tuple:
    return line.get("outer_step"), frozenset(line)


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _write_all(stream, content: bytes) -> None:
    """Write all bytes; a single call may write fewer if it reaches a limit, without an error."""
    rest = memoryview(content)
    while rest:
        rest = rest[stream.write(rest) :]
