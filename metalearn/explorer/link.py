"""Permanent links: the query of an address that describes a view, and sentences about bad values."""

import math
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

from metalearn.explorer.layers import COLOURS, LAYERS, NORMS
from metalearn.explorer.view import View, limited, view_of
from metalearn.landscape import Plane
from metalearn.words import suggestion

KEYS = ("problem", "layer", "norm", "colours", "x", "y", "width", "height")
CHOICES = {"layer": LAYERS, "norm": NORMS, "colours": COLOURS}


class Link(NamedTuple):
    """What a link describes.

    Attributes:
      problem: the name of the scene.
      view: the window.
      layer, norm, colours: what is drawn in it, and how.
    """

    problem: str
    view: View
    layer: str = LAYERS[0]
    norm: str = NORMS[0]
    colours: str = COLOURS[0]


def write_link(link: Link) -> str:
    """Return the query of a link; numbers are written with all digits, so that reading it gives the same bits."""
    view = link.view
    words = {name: getattr(link, name) for name in KEYS[:4]}
    sides = {"x": view.x, "y": view.y, "width": 2 * view.half_width, "height": 2 * view.half_height}
    return urlencode(words | {name: repr(float(value)) for name, value in sides.items()})


def read_link(query: str | Mapping[str, str], homes: Mapping[str, Plane], default: str) -> tuple[Link, list[str]]:
    """Read the query of a link.

    Args:
      query: the part of an address after "?", or its keys and values.
      homes: the plane of every scene by name.
      default: the scene if the query names none.

    Returns:
      The link, and a sentence for every part of the query that cannot be used. Such a part has its default value.
    """
    pairs = dict(query) if isinstance(query, Mapping) else dict(parse_qsl(query.lstrip("?"), keep_blank_values=True))
    said = [
        f"The link has an unknown part {name!r}{suggestion(name, KEYS)}; a link can have: {', '.join(KEYS)}."
        for name in pairs
        if name not in KEYS
    ]
    chosen = {"problem": default}
    for name, allowed in ({"problem": tuple(homes)} | CHOICES).items():
        if name not in pairs:
            continue
        if pairs[name] in allowed:
            chosen[name] = pairs[name]
        else:
            near = suggestion(pairs[name], allowed)
            said.append(f"The link asks for {name}={pairs[name]!r}{near}; {name} can be: {', '.join(allowed)}.")
    home = homes[chosen["problem"]]
    view, more = _read_view(pairs, home)
    return Link(view=view, **chosen), said + more


def _read_view(pairs, home) -> tuple[View, list[str]]:
    whole, numbers, said = view_of(home), {}, []
    for name in KEYS[4:]:
        if name not in pairs:
            continue
        try:
            numbers[name] = float(pairs[name])
        except ValueError:
            said.append(f"The link asks for {name}={pairs[name]!r}, which is not a number. The whole plane is shown.")
            continue
        if not math.isfinite(numbers[name]):
            said.append(f"The link asks for {name}={pairs[name]}; it must be finite. The whole plane is shown.")
        elif name in ("width", "height") and numbers[name] <= 0:
            said.append(f"The link asks for {name}={pairs[name]}; it must be positive. The whole plane is shown.")
    if said:
        return whole, said
    sides = {f"half_{name}": numbers[name] / 2 for name in ("width", "height") if name in numbers}
    centre = {name: numbers[name] for name in "xy" if name in numbers}
    view = limited(whole._replace(**centre, **sides), home)
    try:
        view.plane(home)
        for name, axis in zip("xy", home[:2]):
            _check_near(name, axis, getattr(view, name))
    except ValueError as error:
        return whole, [f"The link asks for a window that does not exist. {error} The whole plane is shown."]
    return view, []


def _check_near(name, axis, value) -> None:
    middle = axis.value((axis.low + axis.high) / 2)
    distance = math.log10(value / middle) if axis.scale == "log10" else value - middle
    if abs(distance) > 8 * (axis.high - axis.low):
        raise ValueError(f"{name} = {value:g} is far outside of the plane.")
