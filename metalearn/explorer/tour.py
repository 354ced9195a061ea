"""A tour: a list of links, shown one after the other with a flight between them, or written as a film."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metalearn.explorer.layers import refine
from metalearn.explorer.link import Link
from metalearn.explorer.picture import colour
from metalearn.explorer.scene import Scene
from metalearn.explorer.view import View, limited, offset
from metalearn.explorer.work import Check
from metalearn.figures.film import write_film
from metalearn.landscape import Plane

FLIGHT, REST = 12, 12  # images of a flight from one window to the next, and of a rest there
RATE = 12  # images per second of a film
SIZE = 516  # pixels per side of a film


def flight(first: View, last: View, home: Plane, count: int = FLIGHT) -> Iterator[View]:
    """Yield the windows of a flight, of which the last is `last`.

    The sides change by a constant factor. While the window shrinks or grows, the point of the plane that both windows
    show at the same place stays there; windows of equal size are panned.
    """
    x, y = offset(home.x, first.x, last.x), offset(home.y, first.y, last.y)
    for step in range(1, count + 1):
        share = step / count
        if step == count:
            yield last
            return
        sides = {}
        for name in ("half_width", "half_height"):
            a, b = getattr(first, name), getattr(last, name)
            sides[name] = a * (b / a) ** share
        ratio = last.half_width / first.half_width
        moved = share if math.isclose(ratio, 1, rel_tol=1e-6) else (1 - ratio**share) / (1 - ratio)
        yield limited(first.moved(home, moved * x, moved * y)._replace(**sides), home)


def tour_views(links: Sequence[Link], homes: Callable[[str], Scene]) -> Iterator[Link]:
    """Yield the links of a whole tour, with flights between windows of the same problem."""
    for before, link in zip([None, *links], links):
        if before is not None and before.problem == link.problem:
            for view in list(flight(before.view, link.view, homes(link.problem).plane))[:-1]:
                yield link._replace(view=view)
        yield link


def film_tour(
    path: str | Path,
    links: Sequence[Link],
    homes: Callable[[str], Scene],
    resolution: int,
    check: Check,
    keep: Any = None,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write a tour as a film.

    Args:
      path: the file, without its suffix.
      links: the windows.
      homes: name -> `Scene`.
      resolution: the points per side of an image.
      check, keep: as in `refine`.
      report: called with the number of finished images and of all images.

    Returns:
      The file: .mp4, or .gif if PyAV is not installed.

    Raises:
      ValueError: the tour is empty.
    """
    if not links:
        raise ValueError("The tour is empty; add a view to it first.")
    stops, views = set(map(id, links)), list(tour_views(links, homes))

    def images():
        for done, link in enumerate(views, 1):
            *_, last = refine(homes(link.problem), link.view, link.layer, resolution, check, keep)
            found = np.ascontiguousarray(_enlarged(colour(last, link.norm, link.colours)[::-1, :, :3]))
            yield from [found] * (REST if id(link) in stops else 1)
            report(done, len(views))

    return write_film(path, images(), images_per_second=RATE)


def _enlarged(image):
    rows, columns = (np.arange(SIZE) * side // SIZE for side in image.shape[:2])
    return image[rows][:, columns]
