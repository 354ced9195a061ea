"""The widgets of the page."""

# pyright: reportMissingImports=false
# Panel and Bokeh are an extra (explore), and types are also checked where it is not installed.

from collections.abc import Callable, Sequence
from typing import Any

import panel as pn

from metalearn.explorer.layers import COLOURS, LAYERS, NORMS
from metalearn.explorer.link import Link
from metalearn.explorer.plots import darken

HELP = (
    "Drag to pan, scroll or pinch to zoom; with the keyboard: arrows, + and −. Click a point to train there; click a "
    "second point to compare the two."
)


def choices(link: Link, scenes: Sequence[str]) -> dict[str, Any]:
    """Return the menus for the parts of a link, by name."""
    options = {"problem": scenes, "layer": LAYERS, "norm": NORMS, "colours": COLOURS}
    return {
        name: pn.widgets.Select(name=name, value=getattr(link, name), options=list(allowed), width=150)
        for name, allowed in options.items()
    }


def button(name: str, action: Callable[[], Any], width: int = 150) -> Any:
    """Return a button that calls an action."""
    found = pn.widgets.Button(name=name, width=width)
    found.on_click(lambda event: action())
    return found


def warning(words: str, kind: str = "warning") -> Any:
    """Return a box for a sentence, which is hidden while there is none."""
    return pn.pane.Alert(words, alert_type=kind, visible=bool(words), css_classes=[kind])


def text(kind: str, wrap: bool = True) -> Any:
    """Return a pane for text in columns, whose long lines are wrapped, or can be scrolled."""
    lines = "white-space: pre-wrap; overflow-wrap: anywhere" if wrap else "white-space: pre; overflow-x: auto"
    style = f"pre {{ {lines}; margin: 0; }}"
    return pn.pane.Str("", css_classes=[kind], stylesheets=[style], sizing_mode="stretch_width")


def plot(figure: Any, theme: str | None, **settings: Any) -> Any:
    """Return a pane for a plot, in the colours of the page."""
    if theme == "dark":
        darken(figure)
    return pn.pane.Bokeh(figure, sizing_mode="stretch_width", min_width=280, **settings)
