"""Read the arrays of a landscape that a run recorded, also after a download from Weights & Biases."""

from pathlib import Path

import numpy as np

from metalearn.recording.checkpoints import DamagedFileError
from metalearn.recording.files import short

_PLACES = ("arrays/landscape.npz", "landscape.npz", "landscapes/landscape.npz")
_AXES = ("x", "y")


def read_landscape(path: str | Path) -> dict[str, np.ndarray]:
    """Read the arrays of a landscape: of `landscape`, or of `compare`.

    Args:
      path: the folder of a run, a downloaded artifact of W&B (`run.use_artifact(...).download()`), or a file in them.

    Returns:
      Name -> array. "x" [width] and "y" [height] are the values of the axes; the others are images [height, width],
      such as "measure", "converged", "undecided", "escape" and "computed", or "meta_loss". Nothing is unpickled.

    Raises:
      FileNotFoundError: there is no landscape at this path.
      ValueError: the file is damaged, or does not contain a landscape.
    """
    given = Path(path)
    file = given if given.is_file() else next((given / one for one in _PLACES if (given / one).is_file()), None)
    if file is None:
        raise FileNotFoundError(f"There is no landscape in {short(given)}: it has none of {', '.join(_PLACES)}.")
    try:
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    except Exception as error:
        raise DamagedFileError(
            f"{short(file)} is damaged, or is not a file of arrays ({type(error).__name__})."
        ) from None
    if not all(name in found and found[name].ndim == 1 for name in _AXES):
        raise DamagedFileError(f"{short(file)} is not a landscape: it has no axes x and y.")
    size = (len(found["y"]), len(found["x"]))
    images = {name: array for name, array in found.items() if array.shape == size}
    if not images:
        raise DamagedFileError(f"{short(file)} is not a landscape: it has no image of {size[0]} × {size[1]}.")
    return {name: found[name] for name in _AXES} | images
