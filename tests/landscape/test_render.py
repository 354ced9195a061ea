"""Planes and grids: rows are ascending y, ends are included, and a pixel does not depend on the rest of the image."""

import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml

PLANE = ml.landscape.Plane(
    ml.landscape.Axis("x", -1.0, 3.0), ml.landscape.Axis("y", -2.0, 2.0, scale="log10"), lambda x, y: jnp.stack([x, y])
)


def test_rows_are_y_ascending_and_both_ends_are_included():
    image = ml.landscape.render(lambda theta: {"x": theta[0], "both": theta}, PLANE, (5, 3))
    assert image["x"].shape == (3, 5)
    assert image["both"].shape == (3, 5, 2)
    np.testing.assert_allclose(image["x"][1], [-1, 0, 1, 2, 3])
    np.testing.assert_allclose(image["both"][:, 2, 1], [0.01, 1, 100], rtol=1e-6)


def test_chunks_do_not_change_the_picture():
    function = lambda theta: jnp.sin(theta[0]) * jnp.log(theta[1])
    images = [ml.landscape.render(function, PLANE, 7, chunk_size=size) for size in (1, 5, 64)]
    np.testing.assert_allclose(images[0], images[1], rtol=1e-6)
    np.testing.assert_allclose(images[0], images[2], rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: ml.landscape.Axis("x", 1.0, 1.0), "in order"),
        (lambda: ml.landscape.Axis("x", 2.0, 1.0), "in order"),
        (lambda: ml.landscape.Axis("x", float("nan"), 1.0), "finite"),
        (lambda: ml.landscape.Axis("x", 0.0, 1.0, scale="ln"), "linear"),
        (lambda: ml.landscape.render(jnp.sum, PLANE, 1), "at least 2"),
        (lambda: ml.landscape.render(jnp.sum, PLANE, 8, chunk_size=0), "at least 1"),
    ],
)
def test_invalid_windows_raise_a_clear_error(build, sentence):
    with pytest.raises(ValueError, match=sentence):
        build()
