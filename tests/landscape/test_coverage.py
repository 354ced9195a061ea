"""The errors of roughness and of dimensions cover: 200 repetitions of cuts and borders with known answers.

The rules were developed on fractional Brownian motion, the snowflake and graphs of waves. Triangle waves, snowflakes
with bumps on random sides or of another angle, and graphs of Brownian motion are independent checks.
"""

import math

import numpy as np
import pytest

from metalearn.landscape import border_dimension, box_counting_dimension, edges, published_dimension, roughness
from metalearn.landscape import uncertainty_dimension as by_uncertainty
from metalearn.landscape.fit import line
from tests.coverage import coverage, covers, repeated
from tests.landscape.known import KOCH, brownian, disc, half_plane, koch, triangles, under, waves

cut = lambda found: (found.exponent, found.standard_error)
border = lambda found: (found.dimension, found.standard_error)


@pytest.mark.parametrize("exponent", [0.2, 0.8])
def test_the_error_of_roughness_covers_on_fractional_brownian_motion(exponent):
    found = repeated(lambda values: cut(roughness(values, 0.1)), lambda random: brownian(exponent, 2048, random))
    assert covers(*found, exponent)


@pytest.mark.parametrize(("make", "exponent"), [(waves, 0.8), (triangles, 0.9)])
def test_the_error_of_roughness_covers_on_sums_of_waves(make, exponent):
    found = repeated(lambda values: cut(roughness(values, 1.0)), lambda random: make(exponent, 2048, random))
    assert covers(*found, exponent)


def test_first_differences_would_not_cover_above_three_quarters():
    """With first differences at H = 0.9, the spread over stretches underestimates the error."""

    def first(values):
        lags = 2 ** np.arange(7)
        stretches = np.array([np.abs(values[lag : lag + 1920] - values[:1920]).reshape(16, -1).mean(1) for lag in lags])
        away = stretches / stretches.mean(axis=1, keepdims=True) - 1
        return line(lags, stretches.mean(axis=1), away @ away.T / 240)

    assert coverage(*repeated(first, lambda random: brownian(0.9, 2048, random)), 0.9).one < 0.5


BORDERS = {
    "snowflake": (lambda random: koch(128, random), KOCH),
    "snowflake, random sides": (lambda random: koch(256, random, both_sides=True), KOCH),
    "graph of Brownian motion": (lambda random: under(brownian(0.5, 256, random), 256), 1.5),
}


@pytest.mark.parametrize("name", BORDERS)
def test_the_error_of_the_three_point_rule_covers(name):
    make, dimension = BORDERS[name]
    assert covers(*repeated(lambda labels: border(by_uncertainty(labels)), make), dimension)


WIDER = {
    "disc": (lambda random: disc(128, random), 1.0),
    "half plane": (lambda random: half_plane(128, random), 1.0),
    "graph of waves": (lambda random: under(waves(0.5, 256, random), 256), 1.5),
}


@pytest.mark.parametrize("name", WIDER)
def test_the_three_point_rule_covers_with_errors_that_may_be_too_wide(name):
    """With few independent differences, the stated error covers 68 % of the repetitions or more."""
    make, dimension = WIDER[name]
    values, errors = repeated(lambda labels: border(by_uncertainty(labels)), make)
    seen = coverage(values, errors, dimension)
    assert seen.one >= 0.6
    assert seen.two >= 0.9
    assert not coverage(values, errors / 3, dimension)
    assert coverage(values + 3 * np.median(errors), errors, dimension).one < 0.5


@pytest.mark.parametrize(
    ("make", "dimension", "sign"),
    [
        (lambda random: disc(256, random), 1.0, 1),
        (lambda random: koch(256, random, both_sides=True), KOCH, 1),
        (lambda random: under(waves(0.5, 256, random), 256), 1.5, -1),
    ],
)
def test_the_published_rule_errs_in_both_directions_and_nested_boxes_in_one(make, dimension, sign):
    masks = [edges(make(np.random.default_rng(seed))) for seed in range(64)]
    published = np.array([published_dimension(mask).dimension for mask in masks]) - dimension
    assert sign * np.mean(published) > 3 * np.std(published) / np.sqrt(64)
    assert np.mean([box_counting_dimension(mask).dimension for mask in masks[:8]]) < dimension - 0.03


def test_a_self_affine_border_has_the_exponent_of_its_rougher_axis():
    """An average over both axes would give about 1.4 for the graph."""
    labels = under(waves(0.5, 1024, np.random.default_rng(0)), 1024)
    for turned in (labels, labels.T):
        assert by_uncertainty(turned).dimension == pytest.approx(1.5, abs=0.06)


def test_box_counting_states_that_its_error_is_a_lower_bound():
    """They are low by many errors, which cannot be seen in the picture."""
    makes = (
        (lambda random: under(waves(0.5, 256, random), 256), 1.5, edges),
        (lambda random: disc(256, random), 2.0, lambda x: x),
    )
    for make, dimension, of in makes:
        found = [box_counting_dimension(of(make(np.random.default_rng(seed)))) for seed in range(8)]
        assert np.mean([one.dimension - dimension for one in found]) < -0.15
        assert all("lower bound on the error" in str(one) for one in found)
    labels = koch(128, np.random.default_rng(0))
    assert published_dimension(edges(labels)).lower_bound
    assert "lower bound" not in str(by_uncertainty(labels))
    for rule in ("published rule", "nested boxes", "3-point rule"):
        report = border_dimension(labels, rule=rule)
        assert report.lower_bound == ("lower bound on the error" in str(report)) == (rule != "3-point rule")


def test_the_error_of_a_line_includes_sampling_noise_and_scatter():
    """The fit of a line to points with known noise, and to points that scatter by more than that."""
    sizes = 2.0 ** np.arange(9)
    noise = np.diag(0.02**2 * sizes / 8)
    for scatter in (0.0, 0.1):
        total = np.sqrt(np.diagonal(noise) + scatter**2)
        values, errors = zip(
            *(
                line(sizes, sizes**0.7 * np.exp(total * np.random.default_rng(seed).normal(size=9)), noise)
                for seed in range(200)
            )
        )
        assert covers(values, errors, 0.7)


@pytest.mark.slow
@pytest.mark.parametrize("both_sides", [False, True])
@pytest.mark.parametrize("angle", [math.pi / 4, math.pi / 3])
def test_the_error_of_the_dimension_covers_on_snowflakes_of_other_dimensions(both_sides, angle):
    dimension = math.log(4) / math.log(2 + 2 * math.cos(angle))
    make = lambda random: koch(512, random, angle=angle, both_sides=both_sides)
    seen = coverage(*repeated(lambda labels: border(by_uncertainty(labels)), make), dimension)
    assert seen.one >= 0.6
    assert seen.two >= 0.9
