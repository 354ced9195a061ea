"""Record a view in a run folder and in Weights & Biases."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalearn.explorer.layers import Picture
from metalearn.explorer.link import Link
from metalearn.explorer.picture import colour, describe
from metalearn.explorer.scene import Scene
from metalearn.recording import open_run


def send_view(folder: str | Path, tracker: Mapping[str, Any], picture: Picture, scene: Scene, link: Link) -> Path:
    """Record a picture, its numbers and its arrays as a run, and return the folder of the run.

    Args:
      folder: the parent of the run folder.
      tracker: `mode`, `project` and other arguments of `ml.recording.open_run`.
      picture, scene, link: what is shown.
    """
    numbers = {name.removeprefix("metalearn:"): value for name, value in describe(picture, scene, link).items()}
    plane = picture.view.plane(scene.plane)
    arrays = {
        "values": picture.values,
        "x": plane.x.values(picture.resolution),
        "y": plane.y.values(picture.resolution),
    }
    with open_run(folder, numbers, name=f"explore-{scene.name}", **tracker) as run:
        run.figure("view", colour(picture, link.norm, link.colours)[::-1])
        run.table("view", [numbers])
        run.arrays("view", arrays)
    return run.folder
