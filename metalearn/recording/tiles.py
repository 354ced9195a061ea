"""Store landscapes in files while they are computed, so that an interrupted render can continue.

    <folder>/settings.json          the settings of all landscapes in this folder; a later run must have the same
    <folder>/<name>.npz             a finished landscape
    <folder>/<name>.tiles/*.npz     the tiles of an unfinished landscape

Files are written completely or not at all. A kill therefore loses at most one tile, a few seconds of work. A damaged
file is computed again. If there are several processes, the first reads and writes, and sends the contents to the
others.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metalearn.landscape import Landscape, PixelMeasures, Plane
from metalearn.recording.checkpoints import DamagedFileError
from metalearn.recording.files import remove_leftovers, replacing, short, write_failed
from metalearn.recording.folders import read_json
from metalearn.recording.processes import in_first_process, is_first
from metalearn.recording.values import finite, plain, same, save_arrays
from metalearn.recording.weights_and_biases import tell

_ARRAYS = ("measure", "converged", "undecided", "escape", "computed")
_NUMBERS = ("num_steps", "pixel_steps", "checked", "wrong")
_PROGRAM = "program"


class Tiles:
    """Write tiles as they are computed, and read existing ones: `trainability(..., keep=Tiles(folder, settings))`.

    Args:
      folder: the folder of the tiles; it is created if it does not exist.
      settings: the settings that determine the landscape besides its points, such as problem and number of steps, as
        strings and numbers. They are stored with the version of JAX and the device, which affect the last bits.

    Raises:
      ValueError: the folder contains tiles of other settings.
      RunFolderError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]):
        self.folder = Path(folder)
        self._count = 0
        in_first_process(lambda: _agree(self.folder, settings))

    def __call__(
        self, compute: Callable[[np.ndarray], PixelMeasures], values: np.ndarray, program: str
    ) -> PixelMeasures:
        """Return the tile of these points, from its file if it exists.

        Raises:
          ValueError: the file of this number contains other points, or was computed by another program.
          RunFolderError: the tile cannot be written; earlier tiles are kept.
        """
        self._count += 1
        path = self.folder / f"{self._count:05d}.npz"
        found = in_first_process(lambda: self._stored(path, values, program))
        if found is None:
            found = compute(values)
            in_first_process(lambda: _write(path, {"values": values, _PROGRAM: program, **found._asdict()}))
        return found

    def _stored(self, path, values, program) -> PixelMeasures | None:
        """Return the tile of a file, or None if there is no intact file."""
        if not path.exists():
            return None
        try:
            stored = _read(path, ("values", _PROGRAM, *PixelMeasures._fields))
        except DamagedFileError as error:
            tell(f"{error} It is computed again.")
            return None
        if not np.array_equal(stored["values"], values) or str(stored[_PROGRAM]) != program:
            raise ValueError(
                f"The tiles in {short(self.folder)} belong to another landscape: other points, another problem or "
                "another number of steps. Choose another folder, or delete this one."
            )
        return PixelMeasures(*(stored[name] for name in PixelMeasures._fields))


class LandscapeFolder:
    """A folder of landscapes of the same problem.

    Args:
      folder: the folder; it is created if it does not exist.
      settings: as in `Tiles`.

    Raises:
      ValueError: the folder contains landscapes of other settings.
      RunFolderError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]):
        self.folder, self.settings = Path(folder), settings
        in_first_process(lambda: _agree(self.folder, settings))

    def landscape(self, name: str, plane: Plane, render: Callable[[Tiles], Landscape]) -> Landscape:
        """Return the stored landscape of this name, or compute it with `render(tiles)` and store it.

        Raises:
          ValueError: the stored landscape of this name is of another plane.
          RunFolderError: a file cannot be written; finished files are kept.
        """
        path, tiles = self.folder / f"{name}.npz", self.folder / f"{name}.tiles"
        known = in_first_process(lambda: _load(path, plane))
        if known is not None:
            return Landscape(**known, plane=plane)
        found = render(Tiles(tiles, self.settings))
        height, width = found.measure.shape
        axes = {"x": plane.x.values(width), "y": plane.y.values(height)}
        content = {field: getattr(found, field) for field in (*_ARRAYS, *_NUMBERS, _PROGRAM)} | axes
        in_first_process(lambda: _write(path, content))
        if is_first():
            shutil.rmtree(tiles, ignore_errors=True)
        return found


def _agree(folder, settings):
    """Write the settings to a new folder, or check that they equal those of an existing folder."""
    device = jax.devices()[0]
    made_by = {"jax": jax.__version__, "device": device.device_kind, "dtype": "float64"}
    settings = finite(plain({**settings, **made_by}))
    path = folder / "settings.json"
    remove_leftovers(folder)
    if not path.exists():
        _write(path, json.dumps(settings, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    before = read_json(path)
    for name in sorted(settings.keys() | before.keys()):
        if not same(settings.get(name), before.get(name)):
            raise ValueError(
                f"The landscapes in {short(folder)} were made with {name} = {before.get(name)!r} and cannot be completed "
                f"with {settings.get(name)!r}. Repeat the command they were made with, or start a new folder."
            )


def _load(path, plane) -> dict[str, Any] | None:
    """Return the fields of a stored landscape except its plane, or None if there is no intact file."""
    if not path.exists():
        return None
    try:
        stored = _read(path, ("x", "y", *_ARRAYS, *_NUMBERS, _PROGRAM))
    except DamagedFileError as error:
        tell(f"{error} It is computed again.")
        return None
    arrays = {name: stored[name] for name in _ARRAYS}
    numbers = {name: int(stored[name]) for name in _NUMBERS} | {_PROGRAM: str(stored[_PROGRAM])}
    if not all(np.array_equal(stored[n], axis.values(len(stored[n]))) for n, axis in zip("xy", (plane.x, plane.y))):
        raise ValueError(f"{short(path)} is a landscape of another window. Choose another folder, or delete the file.")
    return arrays | numbers


def _read(path, names) -> dict[str, np.ndarray]:
    """Read arrays.

    Raises:
      DamagedFileError: the file is incomplete or was changed.
    """
    try:
        with open(path, "rb") as stream, np.load(stream) as stored:
            return {name: stored[name] for name in names}
    except Exception as error:
        raise DamagedFileError(f"{short(path)} is damaged ({type(error).__name__}).") from None


def _write(path, content):
    """Write a text or arrays, completely or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_failed(path, error) from error
    with replacing(path) as file:
        if isinstance(content, str):
            file.write_text(content, encoding="utf-8")
        else:
            save_arrays(file, content)
