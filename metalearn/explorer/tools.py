"""The part of the page with outer loops, the tour and Weights & Biases."""

# pyright: reportMissingImports=false
# Panel and Bokeh are an extra (explore), and types are also checked where it is not installed.

import functools
import time
from pathlib import Path
from typing import Any, NamedTuple

import panel as pn

from metalearn.explorer.controls import button, text
from metalearn.explorer.link import Link
from metalearn.explorer.outer import ESTIMATORS, diagnosis_card, outer_path
from metalearn.explorer.send import send_view
from metalearn.explorer.tour import film_tour, tour_views
from metalearn.explorer.work import Worker
from metalearn.figures.style import OKABE_ITO

STEPS = 100  # outer steps of a path
STEP = 400  # milliseconds between the windows of a tour that is played
FILMED = 129  # points per side of an image of a film


class Settings(NamedTuple):
    """Settings of all pages of a server.

    Attributes:
      finest: the largest number of points per side of a picture.
      store: the store of trained pixels.
      folder: the parent of run folders and films.
      tracker: the settings of the tracker, as in `ml.recording.open_run`.
    """

    finest: int
    store: Any
    folder: str
    tracker: dict[str, Any]


class Tools:
    """Buttons that start work, and the text in which it reports.

    Args:
      page: the page.
      settings: the settings of the server.
    """

    def __init__(self, page: Any, settings: Settings):
        self.page, self.folder, self.tracker = page, Path(settings.folder), settings.tracker
        self.worker = Worker(page.failed)
        self.tour: list[Link] = []
        self.paths: list[tuple[Any, str]] = []
        self._playing: Any = None
        self.estimator = pn.widgets.Select(name="estimator", options=list(ESTIMATORS), width=170)
        self.text = text("tools", wrap=False)
        outer = pn.FlexBox(
            self.estimator, button("start from the point", self.descend), button("diagnose the point", self.diagnose),
            button("stop", self.stop, 70),
        )  # fmt: skip
        self.play_button = button("play the tour", self.play, 120)
        tour = pn.FlexBox(
            button("add view to tour", self.add, 140), self.play_button, button("film of the tour", self.film, 130),
            button("empty the tour", self.empty, 120), button("send view to W&B", self.send, 140),
        )  # fmt: skip
        self.layout = pn.Column(outer, tour, self.text, sizing_mode="stretch_width")

    def say(self, words: str) -> None:
        """Show a text, from any thread."""
        self.page.later(lambda: self.text.param.update(object=words))

    def stop(self) -> None:
        """Abandon the work of the tools."""
        self.worker.cancel()
        self._pause()
        self.text.object = "stopped"

    def close(self) -> None:
        """Abandon the work of the tools and end their thread."""
        self._pause()
        self.worker.close()

    def _point(self):
        places = self.page.points.places()
        if not places:
            self.text.object = "Click a point of the picture first."
        return places[-1] if places else None

    def diagnose(self) -> None:
        """Show the card of `ml.diagnose` at the last point."""
        point, scene = self._point(), self.page.scene
        if point is None:
            return
        self.text.object = "diagnosing … this takes a minute or more"
        self.worker.submit(lambda check: self.say(diagnosis_card(scene, point[0], point[1], check)))

    def descend(self) -> None:
        """Meta-train from the last point, and draw the path while it grows."""
        point, scene, name = self._point(), self.page.scene, self.estimator.value
        if point is None:
            return
        colour = OKABE_ITO[ESTIMATORS.index(name) % len(OKABE_ITO)]
        before = list(self.paths)
        self.text.object = f"{name}: compiling …"

        def draw(path):
            self.page.later(functools.partial(self._draw, scene, [*before, (path, colour)]))
            self.say(f"{name}: outer step {len(path) - 1} of {STEPS}, at ({path[-1, 0]:.4g}, {path[-1, 1]:.4g})")

        self.worker.submit(lambda check: outer_path(scene, name, point[0], point[1], STEPS, check, draw))

    def _draw(self, scene, paths):
        if scene is self.page.scene:
            self.paths = paths
            self.page.canvas.draw_paths(paths)

    def clear(self) -> None:
        """Remove the paths."""
        self.worker.cancel()
        self.paths = []
        self.page.canvas.draw_paths([])

    def add(self) -> None:
        """Add the view to the tour."""
        self.tour.append(self.page.link)
        self.text.object = f"The tour has {len(self.tour)} views."

    def empty(self) -> None:
        """Remove all views of the tour."""
        self._pause()
        self.tour = []
        self.text.object = "The tour is empty."

    def play(self) -> None:
        """Show the views of the tour one after the other, with flights between them; or stop."""
        if self._playing is not None or not self.tour:
            self._pause()
            self.text.object = "stopped" if self.tour else "The tour is empty; add a view to it first."
            return
        coming = iter(list(tour_views(self.tour, self.page.named)))

        def following():
            link = next(coming, None)
            if link is None:
                self._pause()
            else:
                self.page.follow(link)

        self.play_button.name = "stop the tour"
        self._playing = pn.state.add_periodic_callback(following, period=STEP)

    def _pause(self):
        if self._playing is not None:
            self._playing.stop()
            self._playing = None
        self.play_button.name = "play the tour"

    def film(self) -> None:
        """Write the tour as a film."""
        links, page = list(self.tour), self.page
        path = self.folder / time.strftime("%Y-%m-%d-%H%M%S-tour")

        def work(check):
            report = lambda done, total: self.say(f"film: image {done} of {total}")
            found = film_tour(path, links, page.named, FILMED, check, page.store, report)
            self.say(f"The film is {found}.")

        self.worker.submit(work)

    def send(self) -> None:
        """Record the view in a run folder and in W&B."""
        picture, scene, link = self.page.picture, self.page.scene, self.page.link
        if picture is None:
            self.text.object = "There is no picture yet."
            return
        self.text.object = "sending …"
        mode = self.tracker.get("mode", "offline")

        def work(check):
            folder = send_view(self.folder, self.tracker, picture, scene, link)
            self.say(f"The view is recorded in {folder}, W&B {mode}.")

        self.worker.submit(work)
