"""The part of the page that shows what training does at the chosen points."""

# pyright: reportMissingImports=false
# Panel and Bokeh are an extra (explore), and types are also checked where it is not installed.

from typing import Any

import numpy as np
import panel as pn

from metalearn.explorer.controls import plot, text
from metalearn.explorer.plots import MARKS, loss_plot, set_ranges
from metalearn.explorer.readings import Reading, describe_pair, read_point
from metalearn.explorer.work import Worker

NAMES = ("first point", "second point")


class Points:
    """The last two points that were clicked, their losses and their numbers.

    Args:
      page: the page, whose window is shown.
    """

    def __init__(self, page: Any):
        self.page = page
        self.reader = Worker(page.failed)
        self.readings: list[Reading] = []
        self.text = text("reading")
        self.losses, self.curves = loss_plot()
        self.plot = plot(self.losses, page.theme, visible=False)
        self.layout = pn.Column(self.plot, self.text, sizing_mode="stretch_width")

    def places(self) -> list[tuple[float, float]]:
        """Return the points as values."""
        return [(one.x, one.y) for one in self.readings]

    def click(self, x: float, y: float) -> None:
        """Train at a point of the plot."""
        scene, view = self.page.scene, self.page.link.view
        point: tuple[float, float] = self.page.canvas.origin.point(scene.plane, x, y)
        before = self.readings[-1:]
        self.text.object = f"training at ({point[0]:.6g}, {point[1]:.6g}) …"

        def work(check):
            def report(found):
                check()
                self.page.later(lambda: self.show([*before, found] if scene is self.page.scene else []))

            read_point(scene, view, point[0], point[1], check, report)

        self.reader.submit(work)

    def show(self, readings: list[Reading]) -> None:
        """Show the losses and the numbers of points."""
        self.readings = readings
        self.page.redraw()
        names = NAMES[: len(readings)]
        losses = [np.where(np.isfinite(one.losses) & (one.losses > 0), one.losses, np.nan) for one in readings]
        self.curves.data = {
            "xs": [np.arange(len(one)) for one in losses],
            "ys": losses,
            "colour": list(MARKS[: len(readings)]),
            "name": list(names),
        }
        self.plot.visible = self.losses.visible = bool(readings)
        self.losses.legend.visible = len(readings) > 1
        set_ranges(self.losses, losses)
        said = [f"{name}\n{one}" for name, one in zip(names, readings)]
        self.text.object = "\n\n".join([*said, *([describe_pair(*readings)] if len(readings) == 2 else [])])

    def clear(self) -> None:
        """Remove the points."""
        self.reader.cancel()
        self.show([])
