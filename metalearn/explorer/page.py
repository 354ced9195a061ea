"""The page of the explorer."""

# pyright: reportMissingImports=false
# Panel and Bokeh are an extra (explore), and types are also checked where it is not installed.

import contextlib
import io
import time
from collections.abc import Mapping
from typing import Any

import panel as pn

from metalearn.explorer.controls import HELP, button, choices, plot, text, warning
from metalearn.explorer.layers import MEANINGS, Picture, refine
from metalearn.explorer.link import Link, read_link, write_link
from metalearn.explorer.picture import colour, legend, save_png
from metalearn.explorer.plots import Canvas
from metalearn.explorer.points import Points
from metalearn.explorer.scene import Homes, Scene
from metalearn.explorer.tools import Settings, Tools
from metalearn.explorer.view import limited, precision_warning, view_of
from metalearn.explorer.work import Worker

WAIT = 60  # milliseconds between a movement and the picture of the window


class Page:
    """One visitor's page.

    Args:
      scenes: the scenes by name; the first is shown unless the query names another.
      query: the query of the address.
      settings: the settings of the server.
    """

    def __init__(self, scenes: Mapping[str, Any], query: Mapping[str, str], settings: Settings):
        self.scenes, self.finest, self.store = scenes, settings.finest, settings.store
        self.theme = query.get("theme")
        self.document = pn.state.curdoc
        homes = Homes(scenes)
        link, said = read_link({name: one for name, one in query.items() if name != "theme"}, homes, next(iter(scenes)))
        self.scene: Scene = self.named(link.problem)
        self.link = link
        self.picture: Picture | None = None
        self.worker = Worker(self.failed)
        self.points = Points(self)
        self.tools = Tools(self, settings)
        self._waiting = self._quiet = False
        self._widgets(said)
        self._place()
        if self.document is None:
            self.render()
        else:
            pn.state.onload(self.render)  # earlier changes from another thread would be lost
            self.document.on_session_destroyed(lambda context: self.close())

    def close(self) -> None:
        """Abandon all work of the page."""
        self.worker.close()
        self.points.reader.close()
        self.tools.close()

    def _widgets(self, said):
        self.choices = choices(self.link, list(self.scenes))
        for name, widget in self.choices.items():
            widget.param.watch(lambda event, name=name: self.choose(name, event.new), "value")
        actions = {
            "+": lambda: self.zoom(2.0),
            "−": lambda: self.zoom(0.5),
            "whole plane": lambda: self.go(view_of(self.scene.plane)),
            "clear points": lambda: (self.points.clear(), self.tools.clear()),
        }
        self.buttons = [button(name, action, width=26 + 8 * len(name)) for name, action in actions.items()]
        self.png = pn.widgets.FileDownload(
            callback=self.save, filename="view.png", label="save PNG", embed=False, width=110
        )
        self.address = pn.widgets.TextInput(name="permanent link of this view", sizing_mode="stretch_width")
        self.alert, self.gauge = warning(" ".join(said)), warning("", "danger")
        self.status = text("status")
        self.legend = pn.pane.HTML("", sizing_mode="stretch_width", css_classes=["legend"])

    def _place(self):
        self.canvas = Canvas(self.scene.plane, self.link.view)
        for side in (self.canvas.figure.x_range, self.canvas.figure.y_range):
            side.on_change("start", self._moved)
            side.on_change("end", self._moved)
        self.canvas.figure.on_event("tap", lambda event: self.points.click(event.x, event.y))
        self.plot = plot(self.canvas.figure, self.theme)
        left = pn.Column(
            pn.FlexBox(*self.choices.values()), self.alert, self.gauge, self.plot, self.legend, self.status,
            pn.FlexBox(*self.buttons, self.png), styles={"flex": "3 1 480px"}, min_width=300,
        )  # fmt: skip
        right = pn.Column(
            pn.pane.Markdown(HELP), self.address, self.points.layout, self.tools.layout,
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

    def follow(self, link: Link) -> None:
        """Show what a link describes."""
        for name in ("problem", "layer", "norm", "colours"):
            self.choices[name].value = getattr(link, name)
        self.go(link.view)

    def named(self, name: str) -> Scene:
        """Return a scene by name."""
        return Homes(self.scenes).scene(name)

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
            self.scene = self.named(value)
            self.picture = None
            self.points.clear()
            self.tools.clear()
            self.link = self.link._replace(view=view_of(self.scene.plane))
            self._quiet = True
            self.canvas.begin(self.scene.plane, self.link.view)
            self._quiet = False
            self.render()
            return
        self.render()

    def render(self) -> None:
        """Render the window from coarse to fine, and abandon the one before."""
        link, scene, began = self.link, self.scene, time.perf_counter()
        rounding = precision_warning(link.view, scene.plane, self.finest)
        self.gauge.param.update(object=rounding, visible=bool(rounding))
        self._write_link()
        self.status.object = f"{link.layer}: computing …"

        def work(check):
            def patient():  # a point that was clicked comes first
                check()
                while not self.points.reader.idle(0.05):
                    check()

            try:
                for picture in refine(scene, link.view, link.layer, self.finest, patient, self.store):
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
        if picture.final:
            self._update_address()
        self.status.object = (
            f"{MEANINGS[picture.layer]}: {picture.resolution} × {picture.resolution} points after {seconds:.1f} s{more}"
        )

    def redraw(self):
        if self.picture is not None:
            self.canvas.draw(self.picture.view, colour(self.picture, self.link.norm, self.link.colours))
            self.legend.object = legend(self.picture, self.link.norm, self.link.colours)
        self.canvas.mark(self.points.places())
        self.canvas.draw_paths(self.tools.paths)

    def _update_address(self):
        """Put the link into the address of the page, which can then be bookmarked."""
        location = pn.state.location if self.document is not None and self.document.session_context else None
        if location is not None:
            theme = f"&theme={self.theme}" if self.theme else ""
            location.search = f"?{write_link(self.link)}{theme}"

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
