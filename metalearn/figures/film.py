"""Films: the images of a zoom through key frames, and the file formats."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from metalearn.figures.landscape import landscape_colours
from metalearn.inner.checks import check_count
from metalearn.landscape import Landscape
from metalearn.recording.files import replacing

FEATHER = 0.08  # the share of a key frame's side over which it fades into the wider key frame


def check_film(size: int, images_per_frame: int, images_per_second: int = 24) -> None:
    """Check the settings of a film, before its key frames are computed.

    Args:
      size, images_per_frame: as in `zoom_images`.
      images_per_second: as in `write_film`.

    Raises:
      TypeError: an argument is not a whole number.
      ValueError: `size` is odd or below 2, or another argument is below 1.
    """
    check_count("images_per_frame", images_per_frame)
    check_count("images_per_second", images_per_second)
    check_count("size", size, 2)
    if size % 2:
        raise ValueError(f"The size of a film must be even; {size} was given.")


def zoom_images(
    landscapes: Sequence[Landscape],
    *,
    size: int = 512,
    images_per_frame: int = 24,
    norm: Literal["rank", "linear"] = "rank",
) -> Iterator[np.ndarray]:
    """Yield the images of an exponential zoom through windows with one centre, widest first.

    Between two key frames the width decreases by the same factor with every image, and the deeper key frame fades in
    over the wider one. The width is written on each image.

    Args:
      landscapes: square key frames, such as those of `ml.landscape.zoom`.
      size: the side of an image in pixels, even.
      images_per_frame: the number of images from one key frame to the next.
      norm: as in `draw_landscape`.

    Yields:
      uint8 `[size, size, 3]`.

    Raises:
      ValueError: there is no key frame, `size` is odd, or the windows do not shrink.
    """
    from PIL import Image

    check_film(size, images_per_frame)
    if not landscapes:
        raise ValueError("A film needs at least one key frame.")
    widths = [_width(landscape) for landscape in landscapes]
    if any(deeper >= wider for wider, deeper in itertools.pairwise(widths)):
        raise ValueError(f"The key frames of a zoom must shrink; their widths are {widths}.")
    unit = "decades" if landscapes[0].plane.x.scale == "log10" else ""
    greys = ["" if np.isfinite(one.measure).all() else "  light grey: not finite" for one in landscapes]
    pictures = [Image.fromarray(_pixels(landscape, norm)) for landscape in landscapes]
    for index, picture in enumerate(pictures[:-1]):
        factor = widths[index] / widths[index + 1]
        for image in range(images_per_frame):
            share = image / images_per_frame
            view = _crop(picture, factor**-share, size)
            _lay_over(view, pictures[index + 1], factor ** (share - 1), share)
            grey = greys[index] or greys[index + 1]
            yield _captioned(view, f"{widths[index] * factor**-share:.1e} {unit}{grey}")
    yield _captioned(_crop(pictures[-1], 1.0, size), f"{widths[-1]:.1e} {unit}{greys[-1]}")


def write_film(path: str | Path, images: Iterable[np.ndarray], *, images_per_second: int = 24) -> Path:
    """Write images as H.264 in .mp4, or as .gif if PyAV is not installed (`pip install 'metalearn[film]'`).

    Args:
      path: the path of the film; its suffix is replaced.
      images: uint8 `[height, width, 3]` with even sides, all of the same shape; they are read one at a time.
      images_per_second: the frame rate.

    Returns:
      The path of the file, which exists only when it is complete.

    Raises:
      ValueError: there are no images, or `images_per_second` is below 1.
    """
    check_count("images_per_second", images_per_second)
    images = iter(images)
    first = next(images, None)
    if first is None:
        raise ValueError("A film needs at least one image.")
    try:
        import av
    except ImportError:
        av = None
    path = Path(path).with_suffix(".gif" if av is None else ".mp4")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        if av is None:
            _write_gif(file, first, images, images_per_second)
        else:
            _write_mp4(av, file, first, images, images_per_second)
    return path


def _write_mp4(av, file, first, images, images_per_second):
    with av.open(str(file), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=images_per_second)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20"}
        for image in _chain(first, images):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())


def _write_gif(file, first, images, images_per_second):
    from PIL import Image

    rest = (Image.fromarray(image) for image in images)
    duration = 1000 / images_per_second
    Image.fromarray(first).save(file, format="gif", save_all=True, append_images=rest, duration=duration, loop=0)


def _chain(first: Any, rest: Iterable[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _width(landscape):
    return landscape.plane.x.high - landscape.plane.x.low


def _pixels(landscape, norm):
    return np.round(255 * landscape_colours(landscape, norm)[::-1, :, :3]).astype(np.uint8)


def _crop(picture, share, size):
    """Crop a picture to its middle, a share of its side, and resize it to the size of the film."""
    from PIL import Image

    rim = [side * (1 - share) / 2 for side in picture.size]
    box = (rim[0], rim[1], picture.size[0] - rim[0], picture.size[1] - rim[1])
    return picture.resize((size, size), Image.Resampling.BICUBIC, box=box)


def _lay_over(view, picture, share, opacity):
    """Paste a deeper key frame on the middle of the view, with a fading rim."""
    from PIL import Image

    side = round(view.size[0] * share)
    if side < 2 or opacity == 0:
        return
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    fade = np.clip(distance / max(1.0, FEATHER * side), 0, 1)
    mask = Image.fromarray(np.round(255 * opacity * np.minimum.outer(fade, fade)).astype(np.uint8))
    corner = (view.size[0] - side) // 2
    view.paste(picture.resize((side, side), Image.Resampling.BICUBIC), (corner, corner), mask)


def _captioned(view, text):
    from PIL import ImageDraw, ImageFont

    draw = ImageDraw.Draw(view)
    font = ImageFont.load_default(max(10, view.size[0] // 28))
    place = (view.size[0] // 40, view.size[1] - view.size[1] // 14)
    box = draw.textbbox(place, text.strip(), font=font)
    draw.rectangle((box[0] - 5, box[1] - 4, box[2] + 5, box[3] + 4), fill="white")
    draw.text(place, text.strip(), fill="black", font=font)
    return np.asarray(view)
