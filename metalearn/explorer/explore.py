"""Serve the explorer, or return it as a Panel object."""

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metalearn.application.program_cache import cache_folder
from metalearn.explorer.layers import COARSEST
from metalearn.explorer.scene import NAMES, Scene, named_scene, problem_scene, study_scene
from metalearn.inner.checks import check_bool, check_count
from metalearn.inner.problem import InnerProblem
from metalearn.landscape import Plane
from metalearn.outer import Study
from metalearn.recording import PixelStore
from metalearn.types import Key

LOOPBACK = "127.0.0.1"


def explore(
    problem: InnerProblem | Study | Scene | str = "tanh",
    plane: Plane | None = None,
    *,
    num_steps: int | None = None,
    key: Key | None = None,
    name: str = "problem",
    sigma: float | None = None,
    resolution: int = 257,
    tiles: str | Path | None = None,
    folder: str | Path = "runs",
    tracker: Mapping[str, Any] | None = None,
    serve: bool = True,
    port: int = 5007,
    address: str = LOOPBACK,
    open: bool = True,
) -> Any:
    """Explore where training converges, in the browser.

    The page shows a window of the plane, which can be moved and zoomed down to the rounding of float64. A click trains
    at that point. The published conditions and the classical fractals can be chosen on the page as well.

    Args:
      problem: an inner problem with its `plane`, a `Study`, which has a plane, or the name of a condition or of a
        fractal: "tanh", "relu", "identity", "single", "minibatch", "offset", "offset_once", "mandelbrot", "julia",
        "burning_ship", "magnet", "newton" or "lyapunov_logistic".
      plane: the plane that is shown at first.
      num_steps: the number of inner steps T; by default the horizon of the problem.
      key: the key of the one episode that is shown; by default `jax.random.key(0)`.
      name: the name of the problem in links.
      sigma: the standard deviation of smoothing in the units of the axes; by default a sixtieth of the plane.
      resolution: the largest number of points per side of a picture, at least 17.
      tiles: the folder of trained pixels, shared with `experiments/zoom.py`; by default `metalearn/tiles` in the user's
        cache folder.
      folder: the parent of the run folders of views that are recorded, and of films.
      tracker: the settings of W&B for such views, arguments of `ml.recording.open_run`; by default
        `{"mode": "offline"}`.
      serve: True to serve the page until it is interrupted; False to return it as a Panel object, for a notebook.
      port: the port of the page; 0 for any free port.
      address: the address to listen on. By default only programs on the same machine can connect.
      open: whether to open the page in a browser.

    Returns:
      The Panel object if `serve` is False; otherwise None, when the server has stopped.

    Raises:
      ImportError: Panel is not installed.
      TypeError: an argument has the wrong type.
      ValueError: an argument is out of range, or the name of the problem is unknown.
    """
    check_bool("serve", serve)
    check_bool("open", open)
    check_count("resolution", resolution, COARSEST, 2049)
    check_count("port", port, 0, 65535)
    if not isinstance(address, str) or not address:
        raise TypeError(f"address must be a host name or an IP address, such as {LOOPBACK}; {address!r} was given.")
    first = _scene(problem, plane, num_steps, key, name, sigma)
    if importlib.util.find_spec("panel") is None:
        raise ImportError(
            "The explorer needs Panel, which is not installed; install it with: pip install 'metalearn[explore]'"
        )
    scenes = {first.name: first} | {one: functools.partial(_named, one) for one in NAMES if one != first.name}
    from metalearn.explorer.page import Page, Settings
    from metalearn.explorer.server import serve_pages

    store = PixelStore(cache_folder() / "tiles" if tiles is None else Path(tiles).expanduser())
    settings = Settings(resolution, store, str(folder), dict(tracker or {"mode": "offline"}))
    if not serve:
        return Page(scenes, {}, settings).layout
    return serve_pages(scenes, settings, port, address, open)


_named = functools.cache(named_scene)


def _scene(problem, plane, num_steps, key, name, sigma) -> Scene:
    if isinstance(problem, Scene):
        return problem
    if isinstance(problem, str):
        return _named(problem)
    if isinstance(problem, Study):
        return study_scene(problem, key)
    if plane is None:
        raise ValueError(
            "A problem is explored on a plane; give ml.explore(problem, plane) an ml.landscape.Plane as second argument."
        )
    return problem_scene(problem, plane, num_steps, key, name, sigma)
