"""`precision`: an algebraically equal update rounds differently, and labels differ where rounding decides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.landscape import Axis, Plane, condition, precision
from metalearn.landscape.precision import rescaled

# x ← r x (1 − x) at r = 4 loses a binary digit a step: after 60 steps rounding decides everything.
LOGISTIC = ml.InnerProblem(
    lambda theta, key: theta[0],
    lambda x, theta, key: 4 * x * (1 - x),
    lambda x, theta, key: x,
)
# The same picture without chaos.
CALM = ml.InnerProblem(lambda theta, key: theta[0], lambda x, theta, key: x / 2 + 0.1, lambda x, theta, key: 1 - x)
PLANE = Plane(Axis("x", 0.45, 0.55), Axis("y", 0, 1), lambda x, y: jnp.stack([x, y]))
SETTINGS = {"resolution": 40, "share": 0.2}


def test_precision_detects_chaos_beyond_rounding_and_no_problem_without_chaos():
    wild = precision(LOGISTIC, PLANE, num_steps=300, **SETTINGS)
    assert wild.checked == 320
    assert wild.differing / wild.checked > 0.1
    few = precision(LOGISTIC, PLANE, num_steps=21, **SETTINGS)
    assert few.differing <= 2
    calm = precision(CALM, PLANE, num_steps=300, **SETTINGS)
    assert calm.differing == 0
    assert calm.median_difference < 1e-14
    assert "0 of 320" in str(calm)


def test_precision_detects_a_zoom_of_a_network_below_rounding():
    chosen = condition("tanh")
    x, y = 13.299774041796327, 200.35839373325396
    around = lambda half: Plane(
        Axis.around("x", x, half, "log10"), Axis.around("y", y, half, "log10"), chosen.plane.place
    )
    wide, deep = (
        precision(chosen.problem, around(half), num_steps=500, resolution=20, share=0.1) for half in (1, 1e-13)
    )
    assert wide.differing <= 1
    assert deep.differing >= 4
    assert deep.pitch_in_roundings == pytest.approx(170, rel=0.5)
    assert wide.median_difference < 1e-8 < deep.median_difference


def test_the_reordered_update_is_the_same_map_in_other_units(float64):
    problem = condition("single").problem
    theta, key = {"input_rate": jnp.array(2.0), "output_rate": jnp.array(3.0)}, jax.random.key(0)
    other = rescaled(problem)
    state, mirrored = problem.init(theta, key), other.init(theta, key)
    for _ in range(3):
        state, mirrored = problem.step(state, theta, key), other.step(mirrored, theta, key)
    for one, three in zip(jax.tree.leaves(state), jax.tree.leaves(mirrored)):
        np.testing.assert_allclose(three, 3 * one, rtol=1e-11)
    assert float(other.loss(mirrored, theta, key)) == pytest.approx(float(problem.loss(state, theta, key)), rel=1e-11)
    assert rescaled(problem) is other


@pytest.mark.parametrize("share", [0, 1.5])
def test_a_share_out_of_range_raises_an_error(share):
    with pytest.raises(ValueError, match="share must be a number in"):
        precision(CALM, PLANE, num_steps=3, resolution=4, share=share)
