"""The page of the explorer."""

# pyright: reportMissingImports=false
# Panel and Bokeh are an extra (explore), and types are also checked where it is not installed.

import contextlib
import io
import time
from collections.abc import Mapping
from typing import Any

import panel as pn

from metalearn.explorer.layers import COLOURS, LAYERS, MEANINGS, NORMS, Picture, refine
from metalearn.explorer.link import read_link, write_link
from metalearn.explorer.picture import colour, save_png
from metalearn.explorer.plots import Canvas
from metalearn.explorer.points import Points
from metalearn.explorer.scene import Scene
from metalearn.explorer.view import limited, precision_warning, view_of
from metalearn.explorer.work import Worker

WAIT = 60  # milliseconds between a movement and the picture of the window
HELP = (
    "Drag to pan, scroll or pinch to zoom; with the keyboard: arrows, + and −. Click a point to train there; click a "
    "second point to compare the two."
)


class Page:
    """One visitor's page.

    Args:
      scenes: the scenes by name; the first is shown unless the query names another.
      query: the query of the address.
      finest: the largest number of points per side of a picture.
      store: the store of trained pixels.
    """

    def __init__(self, scenes: Mapping[str, Any], query: Mapping[str, str], finest: int, store: Any):
        self.scenes, self.finest, self.store = scenes, finest, store
        self.document = pn.state.curdoc
        homes = _Homes(scenes)
        link, said = read_link({name: one for name, one in query.items() if name != "theme"}, homes, next(iter(scenes)))
        self.scene: Scene = homes.scene(link.problem)
        self.link = link
        self.picture: Picture | None = None
        self.worker = Worker(self.failed)
        self.points = Points(self)
        self._waiting = self._quiet = False
        self._widgets(said)
        self._place()
        self.render()
        if self.document is not None:
            self.document.on_session_destroyed(lambda context: self.close())

    def close(self) -> None:
        """Abandon all work of the page."""
        self.worker.close()
        self.points.reader.close()

    def _widgets(self, said):
        choose = lambda name, value, options: pn.widgets.Select(
            name=name, value=value, options=list(options), width=150
        )
        self.choices = {
            "problem": choose("problem", self.link.problem, self.scenes),
            "layer": choose("layer", self.link.layer, LAYERS),
            "norm": choose("norm", self.link.norm, NORMS),
            "colours": choose("colours", self.link.colours, COLOURS),
        }
        for name, widget in self.choices.items():
            widget.param.watch(lambda event, name=name: self.choose(name, event.new), "value")
        self.buttons = {
            "in": pn.widgets.Button(name="+", description="zoom in", width=40),
            "out": pn.widgets.Button(name="−", description="zoom out", width=40),
            "whole": pn.widgets.Button(name="whole plane", width=100),
            "clear": pn.widgets.Button(name="clear points", width=100),
        }
        self.buttons["in"].on_click(lambda event: self.zoom(2.0))
        self.buttons["out"].on_click(lambda event: self.zoom(0.5))
        self.buttons["whole"].on_click(lambda event: self.go(view_of(self.scene.plane)))
        self.buttons["clear"].on_click(lambda event: self.points.clear())
        self.png = pn.widgets.FileDownload(
            callback=self.save, filename="view.png", label="save PNG", embed=False, width=110
        )
        self.address = pn.widgets.TextInput(name="permanent link of this view", sizing_mode="stretch_width")
        self.alert = pn.pane.Alert(" ".join(said), alert_type="warning", visible=bool(said), css_classes=["said"])
        self.gauge = pn.pane.Alert("", alert_type="danger", visible=False, css_classes=["gauge"])
        self.status = pn.pane.Str("", css_classes=["status"])

    def _place(self):
        self.canvas = Canvas(self.scene.plane, self.link.view)
        for side in (self.canvas.figure.x_range, self.canvas.figure.y_range):
            side.on_change("start", self._moved)
            side.on_change("end", self._moved)
        self.canvas.figure.on_event("tap", lambda event: self.points.click(event.x, event.y))
        self.plot = pn.pane.Bokeh(self.canvas.figure, sizing_mode="stretch_width", min_width=280)
        left = pn.Column(
            pn.FlexBox(*self.choices.values()), self.alert, self.gauge, self.plot, self.status,
            pn.FlexBox(*self.buttons.values(), self.png), styles={"flex": "3 1 480px"}, min_width=300,
        )  # fmt: skip
        right = pn.Column(
            pn.pane.Markdown(HELP), self.address, self.points.layout,
            styles={"flex": "1 1 330px"}, min_width=300,
        )  # fmt: skip
        self.layout = pn.FlexBox(left, right, sizing_mode="stretch_width", flex_wrap="wrap")

    def _moved(self, attribute, old, new):
        """Render the window that the ranges show, a moment after the last movement."""
        if self._quiet or self._waiting:
            return
        self._waiting = True
        if self.document is None or self.document.session_context is None:
            self._settle()
        else:
            self.document.add_timeout_callback(self._settle, WAIT)

    def _settle(self):
        self._waiting = False
        view = limited(self.canvas.view(), self.scene.plane)
        if view == self.link.view:
            return
        self.link = self.link._replace(view=view)
        if self.canvas.far():
            self._show()
        self.render()

    def go(self, view) -> None:
        """Show a window."""
        self.link = self.link._replace(view=limited(view, self.scene.plane))
        self._show()
        self.render()

    def zoom(self, factor: float) -> None:
        """Zoom around the middle of the window."""
        self.go(self.link.view.zoomed(self.scene.plane, factor))

    def _show(self):
        self._quiet = True
        self.canvas.show(self.link.view)
        self._quiet = False
        self.redraw()

    def choose(self, name: str, value: str) -> None:
        """Change the scene, the layer, the norm or the colours."""
        self.link = self.link._replace(**{name: value})
        if name in ("norm", "colours"):
            self.redraw()
            self._write_link()
            return
        if name == "problem":
            self.scene = _Homes(self.scenes).scene(value)
            self.canvas.home, self.picture = self.scene.plane, None
            self.points.clear()
            self.go(view_of(self.scene.plane))
            return
        self.render()

    def render(self) -> None:
        """Render the window from coarse to fine, and abandon the one before."""
        link, scene, began = self.link, self.scene, time.perf_counter()
        warning = precision_warning(link.view, scene.plane, self.finest)
        self.gauge.param.update(object=warning, visible=bool(warning))
        self._write_link()
        self.status.object = f"{link.layer}: computing …"

        def work(check):
            try:
                for picture in refine(scene, link.view, link.layer, self.finest, check, self.store):
                    check()
                    seconds = time.perf_counter() - began
                    self.later(lambda picture=picture, seconds=seconds: self._arrived(link, picture, seconds))
            finally:
                if self.store is not None:
                    self.store.flush()

        self.worker.submit(work)

    def _arrived(self, link, picture, seconds):
        if (link.view, link.layer, link.problem) != (self.link.view, self.link.layer, self.link.problem):
            return
        self.picture = picture
        self.redraw()
        more = "" if picture.final else " …"
        self.status.object = (
            f"{MEANINGS[picture.layer]}: {picture.resolution} × {picture.resolution} points after {seconds:.1f} s{more}"
        )

    def redraw(self):
        if self.picture is not None:
            self.canvas.draw(self.picture.view, colour(self.picture, self.link.norm, self.link.colours))
        self.canvas.mark(self.points.places())

    def _write_link(self):
        query = write_link(self.link)
        self.address.value = f"?{query}"
        location = pn.state.location if self.document is not None else None
        if location is not None and location.pathname:
            base = f"{location.protocol}//{location.hostname}:{location.port}{location.pathname}"
            self.address.value = f"{base}?{query}"

    def save(self) -> io.BytesIO:
        """Return the picture as a PNG with its numbers."""
        target = io.BytesIO()
        if self.picture is not None:
            save_png(target, self.picture, self.scene, self.link)
        target.seek(0)
        return target

    def failed(self, error: Exception) -> None:
        sentence = (str(error).strip().splitlines() or [type(error).__name__])[0]

        def show():
            self.alert.param.update(object=sentence, visible=True)
            self.status.object = "stopped"

        self.later(show)

    def later(self, action) -> None:
        """Change the page from another thread."""
        if self.document is None or self.document.session_context is None:
            action()
            return
        with contextlib.suppress(Exception):  # the visitor has left
            self.document.add_next_tick_callback(action)


class _Homes(Mapping):
    """The home planes of scenes, which are built when they are first used."""

    def __init__(self, scenes):
        self.scenes = scenes

    def scene(self, name) -> Scene:
        found = self.scenes[name]
        return found if isinstance(found, Scene) else found()

    def __getitem__(self, name):
        return self.scene(name).plane

    def __iter__(self):
        return iter(self.scenes)

    def __len__(self):
        return len(self.scenes)
