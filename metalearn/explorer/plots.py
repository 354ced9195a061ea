"""The two plots of the page: the picture of a window, and the loss curves of points."""

# pyright: reportMissingImports=false
# Panel and Bokeh are an extra (explore), and types are also checked where it is not installed.

from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJS, Range1d, WheelZoomTool
from bokeh.plotting import figure

from metalearn.explorer.view import View, offset
from metalearn.figures.style import OKABE_ITO
from metalearn.landscape import Plane

FAR = 1e4  # the largest offset of a window, in halves of its width
MARKS = (OKABE_ITO[0], OKABE_ITO[3])  # of the first and the second point
DARK, GREY, LIGHT = "#121212", "#5c5c5c", "#e8e8e8"  # the colours of the page in its dark scheme
KEYBOARD = """
if (window.metalearn_keys) return;
window.metalearn_keys = true;
document.addEventListener("keydown", (event) => {
  const typing = ["INPUT", "TEXTAREA", "SELECT"].includes((event.composedPath()[0] || {}).tagName);
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1]}[event.key];
  const factor = {"+": 0.5, "=": 0.5, "-": 2, "_": 2}[event.key];
  if (!move && !factor) return;
  event.preventDefault();
  [[x, 0], [y, 1]].forEach(([range, index]) => {
    const half = (range.end - range.start) / 2, middle = (range.start + range.end) / 2;
    const centre = middle + (move ? move[index] * half / 2 : 0), side = half * (factor || 1);
    range.setv({start: centre - side, end: centre + side});
  });
});
"""
THEME = """
const address = new URL(window.location);
if (!address.searchParams.has("theme") && window.matchMedia("(prefers-color-scheme: dark)").matches) {
  address.searchParams.set("theme", "dark");
  window.location.replace(address);
}
"""


class Canvas:
    """The picture of a window, in coordinates that are offsets from a fixed origin.

    The origin moves only when the offsets become much larger than the window, so that a deep window keeps its precision
    and a drag is not interrupted.
    """

    def __init__(self, home: Plane, view: View):
        self.home = home
        self.figure: Any = figure(
            x_range=Range1d(start=0, end=1),
            y_range=Range1d(start=0, end=1),
            tools="pan,wheel_zoom,box_zoom,tap",
            height=560,
            min_width=280,
            sizing_mode="stretch_width",
            toolbar_location="above",
            output_backend="canvas",
        )
        self.figure.toolbar.active_scroll = self.figure.select_one(WheelZoomTool)
        self.figure.toolbar.logo = None
        self.figure.grid.visible = False
        empty = np.zeros((1, 1), np.uint32)
        self.image = ColumnDataSource({"image": [empty], "x": [0.0], "y": [0.0], "dw": [1.0], "dh": [1.0]})
        self.figure.image_rgba("image", x="x", y="y", dw="dw", dh="dh", source=self.image)
        self.paths = ColumnDataSource({"xs": [], "ys": [], "colour": []})
        self.figure.multi_line("xs", "ys", line_color="white", line_width=4, source=self.paths)
        self.figure.multi_line("xs", "ys", line_color="colour", line_width=2, source=self.paths)
        self.marks = ColumnDataSource({"x": [], "y": [], "colour": []})
        style = {"size": 13, "line_color": "white", "line_width": 2, "fill_color": "colour"}
        self.figure.scatter("x", "y", marker="circle", source=self.marks, **style)
        self.begin(home, view)

    def begin(self, home: Plane, view: View) -> None:
        """Show a window of a plane, with the coordinates of the plane."""
        self.home = home
        self.origin = view._replace(x=float(home.x.value(0.0)), y=float(home.y.value(0.0)))
        self.show(view)

    def listen(self, document: Any) -> None:
        """Let the keyboard move the window."""
        ranges = {"x": self.figure.x_range, "y": self.figure.y_range}
        document.js_on_event("document_ready", CustomJS(args=ranges, code=KEYBOARD), CustomJS(code=THEME))

    def view(self) -> View:
        """Return the window that the ranges show."""
        x, y = self.figure.x_range, self.figure.y_range
        there = self.origin.moved(self.home, (x.start + x.end) / 2, (y.start + y.end) / 2)
        return there._replace(half_width=abs(x.end - x.start) / 2, half_height=abs(y.end - y.start) / 2)

    def far(self) -> bool:
        """Return whether the offsets of the window are many times its half-width."""
        return any(
            abs(side.start + side.end) > FAR * abs(side.end - side.start)
            for side in (self.figure.x_range, self.figure.y_range)
        )

    def show(self, view: View) -> None:
        """Show a window, and move the origin to its centre if it is far from it."""
        x, y = self.offsets(view.x, view.y)
        if max(abs(x) / view.half_width, abs(y) / view.half_height) > FAR:
            self.origin, x, y = view, 0.0, 0.0
        self.figure.x_range.update(start=x - view.half_width, end=x + view.half_width)
        self.figure.y_range.update(start=y - view.half_height, end=y + view.half_height)
        self.name_axes()

    def name_axes(self) -> None:
        for axis, label, centre in (
            (self.home.x, self.figure.xaxis[0], self.origin.x),
            (self.home.y, self.figure.yaxis[0], self.origin.y),
        ):
            home = centre == axis.value(0.0)
            power = f"log₁₀ {axis.name}" if axis.scale == "log10" else axis.name
            from_centre = (
                f"log₁₀({axis.name} / {centre:.6g})" if axis.scale == "log10" else f"{axis.name} − {centre:.6g}"
            )
            label.axis_label = power if home and axis.centre is None else from_centre

    def offsets(self, x: float, y: float) -> tuple[float, float]:
        """Return the coordinates of values in this plot."""
        return offset(self.home.x, self.origin.x, x), offset(self.home.y, self.origin.y, y)

    def draw(self, view: View, colours: np.ndarray) -> None:
        """Draw the colours of a window, uint8 `[height, width, 4]`, whose outermost pixels are centred on its edges."""
        height, width = colours.shape[:2]
        x, y = self.offsets(view.x, view.y)
        half_x, half_y = view.half_width * width / (width - 1), view.half_height * height / (height - 1)
        packed = colours.view(np.uint32).reshape(height, width)
        self.image.data = {
            "image": [packed],
            "x": [x - half_x],
            "y": [y - half_y],
            "dw": [2 * half_x],
            "dh": [2 * half_y],
        }

    def draw_paths(self, paths: list[tuple[np.ndarray, str]]) -> None:
        """Draw paths in coordinates of the home plane `[count, 2]`, each with its colour."""
        x, y = self.offsets(float(self.home.x.value(0.0)), float(self.home.y.value(0.0)))
        self.paths.data = {
            "xs": [path[:, 0] + x for path, _ in paths],
            "ys": [path[:, 1] + y for path, _ in paths],
            "colour": [colour for _, colour in paths],
        }

    def mark(self, points: list[tuple[float, float]]) -> None:
        """Mark points, given as values."""
        places = [self.offsets(*point) for point in points]
        self.marks.data = {
            "x": [x for x, _ in places],
            "y": [y for _, y in places],
            "colour": list(MARKS[: len(places)]),
        }


def loss_plot() -> tuple[Any, ColumnDataSource]:
    """Return the plot of the losses of points, and the source of its curves."""
    plot: Any = figure(
        height=240, min_width=280, sizing_mode="stretch_width", y_axis_type="log", tools="pan,wheel_zoom",
        x_range=Range1d(start=0, end=1), y_range=Range1d(start=0.1, end=10),
        x_axis_label="inner step", y_axis_label="loss", toolbar_location=None, title="loss at the chosen points",
    )  # fmt: skip
    curves = ColumnDataSource({"xs": [], "ys": [], "colour": [], "name": []})
    plot.multi_line("xs", "ys", line_color="colour", line_width=2, source=curves, legend_field="name")
    plot.visible = plot.legend.visible = False
    return plot, curves


def darken(plot: Any) -> None:
    """Draw a plot in light colours on a dark ground."""
    plot.update(background_fill_color=DARK, border_fill_color=DARK, outline_line_color=GREY)
    plot.title.text_color = LIGHT
    plot.grid.grid_line_color = GREY
    for axis in plot.axis:
        axis.update(axis_line_color=GREY, major_tick_line_color=GREY, minor_tick_line_color=GREY)
        axis.update(major_label_text_color=LIGHT, axis_label_text_color=LIGHT)
    for legend in plot.legend:
        legend.update(background_fill_color=DARK, border_line_color=GREY, label_text_color=LIGHT)


def set_ranges(plot: Any, losses: list[np.ndarray]) -> None:
    """Show the losses within 16 decades below and 8 above those at the start, and all steps that have such a loss."""
    finite = np.concatenate([one[np.isfinite(one)] for one in losses]) if losses else np.zeros(0)
    if not finite.size:
        return
    first = [one[0] for one in losses if np.isfinite(one[0])] or [1.0]
    low, high = max(finite.min(), 1e-16 * min(first)), min(finite.max(), 1e8 * max(first))
    inside = [np.flatnonzero((one >= low) & (one <= high)) for one in losses]
    plot.x_range.update(start=0, end=max((int(steps[-1]) + 1 for steps in inside if steps.size), default=1))
    plot.y_range.update(start=float(low / 1.5), end=float(high * 1.5))
