"""The turning point of a goal: its error covers, and its parts are those of the readings."""

import numpy as np
import pytest

import metalearn as ml

STEPS = np.arange(0, 61, 4)


def covered(factor, num_seeds, num_worlds=400):
    """The share of worlds whose mean turning point, 30, lies within so many errors."""
    random = np.random.default_rng(num_seeds)
    centres = 30 + 6 * random.standard_normal((num_worlds, num_seeds, 1))
    goals = (STEPS - centres) ** 2
    found = [ml.outer.turning_point(STEPS, goal).step for goal in goals]
    return np.mean([abs(one.value - 30) < factor * one.error for one in found])


@pytest.mark.parametrize("num_seeds", [5, 20])
def test_the_error_over_seeds_covers(num_seeds):
    assert 0.62 < covered(1, num_seeds) < 0.80
    assert 0.88 < covered(2, num_seeds) < 0.99
    assert covered(1 / num_seeds**0.5, num_seeds) < 0.5, "an error that is too small is seen"


def test_the_fields_of_a_turning_point_are_those_of_the_curve():
    goal = np.array([[2.0, 1.0, 3.0, np.nan, 5.0], [4.0, 3.0, 1.0, 2.0, 5.0], [3.0, 2.0, 1.5, 1.0, 0.5]])
    found = ml.outer.turning_point([0, 2, 4, 6, 8], goal)
    assert found.step.value == pytest.approx((2 + 4 + 8) / 3)
    assert [part.value for part in found[1:5]] == pytest.approx([3.0, 2.5 / 3, 3.5, 0.5])
    assert found.fraction_turned == pytest.approx(2 / 3)
    assert "turned in 67% of the seeds" in str(found)
    same = ml.outer.turning_point([0, 2, 4, 6, 8], np.repeat(goal[1:2], 3, axis=0)).step
    assert (same.value, same.error) == (4, pytest.approx(2 / 12**0.5)), "no finer than the readings"


@pytest.mark.parametrize(
    ("steps", "goal", "sentence"),
    [
        ([0, 1], np.ones(2), "the goal .num_seeds, num_readings."),
        ([0, 1, 2], np.ones((4, 2)), r"shapes \(3,\) and \(4, 2\) were given"),
        ([0], np.ones((3, 1)), "two readings or more"),
        ([0, 1], np.ones((0, 2)), r"\(0, 2\) were given"),
        ([0, 0], np.ones((3, 2)), "must increase"),
        ([0, 1], [[1.0, 2.0], [np.nan, np.inf]], "Seed 1 has no finite reading"),
    ],
)
def test_curves_without_a_turning_point_raise_a_clear_error(steps, goal, sentence):
    with pytest.raises(ValueError, match=sentence):
        ml.outer.turning_point(steps, goal)


def test_the_figure_marks_the_turning_point_and_the_level_at_the_start():
    goal = (STEPS / 30 - 1) ** 2 + np.arange(3)[:, None]
    figure = ml.figures.draw_turning_point(STEPS, {"proxy": goal - STEPS, "goal": goal}, "goal")
    for axes, start in zip(figure.axes, (2.0, 2.0)):
        drawn = {line.get_label(): line for line in axes.lines}
        (turn,) = (line for label, line in drawn.items() if label.startswith("goal is best at 28"))
        assert drawn["at the start"].get_ydata()[0] == start
        assert turn.get_xdata()[0] == ml.outer.turning_point(STEPS, goal).step.value == 28
    with pytest.raises(ValueError, match="goal must be one of goal, proxy"):
        ml.figures.draw_turning_point(STEPS, {"proxy": goal, "goal": goal}, "other")
