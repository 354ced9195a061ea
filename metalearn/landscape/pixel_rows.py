"""A landscape as rows of a table."""

from typing import Any

import numpy as np

from metalearn import tabular
from metalearn.words import percent

FIELDS = "measure", "converged", "undecided", "escape", "computed"
SHOWN = {
    "x": ("x", "the horizontal axis"),
    "y": ("y", "the vertical axis"),
    "pixels": ("pixels", "width × height"),
    "num_steps": ("steps", "inner steps of a training"),
    "converged": ("converged", "share of the pixels where the last losses are below the first"),
    "undecided": ("undecided", "share with another outcome after half the steps"),
    "computed": ("trained", "share where training was run; the rest is filled"),
}


def pixel_rows(self) -> list[dict[str, Any]]:
    """Return one flat dictionary per pixel, row by row: its coordinates on the axes, and the measurements."""
    height, width = self.measure.shape
    y, x = (
        part.ravel().tolist()
        for part in np.meshgrid(self.plane.y.points(height), self.plane.x.points(width), indexing="ij")
    )
    layers = [np.asarray(getattr(self, name)).ravel().tolist() for name in FIELDS]
    return [dict(zip(("x", "y", *FIELDS), numbers)) for numbers in zip(x, y, *layers)]


def landscape_table(self) -> tabular.Table:
    """Return the table of a picture, which has one row."""
    height, width = self.measure.shape
    share = lambda name: float(np.mean(getattr(self, name)))
    row = {"x": self.plane.x.name, "y": self.plane.y.name, "pixels": f"{width} × {height}", "num_steps": self.num_steps}
    row |= {name: share(name) for name in ("converged", "undecided", "computed")}
    title = f"{width} × {height} pixels of {self.num_steps} steps, {self.plane.x.name} and {self.plane.y.name}"
    return tabular.Table(f"{title}, {percent(row['converged'])} converged", [row], SHOWN)
