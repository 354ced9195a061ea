"""Adaptive pictures equal full ones at trained pixels, estimate the error at the others, and cost N^D."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.landscape import Axis, Plane, trainability, zoom
from metalearn.landscape.adaptive import coarsest_spacing, fill, lattice, wanted

STEPS = 40


def radius(theta, key):
    return jnp.hypot(theta[0], theta[1])


# s ← r s: converges inside the unit circle of the plane and diverges outside.
CIRCLE = ml.InnerProblem(
    lambda theta, key: jnp.ones(()), lambda s, theta, key: radius(theta, key) * s, lambda s, t, k: s * s
)
WINDOW = Plane(Axis("x", -1.9, 2.1), Axis("y", -2.05, 1.95), lambda x, y: jnp.stack([x, y]))


def picture(resolution, **settings):
    return trainability(CIRCLE, WINDOW, num_steps=STEPS, resolution=resolution, **settings)


@pytest.mark.parametrize("resolution", [97, (160, 131)])
def test_an_adaptive_picture_equals_the_full_one_at_trained_pixels_and_has_its_labels_elsewhere(resolution):
    full, found = picture(resolution), picture(resolution, adaptive=True)
    assert full.computed.all()
    assert 0.05 < found.computed.mean() < 0.5
    for name in ("measure", "converged", "undecided", "escape"):
        np.testing.assert_array_equal(getattr(found, name)[found.computed], getattr(full, name)[found.computed])
    np.testing.assert_array_equal(found.converged, full.converged)
    np.testing.assert_array_equal(found.converged, found.measure < 0)
    assert found.wrong == 0
    assert found.checked == 256
    assert found.pixel_steps < 0.7 * full.pixel_steps


def test_the_cost_grows_like_the_border_and_not_like_the_picture():
    costs = np.array([picture(side, adaptive=True).computed.sum() for side in (257, 513)]) - 65**2
    assert np.log2(costs[1] / costs[0]) == pytest.approx(1, abs=0.2)  # a circle


def cell_by_cell(labels, spacing):
    """The recursive definition: divide every square, including its rim, that has two labels or an undecided pixel."""
    computed = lattice(*labels.shape, spacing)
    while True:
        new = computed.copy()
        for side in [2**power for power in range(int(np.log2(spacing)), 0, -1)]:
            rows, columns = ([*range(0, count - 1, side), count - 1] for count in labels.shape)
            for top, bottom in itertools.pairwise(rows):
                for left, right in itertools.pairwise(columns):
                    square = np.s_[top : bottom + 1, left : right + 1]
                    corners = computed[[top, top, bottom, bottom], [left, right, left, right]]
                    if corners.all() and len(np.unique(labels[square][computed[square]])) > 1:
                        half = side // 2
                        fine = lambda a, b, half=half: sorted({a, min(a + half, b), b})
                        new[np.ix_(fine(top, bottom), fine(left, right))] = True
        if (new == computed).all():
            return computed
        computed = new


@pytest.mark.parametrize("shape", [(33, 33), (41, 27), (18, 50)])
def test_cells_are_divided_as_defined(shape):
    rows, columns = np.indices(shape)
    labels = np.sin(rows / 5.0) + np.cos(columns / 4.0) > 0.3
    computed = lattice(*shape, 8)
    while (mask := wanted(labels, np.zeros_like(labels), computed, 8)).any():
        assert not (mask & computed).any()
        computed |= mask
    np.testing.assert_array_equal(computed, cell_by_cell(labels, 8))
    np.testing.assert_array_equal(fill(np.where(computed, labels - 0.5, 0), computed, 8) > 0, labels)


def test_interpolation_is_linear_and_labels_are_copied_from_a_corner():
    rows, columns = np.indices((37, 22)).astype(float)
    plane, computed = 3 * rows - columns + 7, lattice(37, 22, 8)
    np.testing.assert_allclose(fill(np.where(computed, plane, 0), computed, 8), plane, rtol=1e-13, atol=1e-12)
    copied = fill(np.where(computed, plane, 0), computed, 8, nearest=True)
    assert set(np.unique(copied)) <= set(plane[computed])


def test_cells_with_undecided_pixels_are_divided():
    labels, computed = np.zeros((17, 17), bool), lattice(17, 17, 8)
    undecided = np.zeros_like(labels)
    assert not wanted(labels, undecided, computed, 8).any()
    undecided[8, 8] = True
    assert wanted(labels, undecided, computed, 8).sum() > 0


def test_an_island_inside_a_cell_is_missed_and_the_random_check_detects_it():
    """The island is a tenth of the picture inside one coarse cell. Only the random check can detect it."""
    dots = ml.InnerProblem(
        lambda theta, key: jnp.ones(()),
        lambda s, theta, key: s * jnp.where(jnp.all(jnp.cos(2 * jnp.pi * theta) < 0.9), 2.0, 0.5),
        lambda s, theta, key: s * s,
    )
    plane = Plane(Axis("x", 0, 64), Axis("y", 0, 64), lambda x, y: jnp.stack([x, y]))
    found = trainability(dots, plane, num_steps=STEPS, resolution=64 * 4 + 1, adaptive=True)
    assert found.converged.mean() > 0.9
    assert found.wrong / found.checked > 0.5


def test_the_coarsest_cells_grow_with_the_picture():
    assert [coarsest_spacing(side, side) for side in (2, 65, 129, 1025)] == [2, 2, 2, 16]


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_quarter_of_a_frame_is_reused_from_the_wider_one(adaptive):
    wide, deep = zoom(WINDOW, 1.0, 0.0, 2)
    settings = {"num_steps": STEPS, "resolution": 65}
    first = trainability(CIRCLE, wide, **settings, adaptive=adaptive)
    fresh = trainability(CIRCLE, deep, **settings)
    reused = trainability(CIRCLE, deep, **settings, known=first, adaptive=adaptive)
    taken = first.computed[16:49, 16:49]
    np.testing.assert_array_equal(first.measure[16:49, 16:49][taken], fresh.measure[::2, ::2][taken])
    np.testing.assert_array_equal(reused.measure[reused.computed], fresh.measure[reused.computed])
    assert reused.computed[::2, ::2][taken].all()
    if not adaptive:
        assert reused.pixel_steps < 0.85 * fresh.pixel_steps


def test_pixels_of_another_horizon_raise_an_error():
    first = picture(4)
    with pytest.raises(ValueError, match="known is a picture after 40 steps"):
        trainability(CIRCLE, WINDOW, num_steps=41, resolution=4, known=first)
    other = CIRCLE._replace(loss=lambda state, theta, key: 2 * CIRCLE.loss(state, theta, key))
    with pytest.raises(ValueError, match="known is a picture of another problem"):
        trainability(other, WINDOW, num_steps=40, resolution=4, known=first)


def test_progress_ends_at_all_pixels():
    seen = []
    picture(33, adaptive=True, name="a circle", progress=lambda *told: seen.append(told))
    assert seen[-1] == ("a circle", 33 * 33, 33 * 33)
    assert all(later[1] >= earlier[1] for earlier, later in itertools.pairwise(seen))
