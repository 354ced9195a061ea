"""Trained pixels in files, shared by the explorer and by zooms.

    <folder>/<program>/*.npz     pixels of one program: their positions and measures

A pixel is found by the bits of its x and y, so windows with pixels in common share them, in any picture. The bits of a
pixel do not depend on the picture (see `landscape.pixels`). They depend on the version of JAX, the device, the effort
of compilation and the code that measures pixels, which are part of the name of the folder.
"""

import collections
import contextlib
import functools
import hashlib
import inspect
import secrets
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from metalearn.compilation import asked_effort
from metalearn.inner import convolutions, problem
from metalearn.landscape import PixelMeasures, measure, pixels
from metalearn.recording.files import replacing
from metalearn.recording.values import save_arrays

MOST_OPEN = 64  # files whose pixels are in memory
FULL = 4096  # pixels after which a file is written


class PixelStore:
    """Take pixels from files, and compute and store the others: `trainability(..., keep=PixelStore(folder))`.

    Args:
      folder: the folder; it is created when it is first written.
      max_bytes: the size of the folder above which its oldest files are removed.
    """

    def __init__(self, folder: str | Path, max_bytes: int = 2**30):
        self.folder = Path(folder)
        self.read = self.computed = 0
        self._boxes: dict[str, dict[Path, np.ndarray]] = {}
        self._open: collections.OrderedDict[Path, tuple] = collections.OrderedDict()
        self._pending: dict[str, list[tuple[np.ndarray, PixelMeasures]]] = {}
        self._trim(max_bytes)

    def __call__(
        self, compute: Callable[[np.ndarray], PixelMeasures], values: np.ndarray, program: str
    ) -> PixelMeasures:
        """Return the measures of pixels `[count, 2]`; those that are not stored are computed.

        Raises:
          RunFolderError: a file cannot be written.
        """
        parts = [self._read(path) for path in self._near(values, program)]
        parts += [(_keys(there), found) for there, found in self._pending.get(program, [])]
        parts = [part for part in parts if len(part[0])]
        index, source = np.full(len(values), -1), np.full(len(values), -1)
        keys = _keys(values)
        for number, (known, _) in enumerate(parts):
            order = np.argsort(known)
            place = np.searchsorted(known, keys, sorter=order).clip(max=len(known) - 1)
            hit = (known[order[place]] == keys) & (index < 0)
            index[hit], source[hit] = order[place][hit], number
        missing = np.flatnonzero(index < 0)
        self.read, self.computed = self.read + len(values) - len(missing), self.computed + len(missing)
        found = compute(values[missing]) if len(missing) else None
        fields = []
        for name in PixelMeasures._fields:
            leaves = [getattr(part, name) for _, part in parts] + ([] if found is None else [getattr(found, name)])
            whole = np.zeros(len(values), leaves[0].dtype if leaves else float)
            for number, leaf in enumerate(leaves):
                here = missing if number == len(parts) else np.flatnonzero(source == number)
                whole[here] = leaf if number == len(parts) else leaf[index[here]]
            fields.append(whole)
        if found is not None:
            self._pending.setdefault(program, []).append((values[missing], found))
            if sum(len(there) for there, _ in self._pending[program]) >= FULL:
                self.flush()
        return PixelMeasures(*fields)

    def after(self, tiles: Callable[..., PixelMeasures]) -> Callable[..., PixelMeasures]:
        """Return a function for `keep` that asks `tiles`, such as `Tiles`, first, and then this store."""
        return lambda compute, values, program: tiles(lambda some: self(compute, some, program), values, program)

    def flush(self) -> None:
        """Write the pixels that are only in memory.

        Raises:
          RunFolderError: a file cannot be written.
        """
        for program, parts in self._pending.items():
            values = np.concatenate([there for there, _ in parts])
            found = [np.concatenate(leaves) for leaves in zip(*(part for _, part in parts))]
            path = self._place(program) / f"{secrets.token_hex(8)}.npz"
            with contextlib.suppress(FileExistsError):
                path.parent.mkdir(parents=True, exist_ok=True)
            box = np.array([values.min(axis=0), values.max(axis=0)])
            with replacing(path) as file:
                save_arrays(file, {"box": box, "values": values, **dict(zip(PixelMeasures._fields, found))})
            self._boxes.setdefault(program, {})[path] = box
        self._pending = {}

    def _place(self, program) -> Path:
        device = jax.devices()[0].device_kind
        made_by = hashlib.sha256(f"{jax.__version__} {device} {asked_effort()} {_code()}".encode()).hexdigest()[:8]
        return self.folder / f"{program}-{made_by}"

    def _near(self, values, program):
        """Return the files with pixels in the box of the values."""
        known = self._boxes.setdefault(program, {})
        for path in self._place(program).glob("*.npz"):
            if path not in known:
                try:
                    with np.load(path) as stored:
                        known[path] = stored["box"]
                except Exception:  # a damaged file is not used; its pixels are computed again
                    known[path] = np.full((2, 2), np.nan)
        low, high = values.min(axis=0), values.max(axis=0)
        return [path for path, box in known.items() if np.all(box[0] <= high) and np.all(box[1] >= low)]

    def _read(self, path):
        if path not in self._open:
            try:
                with np.load(path) as stored:
                    found = PixelMeasures(*(stored[name] for name in PixelMeasures._fields))
                    self._open[path] = (_keys(stored["values"]), found)
            except Exception:  # removed or damaged
                empty = PixelMeasures(
                    np.zeros(0), np.zeros(0, bool), np.zeros(0, bool), np.zeros(0, np.int32), np.zeros(0)
                )
                return np.zeros(0, complex), empty
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)
        else:
            self._open.move_to_end(path)
        return self._open[path]

    def _trim(self, max_bytes):
        files = [(path.stat().st_mtime, path.stat().st_size, path) for path in self.folder.glob("*/*.npz")]
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= max_bytes:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


@functools.cache
def _code() -> str:
    """Return the source of the modules that determine what is measured at a pixel."""
    return "".join(map(inspect.getsource, (convolutions, measure, pixels, problem)))


def _keys(values) -> np.ndarray:
    """Return x and y of each pixel as one number that can be sorted and compared."""
    return np.ascontiguousarray(values, np.float64).view(np.complex128).ravel()
