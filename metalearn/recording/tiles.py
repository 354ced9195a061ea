"""Landscapes in files, kept while they are computed: a render that was killed goes on where it was.

    <folder>/settings.json          what the pictures in this folder show; another run must ask for the same
    <folder>/<name>.npz             a finished picture
    <folder>/<name>.tiles/*.npz     the tiles of one that is not finished

Files appear whole or not at all, so a kill costs one tile of at most some seconds' work.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from metalearn.landscape import Landscape, PixelMeasures, Plane
from metalearn.recording.run_folder import RunFolderError, replacing, short
from metalearn.recording.values import finite, plain, same, save_arrays

_ARRAYS = ("measure", "converged", "undecided", "escape", "computed")
_NUMBERS = ("num_steps", "pixel_steps", "checked", "wrong")
_PROGRAM = "program"


class Tiles:
    """For `trainability(..., keep=Tiles(folder, settings))`: tiles are written as they are computed, and read where
    they exist.

    Args:
      folder: created where missing.
      settings: what the picture shows beyond its places: problem, steps and the like, as words and numbers. They are
        written down with the version of JAX and the device, on which the last bits depend.

    Raises:
      ValueError: the folder holds tiles of other settings.
      RunFolderError: it cannot be written.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]):
        self.folder = Path(folder)
        self._count = 0
        _agree(self.folder, settings)

    def __call__(
        self, compute: Callable[[np.ndarray], PixelMeasures], values: np.ndarray, program: str
    ) -> PixelMeasures:
        """The tile of these places.

        Raises:
          ValueError: the file of this number holds other places, or was computed by another program.
          RunFolderError: the tile cannot be written; those before it are kept.
        """
        self._count += 1
        path = self.folder / f"{self._count:05d}.npz"
        if path.exists():
            with np.load(path) as stored:
                if not np.array_equal(stored["values"], values) or str(stored[_PROGRAM]) != program:
                    raise ValueError(
                        f"The tiles in {short(self.folder)} are of another picture: of other places, another problem or "
                        "another number of steps. Choose another folder, or delete this one."
                    )
                return PixelMeasures(*(stored[name] for name in PixelMeasures._fields))
        found = compute(values)
        _write(path, {"values": values, _PROGRAM: program, **found._asdict()})
        return found


class LandscapeFolder:
    """A folder of landscapes that show the same problem.

    Args:
      folder: created where missing.
      settings: as in `Tiles`.

    Raises:
      ValueError: the folder holds landscapes of other settings.
      RunFolderError: it cannot be written.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]):
        self.folder, self.settings = Path(folder), settings
        _agree(self.folder, settings)

    def landscape(self, name: str, plane: Plane, render: Callable[[Tiles], Landscape]) -> Landscape:
        """The finished landscape of this name, or `render(keep)`, which is written when it is finished.

        Raises:
          ValueError: the landscape of this name is of another plane.
          RunFolderError: something cannot be written; what was finished is kept.
        """
        path, tiles = self.folder / f"{name}.npz", self.folder / f"{name}.tiles"
        if path.exists():
            return _load(path, plane)
        found = render(Tiles(tiles, self.settings))
        height, width = found.measure.shape
        axes = {"x": plane.x.values(width), "y": plane.y.values(height)}
        _write(path, {field: getattr(found, field) for field in (*_ARRAYS, *_NUMBERS, _PROGRAM)} | axes)
        shutil.rmtree(tiles, ignore_errors=True)
        return found


def _agree(folder, settings):
    """Write the settings down in a new folder, or see that they are those of the folder."""
    device = jax.devices()[0]
    made_by = {"jax": jax.__version__, "device": device.device_kind, "dtype": "float64"}
    settings = finite(plain({**settings, **made_by}))
    path = folder / "settings.json"
    if not path.exists():
        _write(path, json.dumps(settings, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    for name in sorted(settings.keys() | before.keys()):
        if not same(settings.get(name), before.get(name)):
            raise ValueError(
                f"The landscapes in {short(folder)} were made with {name} = {before.get(name)!r} and cannot be completed "
                f"with {settings.get(name)!r}. Repeat the command they were made with, or start a new folder."
            )


def _load(path, plane):
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in _ARRAYS}
        numbers = {name: int(stored[name]) for name in _NUMBERS} | {_PROGRAM: str(stored[_PROGRAM])}
        same = all(
            np.array_equal(stored[name], axis.values(len(stored[name]))) for name, axis in zip("xy", (plane.x, plane.y))
        )
    if not same:
        raise ValueError(f"{short(path)} is a picture of another window. Choose another folder, or delete the file.")
    return Landscape(**(arrays | numbers), plane=plane)  # pyright: ignore[reportArgumentType]


def _write(path, content):
    """A text or arrays, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            if isinstance(content, str):
                file.write_text(content, encoding="utf-8")
            else:
                save_arrays(file, content)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunFolderError(
            f"{short(path)} cannot be written: {reason}. What was finished before it is kept; make room and resume."
        ) from error
