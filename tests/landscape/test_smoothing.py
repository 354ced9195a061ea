"""Smoothed landscapes of polynomials and waves against exact results; minima, roughness and gradient maps."""

import numpy as np
import pytest

from metalearn.landscape import Axis, Plane, gradient_map, local_minima, roughness, smooth, smoothing_pyramid

PLANE = Plane(Axis("a", -3, 3), Axis("b", 0, 2, "log10"), lambda x, y: (x, y))
WIDTH, HEIGHT = 241, 161
X, Y = np.meshgrid(np.linspace(-3, 3, WIDTH), np.linspace(0, 2, HEIGHT))


def inner(found):
    return found.inside > 1 - 1e-6


@pytest.mark.parametrize("sigma", [0.1, 0.2])
def test_smoothing_damps_a_wave_and_its_gradient_by_the_known_factor(sigma):
    found = smooth(np.sin(2 * X + 3 * Y), PLANE, sigma)
    damping = np.exp(-0.5 * sigma**2 * (4 + 9))
    where = inner(found)
    assert where.mean() > 0.02
    np.testing.assert_allclose(found.value[where], damping * np.sin(2 * X + 3 * Y)[where], atol=1e-5)
    slope = damping * np.cos(2 * X + 3 * Y)[where]
    np.testing.assert_allclose(found.gradient[where], np.stack([2 * slope, 3 * slope], axis=-1), atol=1e-4)


def test_axes_have_their_own_sigma():
    found = smooth(X**2 + 5 * Y**2, PLANE, (0.3, 0.1))
    where = inner(found)
    np.testing.assert_allclose(found.value[where], (X**2 + 0.09 + 5 * (Y**2 + 0.01))[where], atol=1e-4)
    swapped = X**2 + 0.01 + 5 * (Y**2 + 0.09)
    assert np.abs(swapped - found.value)[where].min() > 0.2


def test_near_the_rim_smoothing_averages_the_available_pixels():
    found = smooth(np.ones((HEIGHT, WIDTH)), PLANE, 0.2)
    np.testing.assert_allclose(found.value, 1, atol=1e-12)
    np.testing.assert_allclose(found.gradient, 0, atol=1e-9)
    assert found.inside[HEIGHT // 2, 0] == pytest.approx(0.5, abs=0.03)
    assert found.inside[0, 0] == pytest.approx(0.25, abs=0.03)


def test_the_gradient_is_the_derivative_of_the_smoothed_values():
    """This includes kernels that are cut by the rim and a rough landscape."""
    values = np.random.default_rng(0).normal(size=(HEIGHT, WIDTH))
    found = smooth(values, PLANE, 0.15)
    pitch = 6 / (WIDTH - 1)
    steps = (found.value[:, 2:] - found.value[:, :-2]) / (2 * pitch)
    np.testing.assert_allclose(found.gradient[:, 1:-1, 0], steps, atol=2e-2 * np.abs(steps).max())


def test_smoothing_leaves_one_minimum_of_many():
    values = X**2 + (Y - 1) ** 2 + 0.3 * np.sin(25 * X) * np.sin(25 * Y)
    pyramid = smoothing_pyramid(values, PLANE, (0.05, 0.1, 0.2))
    counts = [local_minima(values).sum(), *(local_minima(one.value).sum() for one in pyramid.values())]
    assert counts[0] > 50
    assert counts[-1] == 1
    assert all(np.diff(counts) <= 0)


def test_local_minima_are_strict_and_not_on_the_rim():
    values = np.array([[0, 9, 9, 9, 9], [9, 1, 9, 2, 2], [9, 9, 9, 9, 9], [9, 9, 9, np.nan, 9], [9, 3, 9, 9, 9.0]])
    expected = np.zeros((5, 5), bool)
    np.testing.assert_array_equal(local_minima(values), expected)  # 1 has the rim's 0 beside it, 2 is a plateau
    values[0, 0] = 9
    expected[1, 1] = True
    np.testing.assert_array_equal(local_minima(values), expected)


def weierstrass(gamma, count):
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, 40)
    angle = np.arange(count) / count
    return sum(gamma**k * np.cos(2 * np.pi * 2**k * angle + phases[k]) for k in range(40))


@pytest.mark.parametrize("gamma", [0.6, 0.7, 0.8, 0.9])
def test_the_roughness_of_a_weierstrass_function_is_its_exponent(gamma):
    found = roughness(weierstrass(gamma, 2**16), 2.0**-16)
    assert found.exponent == pytest.approx(-np.log2(gamma), abs=0.04)
    assert 0 < found.standard_error < 0.04


def test_roughness_distinguishes_a_smooth_cut_from_noise():
    smooth_cut = roughness(np.sin(np.linspace(0, 3, 4096)), 1.0)
    assert smooth_cut.exponent == pytest.approx(1, abs=0.02)
    assert smooth_cut.crossover == np.inf
    noise = roughness(np.random.default_rng(0).normal(size=4096), 1.0)
    assert "as independent ones" in noise.refused
    assert np.isnan(noise.exponent)
    assert np.isnan(noise.crossover)
    assert "constant" in roughness(np.ones(100), 1.0).refused


def test_only_scales_before_the_first_saturation_are_fitted():
    wave = roughness(np.sin(2 * np.pi * np.arange(1024) / 64), 1.0)
    assert wave.exponent == pytest.approx(1, abs=0.15)


def test_the_crossover_is_at_the_wavelength():
    """sin(θ/s) is smooth below δ ~ s and independent above it."""
    angle = np.arange(2**14) * 1e-3
    for scale in (0.02, 0.1):
        found = roughness(np.sin(angle / scale), 1e-3)
        assert scale < found.crossover < 4 * scale


def test_a_gradient_map_shows_where_raw_gradients_agree_with_smoothed_ones():
    smoothed = np.broadcast_to([1.0, 0.0], (1, 6, 2))
    direction = np.array([[[1, 0], [0, 1], [-1, 0], [0.6, 0.8], [1, 0], [0, 0]]], float)
    log_length = np.array([[0, 0, 0, 500.0, np.log(0.05), -np.inf]])
    found = gradient_map(log_length, direction, smoothed)
    np.testing.assert_allclose(found.cosine[0, :5], [1, 0, -1, 0.6, 1])
    np.testing.assert_array_equal(found.usable, [[True, False, False, False, False, False]])
    assert found.log_ratio[0, 3] == 500
    assert found.trusted.all()


def test_forward_and_reverse_are_compared_at_any_size():
    log_length = np.log([[1e200, 1e200, 1.0, 800.0, 1.0]])
    log_length[0, 3] = 800.0
    direction = np.broadcast_to([0.6, 0.8], (1, 5, 2))
    reverse = np.array([[[0.6e200, 0.8e200], [0.6e200, 0.81e200], [0.6, 0.8], [np.inf, np.inf], [0.0, 0.0]]])
    found = gradient_map(log_length, direction, np.ones((1, 5, 2)), reverse=reverse)
    np.testing.assert_array_equal(found.trusted, [[True, False, True, False, False]])
    assert found.disagreement[0, 1] == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: smooth(np.full((9, 9), np.nan), PLANE, 1.0), "100.0% of the landscape are not finite"),
        (lambda: smooth(np.ones((9, 9)), PLANE, 0.01), "at least half the distance of neighbouring points"),
        (lambda: smooth(np.ones((9, 9)), PLANE, 0.0), r"sigma must be a number in \(0"),
        (lambda: smooth(np.ones((9, 9)), PLANE, (1.0, 1.0, 1.0)), "one number or"),
        (lambda: smooth(np.ones(9), PLANE, 1.0), "shape"),
        (lambda: local_minima(np.ones((2, 9))), "at least 3 × 3"),
        (lambda: roughness(np.ones(10), 1.0), "at least 64 finite numbers"),
        (lambda: roughness(np.full(100, np.inf), 1.0), "at least 64 finite numbers"),
        (lambda: roughness(np.ones(100), 0.0), "pitch must be"),
        (lambda: gradient_map(np.ones((2, 2)), np.ones((2, 2, 2)), np.ones((2, 2, 3))), "shape"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_a_pyramid_needs_several_sigmas():
    with pytest.raises(TypeError, match="a sequence of standard deviations"):
        smoothing_pyramid(np.ones((9, 9)), PLANE, 1.0)
