"""The style of the figures."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# Okabe and Ito, Color Universal Design (2008): distinguishable with common colour blindness, most of them in grey.
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000", "#F0E442")
NOT_FINITE = "0.8"  # the colour of pixels without a finite value

_SETTINGS = {
    "figure.figsize": (7.0, 4.5),
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.6,
    "image.origin": "lower",
    "image.interpolation": "nearest",
    "image.cmap": "viridis",
}


@contextlib.contextmanager
def save_style() -> Iterator[None]:
    """Use the project's style for figures in files: readable sizes, colour-blind safe colours, and no window.

    Settings and backend are restored afterwards. Draw figures inside; they can be saved outside. Inside, NumPy gives no
    warnings, because values that are not finite are drawn as such.
    """
    import matplotlib
    from cycler import cycler

    backend = _current_backend()
    settings: dict[Any, Any] = {**_SETTINGS, "axes.prop_cycle": cycler(color=OKABE_ITO)}
    with matplotlib.rc_context(settings), np.errstate(all="ignore"):
        matplotlib.use("agg")
        try:
            yield
        finally:
            if backend and backend.lower() != "agg":
                matplotlib.use(backend)


def later(draw: Callable[..., Any], *arguments: Any, **settings: Any) -> Callable[[], Any]:
    """Return a function that draws a figure when it is needed; `Run.figure` and `write_report` catch its errors.

    Args:
      draw: a function that returns a matplotlib figure.
      arguments, settings: its arguments.
    """
    return functools.cache(functools.partial(draw, *arguments, **settings))


def legend(axes: Any, **settings: Any) -> None:
    """Draw the legend of an axes, if it has entries."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**settings)


def _current_backend() -> str | None:
    """Return the backend in use, or None if none is chosen yet, without choosing one."""
    import matplotlib

    try:
        return matplotlib.get_backend(auto_select=False)  # type: ignore[call-arg]
    except TypeError:  # matplotlib 3.9 has no such argument
        return None
