"""The widgets of the page."""

# pyright: reportMissingImports=false
# Panel and Bokeh are an extra (explore), and types are also checked where it is not installed.

from collections.abc import Callable, Sequence
from typing import Any

import panel as pn

from metalearn.explorer.layers import COLOURS, LAYERS, NORMS
from metalearn.explorer.link import Link


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
