"""Figures are drawn and labelled for results that contain zeros, infinities and NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.figures import draw_comparison, draw_descents, draw_trajectories


@pytest.fixture(scope="module")
def comparison():
    problem, windows = ml.problems.phase_walk(), ml.Truncation(6, 2)
    bare = ml.backprop(problem, windows)._replace(description=None)
    estimators = {
        "PES": ml.persistent_es(problem, windows, sigma=0.4, num_pairs=2),
        "TBPTT": ml.backprop(problem, windows),
        "bare": bare,
    }
    return ml.compare(estimators, jnp.float32(0.3), jax.random.key(0), num_episodes=8, reference_pairs=16)


def labels(figure):
    return [(axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) for axes in figure.axes]


def test_a_comparison_has_labelled_panels_also_with_infinite_and_unknown_values(comparison, tmp_path):
    figure = draw_comparison(comparison, "title")
    assert len(figure.axes) == 4
    assert all(x and title for x, _, title in labels(figure))
    figure.savefig(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


def test_trajectories_are_drawn_over_their_landscape(tmp_path):
    plane = ml.landscape.Plane(
        ml.landscape.Axis("a", -1.0, 1.0), ml.landscape.Axis("b", 0.0, 3.0), lambda x, y: jnp.stack([x, y])
    )
    values = np.asarray(ml.landscape.render(lambda theta: 1.5 + theta[0] * theta[1] / 3, plane, (8, 5)))
    paths = {f"method {i}": np.full((2, 4, 2), 0.1 * i) for i in range(6)}
    figure = draw_trajectories(values, plane, paths, value_name="loss")
    first = figure.axes[0]
    assert first.get_xlim() == (-1.0, 1.0)
    assert first.get_ylim() == (0.0, 3.0)
    assert first.get_ylabel() == "b"
    assert sum(axes.axison for axes in figure.axes) == 7  # six panels and the colour bar
    figure.savefig(tmp_path / "figure.png")


def test_descents_are_drawn_with_a_ring_at_the_smallest_loss_also_with_unknown_losses():
    curve = lambda *losses: {"inner_steps": 1000 * np.arange(len(losses)), "loss": np.array(losses)}
    figure = draw_descents({"NRES": curve(1.0, 0.2, np.nan, 0.3), "PES": curve(np.nan, np.nan)}, title="here")
    (axes,) = figure.axes
    rings = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert rings == [[[1.0, 0.2]], []]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["NRES", "PES", "not a number: 3"]
    assert labels(figure) == [("inner steps (thousands)", "mean validation loss of fresh trainings", "here")]
