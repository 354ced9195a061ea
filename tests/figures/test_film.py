"""Films: the zoom is exponential about the centre, frames blend without a jump, both formats can be read back."""

import sys

import numpy as np
import pytest

from metalearn.figures import write_film, zoom_images
from metalearn.figures.landscape import landscape_colours
from metalearn.landscape import Axis, Landscape, Plane, zoom

SIZE = 64


def frames(count=3, resolution=65):
    """Frames of a half plane whose border passes through the centre, so that all windows look alike."""
    plane = Plane(Axis("rate", -3, 3, "log10"), Axis("other rate", -3, 3, "log10"), lambda x, y: (x, y))
    measure = np.where(np.arange(resolution) < resolution / 2, -2.0, 3.0) * np.ones((resolution, 1))
    blank = np.zeros(measure.shape, bool)
    return [
        Landscape(measure, measure < 0, blank, blank.astype(int) - 1, window, 500, 1, ~blank)
        for window in zoom(plane, 1.0, 1.0, count)
    ]


def test_a_self_similar_picture_does_not_change_during_the_film():
    images = list(zoom_images(frames(), size=SIZE, images_per_frame=5))
    assert len(images) == 11
    assert {(image.shape, image.dtype) for image in images} == {((SIZE, SIZE, 3), np.dtype(np.uint8))}
    far = np.abs(np.arange(SIZE) - SIZE / 2) > 4  # the border itself is smoothed
    for image in images:
        rows = image[: SIZE // 2, far].astype(int)  # the caption is below
        assert np.abs(rows - images[0][: SIZE // 2, far]).max() <= 2


def test_the_window_shrinks_exponentially_about_its_centre():
    """A square a quarter of the frame wide fills half of it after one halving, for any content of the deeper frame."""
    wide, deep = frames(2)
    square = np.where(np.maximum.outer(*[np.abs(np.arange(65) - 32)] * 2) <= 8, -2.0, 3.0)
    inside = np.where(np.maximum.outer(*[np.abs(np.arange(65) - 32)] * 2) <= 16, -2.0, 3.0)
    pair = [wide._replace(measure=square), deep._replace(measure=inside)]
    images = list(zoom_images(pair, size=SIZE, images_per_frame=4))
    green = [(image[..., 1] > image[..., 0]).mean() for image in images]
    np.testing.assert_allclose(green, [(17 / 65) ** 2 * 4 ** (i / 4) for i in range(5)], atol=0.04)


def test_the_last_image_is_the_last_frame():
    last = list(zoom_images(frames(), size=130, images_per_frame=2))[-1]
    colours = np.round(255 * landscape_colours(frames()[-1])[::-1, :, :3]).astype(int)
    assert np.abs(last[0, 4:50].astype(int) - colours[0, 1]).max() <= 2


def test_an_mp4_contains_the_images(tmp_path):
    av = pytest.importorskip("av")
    images = list(zoom_images(frames(), size=SIZE, images_per_frame=5))
    path = write_film(tmp_path / "zoom", iter(images), images_per_second=12)
    assert path.name == "zoom.mp4"
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 12
        decoded = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(decoded) == len(images)
    assert np.mean(np.abs(decoded[3].astype(int) - images[3])) < 6
    assert [path.name for path in tmp_path.iterdir()] == ["zoom.mp4"]


def test_without_an_encoder_the_film_is_a_gif(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setitem(sys.modules, "av", None)
    images = list(zoom_images(frames(), size=SIZE, images_per_frame=5))
    path = write_film(tmp_path / "zoom.mp4", images, images_per_second=10)
    assert path.name == "zoom.gif"
    with Image.open(path) as film:
        assert film.size == (SIZE, SIZE)
        assert film.info["duration"] == 100


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: list(zoom_images([], size=64)), "at least one key frame"),
        (lambda: list(zoom_images(frames(), size=63)), "must be even"),
        (lambda: list(zoom_images(frames()[::-1])), "must shrink"),
        (lambda: list(zoom_images(frames(), images_per_frame=0)), "images_per_frame must be at least 1"),
        (lambda: write_film("film", []), "at least one image"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()
