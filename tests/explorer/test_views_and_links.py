"""Windows keep their precision, and links are read back bit for bit or refused in a sentence."""

import math

import numpy as np
import pytest

from metalearn.explorer import Link, View, read_link, view_of, write_link
from metalearn.explorer.view import limited, offset, precision_warning
from metalearn.landscape import Axis, Plane

LOGARITHMIC = Plane(Axis("a", -3, 6, "log10"), Axis("b", -3, 6, "log10"), lambda x, y: {"x": x, "y": y})
LINEAR = Plane(Axis("Re", -2.0, 0.8), Axis("Im", -1.4, 1.4), lambda x, y: {"x": x, "y": y})
HOMES = {"one": LOGARITHMIC, "two": LINEAR}


@pytest.mark.parametrize("home", [LOGARITHMIC, LINEAR])
def test_the_whole_plane_is_a_view(home):
    plane = view_of(home).plane(home)
    for ours, theirs in zip(plane[:2], home[:2]):
        np.testing.assert_allclose(ours.values(5), theirs.values(5), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("home", [LOGARITHMIC, LINEAR])
def test_a_zoom_keeps_the_point_under_the_pointer_and_a_pan_returns(home):
    view = view_of(home)
    across, up = 0.3 * view.half_width, -0.7 * view.half_height
    point = view.point(home, across, up)
    near = view.zoomed(home, 4.0, across, up)
    assert near.half_width == view.half_width / 4
    np.testing.assert_allclose(near.point(home, across / 4, up / 4), point, rtol=1e-13)
    back = near.moved(home, 0.2, 0.1).moved(home, -0.2, -0.1)
    np.testing.assert_allclose(back[:2], near[:2], rtol=1e-14)


def test_a_deep_window_has_distinct_pixels_and_offsets_are_accurate():
    view = View(200.3582269, 13.29976231, 1e-12, 1e-12)
    values = view.plane(LOGARITHMIC).x.values(129)
    assert len(np.unique(values)) == 129
    expected = np.log1p((values - view.x) / view.x) / math.log(10)
    assert [offset(LOGARITHMIC.x, view.x, value) for value in values] == pytest.approx(list(expected), rel=1e-12)


def test_windows_end_at_the_rounding_of_float64_and_the_gauge_warns_before():
    view = view_of(LINEAR)._replace(x=-0.75, y=0.1)
    warnings = []
    for _ in range(60):
        view = view.zoomed(LINEAR, 2.0)
        warnings.append(precision_warning(view, LINEAR, 129))
    assert view == limited(view, LINEAR) == view.zoomed(LINEAR, 2.0)
    assert warnings[0] == ""
    assert "roundings of float64 apart" in warnings[-1]
    first = next(index for index, said in enumerate(warnings) if said)
    assert first == pytest.approx(math.log2(1.4 / (0.5 * 128 * 100 * np.spacing(0.75))), abs=2)
    assert limited(view_of(LINEAR)._replace(half_width=1e9), LINEAR).half_width == pytest.approx(8 * 1.4)


@pytest.mark.parametrize("name", list(HOMES))
def test_a_link_is_read_back_bit_for_bit(name):
    rng = np.random.default_rng(0)
    for _ in range(50):
        view = view_of(HOMES[name]).moved(HOMES[name], *rng.uniform(-1, 1, 2))
        view = view.zoomed(HOMES[name], 10.0 ** rng.uniform(0, 10))
        link = Link(name, view, "exponent", "linear", "magma")
        assert read_link(write_link(link), HOMES, "one") == (link, [])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("x=abc", ["x='abc'", "not a number"]),
        ("x=nan", ["x=nan", "finite"]),
        ("width=-1", ["width=-1", "positive"]),
        ("height=0", ["height=0", "positive"]),
        ("width=inf", ["finite"]),
        ("layer=trainabilty", ["trainabilty", "did you mean trainability"]),
        ("norm=log", ["norm='log'", "rank, linear"]),
        ("colours=jet", ["colours='jet'", "Spectral"]),
        ("problem=three", ["problem='three'", "one, two"]),
        ("x=-5", ["positive"]),
        ("x=1e300", ["far outside"]),
        ("zoom=3", ["unknown part 'zoom'"]),
        ("x=", ["x=''"]),
    ],
)
def test_a_bad_value_in_a_link_is_a_sentence_and_the_rest_is_used(query, words):
    link, said = read_link(query, HOMES, "one")
    assert link.view == view_of(LOGARITHMIC)
    assert len(said) == 1
    assert all(word in said[0] for word in words), said
    assert said[0].endswith(".")
    other, _ = read_link(f"{query}&norm=linear", HOMES, "one")
    assert other.norm == ("linear" if "norm" not in query else other.norm)
