"""Landscapes in files: finished tiles are not computed again, lost, or confused with others."""

import errno

import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.landscape import Axis, Plane, trainability
from metalearn.recording import LandscapeFolder, RunFolderError, Tiles, tiles

POWERS = ml.InnerProblem(
    lambda theta, key: jnp.ones(()), lambda s, theta, key: theta[0] * s + 0 * theta[1], lambda s, t, k: s * s
)
PLANE = Plane(Axis("x", 0.3, 2.2), Axis("y", 0.0, 1.0), lambda x, y: jnp.stack([x, y]))
SIZE = {"num_steps": 50, "resolution": (150, 70)}  # 10 500 pixels: tiles of 4096, 4096 and 2308
SETTINGS = {"problem": "powers", "resolution": 150}


def render(keep=None, plane=PLANE, **more):
    return trainability(POWERS, plane, **SIZE, **more, keep=keep)


class Counting(Tiles):
    """Count the computed tiles, and stop at a given one."""

    def __init__(self, folder, stop_at=None):
        super().__init__(folder, SETTINGS)
        self.computed, self.stop_at = 0, stop_at

    def __call__(self, compute, values, program):
        def counted(values):
            if self.computed == self.stop_at:
                raise KeyboardInterrupt
            self.computed += 1
            return compute(values)

        return super().__call__(counted, values, program)


@pytest.mark.parametrize("adaptive", [False, True])
def test_an_interrupted_picture_continues_with_the_missing_tiles(tmp_path, adaptive):
    whole = Counting(tmp_path / "whole")
    expected = render(whole, adaptive=adaptive)
    with pytest.raises(KeyboardInterrupt):
        render(Counting(tmp_path / "part", stop_at=2), adaptive=adaptive)
    assert [path.name for path in sorted((tmp_path / "part").iterdir())] == ["00001.npz", "00002.npz", "settings.json"]
    rest = Counting(tmp_path / "part")
    found = render(rest, adaptive=adaptive)
    assert rest.computed == whole.computed - 2
    for name in ("measure", "converged", "undecided", "escape", "computed", "pixel_steps", "wrong", "checked"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_array_equal(expected.measure, render(adaptive=adaptive).measure)


def test_tiles_of_another_picture_raise_an_error(tmp_path):
    render(Tiles(tmp_path, SETTINGS))
    other = Plane(Axis("x", 0.2, 2.2), PLANE.y, PLANE.place)
    with pytest.raises(ValueError, match="belong to another landscape"):
        render(Tiles(tmp_path, SETTINGS), other)
    with pytest.raises(ValueError, match="another number of steps"):
        trainability(POWERS, PLANE, **(SIZE | {"num_steps": 51}), keep=Tiles(tmp_path, SETTINGS))
    with pytest.raises(ValueError, match="another problem"):
        trainability(POWERS._replace(loss=lambda s, t, k: s), PLANE, **SIZE, keep=Tiles(tmp_path, SETTINGS))
    with pytest.raises(ValueError, match="made with problem = 'powers' and cannot be completed with 'roots'"):
        Tiles(tmp_path, SETTINGS | {"problem": "roots"})


def test_a_finished_landscape_is_read_and_its_tiles_are_removed(tmp_path):
    first = LandscapeFolder(tmp_path, SETTINGS).landscape("frame", PLANE, render)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frame.npz", "settings.json"]
    again = LandscapeFolder(tmp_path, SETTINGS).landscape("frame", PLANE, None)  # pyright: ignore[reportArgumentType]
    for name, field in first._asdict().items():
        np.testing.assert_equal(getattr(again, name), field)
    assert isinstance(again.pixel_steps, int)


def test_a_folder_with_other_settings_raises_an_error(tmp_path):
    folder = LandscapeFolder(tmp_path, SETTINGS)
    folder.landscape("frame", PLANE, render)
    with pytest.raises(ValueError, match="made with resolution = 150 and cannot be completed with 151"):
        LandscapeFolder(tmp_path, SETTINGS | {"resolution": 151})
    with pytest.raises(ValueError, match="another window"):
        folder.landscape("frame", Plane(Axis("x", 0.2, 2.2), PLANE.y, PLANE.place), render)


def test_a_full_disk_is_a_clear_error_and_loses_nothing(tmp_path, monkeypatch):
    save, written = tiles.save_arrays, []

    def full_after_two(path, arrays):
        if len(written) == 2:
            path.write_bytes(b"half a tile")
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        save(path, arrays)

    monkeypatch.setattr(tiles, "save_arrays", full_after_two)
    folder = LandscapeFolder(tmp_path, SETTINGS)
    with pytest.raises(RunFolderError, match=r"cannot be written: no space left on device\. Finished files are kept"):
        folder.landscape("frame", PLANE, render)
    assert [path.name for path in sorted((tmp_path / "frame.tiles").iterdir())][:3] == [
        "00001.npz",
        "00002.npz",
        "settings.json",
    ]
    monkeypatch.setattr(tiles, "save_arrays", save)
    found = folder.landscape("frame", PLANE, render)
    np.testing.assert_array_equal(found.measure, render().measure)


def test_a_folder_that_cannot_be_created_is_a_clear_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match="cannot be written"):
        LandscapeFolder(tmp_path / "file" / "landscapes", SETTINGS)
