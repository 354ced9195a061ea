"""The arrays of a landscape are read back from the folder of a run, from a downloaded artifact, and from the file."""

import numpy as np
import pytest

from metalearn.recording import open_run, read_landscape

SHAPE = (3, 4)


def recorded(folder):
    arrays = {
        "x": np.linspace(0, 1, SHAPE[1]),
        "y": np.linspace(2, 3, SHAPE[0]),
        "measure": np.arange(12.0).reshape(SHAPE),
        "converged": np.eye(*SHAPE, dtype=bool),
    }
    with open_run(folder, {}, mode="disabled") as run:
        run.arrays("landscape", arrays)
    return run.folder, arrays


def test_a_recorded_landscape_is_read_back(tmp_path):
    folder, arrays = recorded(tmp_path)
    artifact = tmp_path / "artifact"
    artifact.mkdir()
    (artifact / "landscape.npz").write_bytes((folder / "arrays/landscape.npz").read_bytes())
    for place in (folder, folder / "arrays/landscape.npz", artifact, str(artifact)):
        found = read_landscape(place)
        assert found.keys() == arrays.keys()
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
            assert found[name].dtype == array.dtype


def test_a_file_without_a_landscape_is_a_clear_error(tmp_path):
    folder, arrays = recorded(tmp_path)
    with pytest.raises(FileNotFoundError, match="There is no landscape in"):
        read_landscape(tmp_path)
    path = folder / "arrays/landscape.npz"
    content = path.read_bytes()
    damaged = bytearray(content)
    damaged[100] ^= 255
    for wrong in (content[:200], b"", bytes(damaged)):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"landscape\.npz is damaged, or is not a file of arrays"):
            read_landscape(folder)
    np.savez(path, measure=arrays["measure"])
    with pytest.raises(ValueError, match="it has no axes x and y"):
        read_landscape(folder)
    np.savez(path, x=arrays["y"], y=arrays["x"], measure=arrays["measure"])
    with pytest.raises(ValueError, match="it has no image of 4 × 3"):
        read_landscape(folder)
    np.savez(path, x=arrays["x"], y=arrays["y"], measure=np.array([[object()]]))
    with pytest.raises(ValueError, match="damaged, or is not a file of arrays"):
        read_landscape(folder)
