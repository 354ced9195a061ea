"""Zooms shrink about their centre, and the point that is found lies on the border at every depth."""

import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.landscape import Axis, Plane, border_point, condition, trainability, zoom

SINGLE = condition("single")
STEPS = 60
LEARNS = Plane(Axis("x", -3, -2, "log10"), Axis("y", -3, -2, "log10"), SINGLE.plane.place)


def test_the_point_is_on_the_border_at_every_depth():
    x, y = border_point(SINGLE.problem, SINGLE.plane, num_steps=STEPS)
    frames = zoom(SINGLE.plane, x, y, 5, factor=1000.0)
    assert frames[-1].x.high == pytest.approx(4.5e-12)
    for frame in frames:
        labels = trainability(SINGLE.problem, frame, num_steps=STEPS, resolution=8).converged
        assert 0 < labels.mean() < 1


def test_the_exact_border_of_a_linear_map_is_found():
    """x ← θ x with loss x² converges only for |θ| < 1, for any y."""
    problem = ml.InnerProblem(
        lambda theta, key: jnp.ones_like(theta[0]), lambda x, theta, key: theta[0] * x, lambda x, theta, key: x * x
    )
    plane = Plane(Axis("theta", 0.3, 2.2), Axis("y", 0.0, 1.0), lambda x, y: jnp.stack([x, y]))
    x, _ = border_point(problem, plane, num_steps=400)
    assert x == pytest.approx(1, abs=1e-14)


def test_frames_halve_about_the_point_on_linear_and_logarithmic_axes():
    plane = Plane(Axis("x", -1, 3), Axis("y", -2, 2, "log10"), lambda x, y: (x, y))
    frames = zoom(plane, 0.5, 10.0, 3)
    np.testing.assert_allclose(
        [frame.x.values(3) for frame in frames], [[-1.5, 0.5, 2.5], [-0.5, 0.5, 1.5], [0, 0.5, 1]]
    )
    np.testing.assert_allclose(
        [frame.y.values(3)[[0, 2]] for frame in frames], [[0.1, 1000], [1, 100], [10**0.5, 10**1.5]]
    )


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: zoom(SINGLE.plane, 1.0, 1.0, 0), "num_frames must be at least 1"),
        (lambda: zoom(SINGLE.plane, 1.0, 1.0, 3, factor=1.0), "factor must be a number in"),
        (lambda: zoom(SINGLE.plane, -1.0, 1.0, 3), "x must be positive, because axis"),
        (lambda: zoom(SINGLE.plane, float("nan"), 1.0, 3), "x must be a finite number"),
        (lambda: border_point(SINGLE.problem, LEARNS, num_steps=STEPS), "no border to zoom into"),
    ],
)  # fmt: skip
def test_invalid_arguments_raise_a_clear_error(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()
