"""Colours of a picture, and PNG files that contain the numbers of their view."""

from pathlib import Path
from typing import Any

import numpy as np

from metalearn.explorer.layers import MEANINGS, Picture
from metalearn.explorer.link import Link, write_link
from metalearn.explorer.scene import Scene
from metalearn.figures.landscape import landscape_colours, linear_stretch, rank_stretch
from metalearn.figures.style import NOT_FINITE
from metalearn.version import __version__

AUTOMATIC = {"meta-loss": "viridis_r", "gradient": "magma", "exponent": "RdBu_r", "roughness": "cividis"}


def colour(picture: Picture, norm: str, colours: str) -> np.ndarray:
    """Return the colours of a picture, uint8 `[height, width, 4]`; pixels without a value are grey."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgba

    if picture.layer == "trainability":
        if colours in ("automatic", "Spectral"):
            return _bytes(landscape_colours(picture.landscape, norm))  # pyright: ignore[reportArgumentType]
        shares = ((rank_stretch if norm == "rank" else linear_stretch)(picture.values) + 1) / 2
    else:
        shares = scale(picture.values, norm, symmetric=picture.layer == "exponent")
    chosen = AUTOMATIC.get(picture.layer, "Spectral") if colours == "automatic" else colours
    found = colormaps[chosen](np.nan_to_num(shares))
    found[~np.isfinite(picture.values)] = to_rgba(NOT_FINITE)
    return _bytes(found)


def scale(values: np.ndarray, norm: str, symmetric: bool = False) -> np.ndarray:
    """Return values in [0, 1] by rank, or linearly between the 2nd and the 98th percentile; NaN where not finite.

    If `symmetric`, zero has the value ½.
    """
    shares, finite = np.full(values.shape, np.nan), np.isfinite(values)
    if not finite.any():
        return shares
    some = values[finite]
    if norm == "rank" and not symmetric:
        known, place = np.unique(some, return_inverse=True)
        shares[finite] = place.ravel() / max(len(known) - 1, 1)
        return shares
    low, high = limits(values, symmetric)
    shares[finite] = np.clip((some - low) / (high - low), 0, 1) if high > low else 0.5
    return shares


def limits(values: np.ndarray, symmetric: bool = False) -> tuple[float, float]:
    """Return the values at the ends of a linear scale."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 1.0
    if symmetric:
        largest = float(np.quantile(np.abs(finite), 0.98))
        return -largest, largest
    low, high = np.quantile(finite, [0.02, 0.98])
    return float(low), float(high)


def legend(picture: Picture, norm: str, colours: str) -> str:
    """Return the colour bar of a picture, with what its ends mean, as HTML."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    chosen = AUTOMATIC.get(picture.layer, "Spectral") if colours == "automatic" else colours
    stops = ", ".join(to_hex(colormaps[chosen](share)) for share in np.linspace(0, 1, 17))
    if picture.layer == "trainability":
        ends = ("diverged, slow", "fast | fast", "converged, slow; dark grey: undecided")
    else:
        finite = picture.values[np.isfinite(picture.values)]
        symmetric = picture.layer == "exponent"
        low, high = limits(picture.values, symmetric)
        if norm == "rank" and not symmetric and finite.size:
            low, high = float(finite.min()), float(finite.max())
        scaled = "by rank" if norm == "rank" and not symmetric else "linear"
        ends = (f"{low:.3g}", f"{MEANINGS[picture.layer]} ({scaled}; light grey: no value)", f"{high:.3g}")
    spans = "".join(f"<span>{words}</span>" for words in ends)
    return (
        f'<div style="height:10px;background:linear-gradient(to right, {stops})"></div>'
        f'<div style="display:flex;justify-content:space-between;gap:8px;font-size:12px">{spans}</div>'
    )


def describe(picture: Picture, scene: Scene, link: Link) -> dict[str, str]:
    """Return the numbers of a picture as text, by name."""
    view, found = picture.view, picture.landscape
    numbers = {
        "Software": f"metalearn {__version__}",
        "metalearn:problem": scene.name,
        "metalearn:layer": f"{picture.layer} ({MEANINGS[picture.layer]})",
        "metalearn:norm": link.norm,
        "metalearn:x": repr(view.x),
        "metalearn:y": repr(view.y),
        "metalearn:width": repr(2 * view.half_width),
        "metalearn:height": repr(2 * view.half_height),
        "metalearn:steps": str(scene.num_steps),
        "metalearn:resolution": str(picture.resolution),
        "metalearn:link": f"?{write_link(link)}",
    }
    if found is not None:
        shares = {"converged": found.converged.mean(), "undecided": found.undecided.mean()}
        numbers |= {f"metalearn:{name}": f"{share:.6f}" for name, share in shares.items()}
    finite = picture.values[np.isfinite(picture.values)]
    if finite.size:
        numbers |= {"metalearn:smallest": repr(float(finite.min())), "metalearn:largest": repr(float(finite.max()))}
    return numbers


def save_png(target: str | Path | Any, picture: Picture, scene: Scene, link: Link, least: int = 512) -> None:
    """Write the picture as a PNG whose text chunks are the numbers of `describe`; at least `least` pixels a side."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    notes = PngInfo()
    for name, value in describe(picture, scene, link).items():
        notes.add_itxt(name, value)
    image = Image.fromarray(colour(picture, link.norm, link.colours)[::-1])
    times = -(-least // picture.resolution)
    image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST).save(
        target, "PNG", pnginfo=notes
    )


def _bytes(colours):
    return np.ascontiguousarray(np.round(colours * 255).astype(np.uint8))
