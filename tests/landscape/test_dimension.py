"""Dimensions of sets with known dimension, and input that raises an error: docs/theory.md §8.6."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.landscape import (
    Axis,
    Plane,
    border_dimension,
    box_counting_dimension,
    dimension_table,
    edges,
    escape_time,
    published_dimension,
    render,
    uncertainty_dimension,
)
from metalearn.landscape.dimension import RULES

N = 513
KEY = jax.random.key(0)


def grid(half_width):
    line = np.linspace(-half_width, half_width, N)
    return np.meshgrid(line, line)


def disc():
    x, y = grid(1)
    return (x - 0.01) ** 2 + (y - 0.02) ** 2 < 0.36


def half_plane():
    x, y = grid(1)
    return y < np.tan(0.3) * x + 0.01


def escaped(problem, half_width, bound):
    plane = Plane(Axis("x", -half_width, half_width), Axis("y", -half_width, half_width), lambda x, y: {"x": x, "y": y})
    return render(escape_time(problem, 200, bound), plane, N, chunk_size=N, float64=True)["escaped"]


def newton():
    problem = ml.problems.newton()
    plane = Plane(Axis("x", -2, 2), Axis("y", -2, 2.001), lambda x, y: {"x": x, "y": y})

    def near(theta):
        state = problem.init(theta, None)
        for _ in range(40):
            state = problem.step(state, theta, None)
        return problem.loss(state, theta, None) < 0.01

    return render(near, plane, N, chunk_size=N, float64=True)


PICTURES = {
    "disc": (disc, 1.0),
    "half plane": (half_plane, 1.0),
    "Newton": (newton, 1.4444),
    "Julia, c = -1": (lambda: escaped(ml.problems.julia(-1.0), 1.7, 4.0), 1.26835),
    "rabbit": (lambda: escaped(ml.problems.julia(-0.122561 + 0.744862j), 1.4, 4.0), 1.3934),
}


@pytest.fixture(scope="module", params=PICTURES)
def picture(request):
    build, dimension = PICTURES[request.param]
    return build(), dimension


def test_the_uncertainty_dimension_of_known_borders_is_within_its_error(picture):
    labels, dimension = picture
    fit = uncertainty_dimension(labels)
    assert fit.refused == ""
    assert abs(fit.dimension - dimension) < 0.03
    assert abs(fit.dimension - dimension) < 5 * fit.standard_error


def test_the_box_dimension_of_known_borders_is_within_its_error(picture):
    labels, dimension = picture
    assert abs(box_counting_dimension(edges(labels)).dimension - dimension) < 0.08


def test_box_counting_is_exact_for_exact_sets_in_their_own_base():
    i = np.arange(1024)
    sierpinski = (i[:, None] & i[None, :]) == 0
    assert box_counting_dimension(sierpinski).dimension == pytest.approx(np.log2(3), abs=1e-6)
    assert box_counting_dimension(np.ones((256, 256), bool)).dimension == pytest.approx(2, abs=1e-6)
    thirds = np.arange(729)
    cantor = np.array(["1" not in np.base_repr(k, 3) for k in thirds])
    ones = np.array([[digit == "1" for digit in np.base_repr(k, 3).zfill(6)] for k in thirds])
    carpet = ~np.any(ones[:, None] & ones[None, :], axis=-1)
    everything = np.ones(729, bool)
    for picture, dimension in (
        (cantor[:, None] & cantor, 2 * np.log(2) / np.log(3)),
        (cantor[:, None] & everything, 1 + np.log(2) / np.log(3)),
        (carpet, np.log(8) / np.log(3)),
    ):
        assert box_counting_dimension(picture, base=3).dimension == pytest.approx(dimension, abs=1e-6)
        assert abs(box_counting_dimension(picture).dimension - dimension) > 1e-3  # the wrong base is not exact


@pytest.mark.parametrize(("rate", "repeller"), [(3.1, 0.833059176), (4.0, 0.5516185684)])
def test_the_dimension_of_the_repeller_of_the_cubic_loss_is_the_known_one(rate, repeller):
    """The starts from which x ← x − η (x − x²), η > 3, does not escape form a Cantor set. Gaps differ in escape parity.

    At distances near the size of its largest gap the set looks denser than it is, so only the smallest are used.
    """
    problem = ml.InnerProblem(
        lambda theta, key: theta,
        lambda x, theta, key: ml.problems.cubic_loss().step(x, jnp.asarray(rate, x.dtype), key),
        lambda x, theta, key: jnp.abs(x),
    )
    plane = Plane(Axis("start", -1 / rate, 1 + 1 / rate), Axis("nothing", 0, 1), lambda x, y: x)
    steps = render(escape_time(problem, 200, 10.0), plane, (4097, 2), chunk_size=4097, float64=True)["step"][0]
    fit = uncertainty_dimension(np.broadcast_to(steps % 2 == 0, (4097, 4097)))
    assert np.mean(fit.local_slopes[:3]) - 1 == pytest.approx(repeller, abs=0.03)


def test_local_slopes_are_dimensions_even_if_the_fit_fails():
    line = np.zeros((64, 64), bool)
    line[17] = True
    fit = box_counting_dimension(line)
    np.testing.assert_allclose(fit.local_slopes, 1, atol=0.1)
    refused = box_counting_dimension(np.ones((16, 16), bool), base=3)
    assert refused.refused
    assert np.all(refused.local_slopes > 1.5)


def test_the_report_lists_every_error_and_a_control():
    labels = newton()
    for rule, bias in (("published rule", 0.2), ("nested boxes", 0.08), ("3-point rule", 0.03)):
        report = border_dimension(labels, before=labels, rule=rule)
        assert abs(report.control - 1) < bias
        assert abs(report.dimension - 1.4444) < bias
        assert report.horizon == 0
        assert 0 < report.resolution < 0.15
        assert 0.001 < report.statistical < 0.25
        assert 0 < report.null_ratio < 0.2
        for word in ("lower bound" if report.lower_bound else "stat", "resolution", "T/2", "control circle"):
            assert word in str(report)


@pytest.mark.parametrize("side", [64, 65, 100])
def test_the_report_of_a_small_picture_has_every_row(side):
    line = np.arange(side)
    measure = np.where((line[:, None] - side / 3) ** 2 + (line - side / 2.1) ** 2 < side**2 / 8, -1.0, 1.0)
    rows = dimension_table(measure, np.zeros(measure.shape, bool))
    assert [row["rule"] for row in rows] == list(RULES)
    assert all(row["summary"] and np.isfinite(row["dimension"]) for row in rows)
    small = dimension_table(measure[:63], np.zeros(measure.shape, bool)[:63])
    assert [row["rule"] for row in small] == list(RULES)
    assert all(np.isnan(row["dimension"]) and "64 × 64 are needed" in row["summary"] for row in small)


def test_the_bootstrap_error_of_box_counting_is_larger_for_less_border():
    """The dimension of a border in one corner is less certain than that of a border everywhere."""
    everywhere = np.indices((512, 512)).sum(axis=0) % 128 == 0
    corner = everywhere & (np.indices((512, 512)).max(axis=0) < 160)
    assert box_counting_dimension(corner).standard_error > 3 * box_counting_dimension(everywhere).standard_error


def test_an_unresolved_border_raises_an_error_with_the_reason():
    noise = np.random.default_rng(0).random((256, 256)) < 0.4
    fit = uncertainty_dimension(noise)
    assert np.isnan(fit.dimension)
    assert "unresolved" in fit.refused
    assert "no border" in uncertainty_dimension(np.zeros((64, 64), bool)).refused
    assert box_counting_dimension(np.zeros((64, 64), bool)).refused
    assert published_dimension(np.zeros((64, 64), bool)).refused
    for rule in RULES:
        report = border_dimension(noise, rule=rule)
        assert report.null_ratio == pytest.approx(1, abs=0.05)
        assert "unresolved" in str(report)
        assert "no border" in border_dimension(np.zeros((64, 64), bool), rule=rule).refused or rule == "nested boxes"
        assert border_dimension(np.zeros((64, 64), bool), rule=rule).refused
    with pytest.raises(ValueError, match="rule must be one of"):
        border_dimension(noise, rule="boxes")


def test_the_published_estimator_is_the_median_slope_of_ten_sizes():
    labels = edges(disc())
    fit = published_dimension(labels)
    assert fit.sizes[0] == 10
    assert fit.sizes[-1] in (511, 512)
    naive = [
        sum(
            0 < box.sum() < box.size
            for row in range(0, 512, d)
            for box in [labels[row : row + d, c : c + d] for c in range(0, 512, d)]
        )
        for d in fit.sizes
    ]
    np.testing.assert_array_equal(fit.counts, naive)
    assert fit.dimension == pytest.approx(np.median(-np.gradient(np.log(fit.counts), np.log(fit.sizes))))


@pytest.mark.parametrize("bad", [np.ones((64, 64)), np.ones((8, 64), bool), np.ones(64, bool)])
def test_invalid_arguments_raise_a_clear_error(bad):
    for measure in (box_counting_dimension, published_dimension, uncertainty_dimension, border_dimension):
        with pytest.raises(ValueError, match="picture of booleans"):
            measure(bad)


def test_classical_fractals_have_the_known_labels_at_known_points():
    at = lambda problem, x, y, bound=4.0: escape_time(problem, 300, bound)({"x": jnp.array(x), "y": jnp.array(y)})
    assert not at(ml.problems.mandelbrot(), -1.0, 0.0)["escaped"]
    assert not at(ml.problems.mandelbrot(), -0.122561, 0.744862)["escaped"]
    assert at(ml.problems.mandelbrot(), 0.3, 0.0)["escaped"]
    assert int(at(ml.problems.mandelbrot(), 1.0, 0.0)["step"]) == 3  # 0, 1, 2, 5
    assert not at(ml.problems.burning_ship(), -1.755, 0.0)["escaped"]
    assert at(ml.problems.burning_ship(), 1.0, 1.0)["escaped"]
    assert not at(ml.problems.magnet(), 0.0, 0.0, 1e4)["escaped"]


@pytest.mark.parametrize(("rate", "exponent", "error"), [(3.2, -0.9162907, 1e-3), (3.9, 0.4961, 0.03)])
def test_the_diagonal_of_the_lyapunov_fractal_is_the_logistic_map(rate, exponent, error):
    problem, theta = ml.problems.lyapunov_logistic("AB"), {"x": jnp.array(rate), "y": jnp.array(rate)}
    losses = ml.unroll(problem, problem.init(theta, KEY), theta, KEY, 4000)[1]
    assert float(jnp.mean(losses)) == pytest.approx(exponent, abs=error)
