"""What the explorer reads at a point agrees with closed forms."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.explorer import AbandonedError, Reading, describe_pair, problem_scene, read_point, view_of
from metalearn.explorer.outer import outer_path, relative_problem
from metalearn.explorer.readings import border_distance, losses_at, part
from metalearn.landscape import Axis, Plane

nothing = lambda: None


def disc(radius=1.0):
    """Return a problem that converges exactly inside of a disc around the origin: s ← |θ|² s / r²."""
    step = lambda state, theta, key: state * (theta["x"] ** 2 + theta["y"] ** 2) / radius**2
    return ml.InnerProblem(lambda theta, key: jnp.ones(()), step, lambda state, theta, key: jnp.square(state))


PLANE = Plane(Axis("x", -2.0, 2.0), Axis("y", -2.0, 2.0), lambda x, y: {"x": x, "y": y})
SCENE = problem_scene(disc(), PLANE, 400)


@pytest.mark.parametrize(("x", "y"), [(0.3, 0.0), (0.0, -0.55), (0.4, 0.3), (1.3, 0.2), (-0.9, -0.9)])
def test_the_distance_to_a_circle(x, y):
    found = border_distance(SCENE, view_of(PLANE), x, y, nothing)
    exact = abs(1 - math.hypot(x, y))
    assert exact * 0.999 <= found <= exact * 1.02 + 0.01


def test_a_distance_to_a_wrong_circle_is_detected():
    wrong = problem_scene(disc(1.1), PLANE, 400)
    found = border_distance(wrong, view_of(PLANE), 0.3, 0.0, nothing)
    assert not 0.7 * 0.999 <= found <= 0.7 * 1.02 + 0.01


def test_there_is_no_border_in_a_window_without_one():
    scene = problem_scene(disc(100.0), PLANE, 40)
    assert border_distance(scene, view_of(PLANE), 0.0, 0.1, nothing) == math.inf


def test_escape_outcome_and_gradient_in_closed_form():
    reports = []
    found = read_point(SCENE, view_of(PLANE), 1.8, 0.0, nothing, reports.append)
    factor = 1.8**2
    escape = math.floor(np.log(np.finfo(float).max) / (2 * np.log(factor))) + 1
    assert found.outcome == "diverged"
    assert found.escape == escape == int(np.argmax(~np.isfinite(found.losses)))
    np.testing.assert_allclose(found.losses[:100], factor ** (2.0 * np.arange(100)), rtol=1e-12)
    assert [one.outcome for one in reports] == ["diverged"] * 4
    assert math.isnan(reports[0].exponent)
    inside = read_point(SCENE, view_of(PLANE), 0.3, 0.4, nothing)
    assert inside.outcome == "converged"
    assert inside.escape == -1
    assert inside.exponent == pytest.approx(math.log(0.25), abs=1e-6)
    t = np.arange(1, 401)  # L = mean over t of r^(4t), so dL/dr = mean of 4t r^(4t−1)
    assert inside.log_gradient == pytest.approx(math.log(np.mean(4 * t * 0.5 ** (4.0 * t - 1))), abs=1e-6)
    assert "converged" in str(inside)


def test_the_exponent_of_the_logistic_map_is_ln_2():
    step = lambda state, theta, key: theta["x"] * state * (1 - state) + 0 * theta["y"]
    problem = ml.InnerProblem(lambda theta, key: jnp.asarray(0.3, float), step, lambda state, theta, key: state)
    plane = Plane(Axis("r", 3.0, 4.5), Axis("unused", 0.0, 1.0), lambda x, y: {"x": x, "y": y})
    found = read_point(problem_scene(problem, plane, 2000), view_of(plane), 4.0, 0.5, nothing)
    assert found.exponent == pytest.approx(math.log(2), abs=5 * 1.3 / 2000)
    assert found.log_gradient > 2000 * math.log(2) * 0.95


def test_two_losses_part_when_a_small_difference_has_grown():
    step = lambda state, theta, key: 4 * state * (1 - state) + 0 * theta["x"]
    init = lambda theta, key: theta["x"] + 0 * theta["y"]
    problem = ml.InnerProblem(init, step, lambda state, theta, key: state)
    plane = Plane(Axis("start", 0.0, 1.0), Axis("unused", 0.0, 1.0), lambda x, y: {"x": x, "y": y})
    scene = problem_scene(problem, plane, 100)
    first = Reading(0.3, 0.5, losses_at(scene, 0.3, 0.5), "converged", -1)
    second = Reading(0.3 + 1e-12, 0.5, losses_at(scene, 0.3 + 1e-12, 0.5), "converged", -1)
    predicted = math.log(0.1 / 1e-12) / math.log(2)
    assert part(first, second) == pytest.approx(predicted, abs=6)
    assert f"part at step {part(first, second)}" in describe_pair(first, second)
    assert part(first, first) == -1
    assert "at all 100 steps" in describe_pair(first, first)
    lost = second._replace(losses=np.where(np.arange(100) < 7, first.losses, np.nan))
    assert part(first, lost) == 7


def test_the_relative_loss_starts_at_one_and_is_capped():
    problem = relative_problem(SCENE)
    _, losses = ml.unroll(
        problem, problem.init(jnp.array([0.5, 0.0]), SCENE.episode), jnp.array([0.5, 0.0]), SCENE.episode, 3
    )
    np.testing.assert_allclose(losses, 0.25 ** (2.0 * np.arange(1, 4)), rtol=1e-5)
    _, losses = ml.unroll(
        problem, problem.init(jnp.array([1.5, 0.0]), SCENE.episode), jnp.array([1.5, 0.0]), SCENE.episode, 3
    )
    np.testing.assert_array_equal(losses, 1.0)


def test_work_is_abandoned_between_the_parts():
    calls = []

    def check():
        calls.append(1)
        if len(calls) > 1:
            raise AbandonedError

    with pytest.raises(AbandonedError):
        read_point(SCENE, view_of(PLANE), 0.1, 0.1, check)


@pytest.mark.parametrize("name", ["full ES", "full backprop"])
def test_an_outer_path_descends_to_the_minimum(name):
    drawn = []
    path = outer_path(SCENE, name, 0.6, 0.1, 30, nothing, drawn.append)
    assert path.shape == (31, 2)
    np.testing.assert_allclose(path[0], [0.6, 0.1], rtol=1e-6)
    assert len(drawn) == 6
    assert np.linalg.norm(path[-1]) < np.linalg.norm(path[0])
