"""Pictures of trainability: ranks do not cross the border, every pixel has a colour, axes keep their digits."""

import io

import numpy as np
import pytest

from metalearn.figures import draw_landscape, draw_landscapes
from metalearn.figures.landscape import linear_stretch, rank_stretch
from metalearn.landscape import Axis, Landscape, Plane

MEASURE = np.array([[-3.0, -1.0, -2.0], [10.0, 1e6, 5.0]])


def landscape(undecided=False, x=None):
    flags = np.full(MEASURE.shape, undecided)
    axes = Axis("input rate", -3, 6, "log10") if x is None else x
    plane = Plane(axes, Axis("output rate", -3, 6, "log10"), lambda x, y: (x, y))
    return Landscape(
        MEASURE, MEASURE < 0, flags, np.full(MEASURE.shape, -1), plane, 500, 3000, np.ones(MEASURE.shape, bool)
    )


def test_ranks_are_spread_over_both_signs_and_the_fastest_pixels_are_palest():
    np.testing.assert_allclose(rank_stretch(MEASURE), [[1, 0.25, 0.625], [-0.625, -1, -0.25]])
    np.testing.assert_allclose(linear_stretch(MEASURE), [[1, 1 / 3, 2 / 3], [-1e-5, -1, -5e-6]])
    np.testing.assert_array_equal(rank_stretch(-np.ones((2, 2))), 0.25)


@pytest.mark.parametrize("norm", ["rank", "linear"])
def test_a_picture_has_axes_and_a_colour_bar_and_no_black_pixels(norm):
    path = {"PES": np.zeros((2, 5, 2))}
    figure = draw_landscape(landscape(), title="tanh", norm=norm, trajectories=path)
    axes, bar = figure.axes
    assert axes.get_title() == "tanh"
    assert axes.get_xlabel() == "log₁₀ input rate"
    assert "converged" in bar.get_ylabel()
    pixels = np.asarray(axes.images[0].get_array())
    assert pixels.shape == (2, 3, 4)
    assert pixels[..., :3].max(axis=-1).min() > 0.3
    blue, red = pixels[0, 0], pixels[1, 1]
    assert blue[2] > blue[0]
    assert red[0] > red[2]


def test_undecided_pixels_are_grey_and_in_the_legend():
    figure = draw_landscape(landscape(undecided=True))
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    assert np.ptp(pixels[..., :3], axis=-1).max() == 0
    assert "undecided" in figure.axes[0].get_legend().get_texts()[0].get_text()


def test_the_title_of_a_deep_zoom_has_all_digits_of_its_centre():
    figure = draw_landscape(landscape(x=Axis.around("input rate", 174.269509700711, 1e-12, "log10")))
    assert "174.269509700711" in figure.axes[0].get_xlabel()


def test_the_title_of_a_wide_window_has_as_many_digits_as_it_resolves():
    figure = draw_landscape(landscape(x=Axis.around("input rate", -1.4130434782608696, 4.5, "linear")))
    assert figure.axes[0].get_xlabel() == "(input rate + 1.4130)"


def test_an_unknown_norm_raises_an_error():
    with pytest.raises(ValueError, match="norm must be one of linear, rank"):
        draw_landscape(landscape(), norm="histogram")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(("count", "columns"), [(1, 3), (4, 3), (5, 4), (6, 3)])
def test_any_number_of_pictures_can_be_drawn_side_by_side(count, columns):
    figure = draw_landscapes({str(index): landscape() for index in range(count)}, columns=columns)
    figure.savefig(io.BytesIO(), format="png")
    assert [axes.get_title() for axes in figure.axes[:count]] == [str(index) for index in range(count)]
    assert len(figure.axes) == count + 1


def test_labels_without_measures_raise_an_error():
    with pytest.raises(TypeError, match=r"landscape must be the Landscape .*; ndarray was given"):
        draw_landscape(landscape().converged)  # pyright: ignore[reportArgumentType]
