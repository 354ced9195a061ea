"""Training stops when a goal no longer improves, and returns the best θ; callbacks can stop it as well."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml

METRICS = {"loss": jnp.float32(1), "fraction_diverged": jnp.float32(0), "inner_steps": 1}
CONSTANT = ml.GradientEstimator(lambda theta, key: (), lambda theta, state, key: (-1 + 0 * theta, state, METRICS))
START = jnp.float32(0.0)


def goal(theta):
    """Descent of a slope moves θ by one a step: best at 5, and after it worse than at the start."""
    return jnp.abs(theta - 5.25)


def run(num_steps=30, start=START, **settings):
    settings = {"watch": {"goal": goal}, "chunk_length": 2} | settings
    return ml.meta_train(CONSTANT, optax.sgd(1.0), start, jax.random.key(0), num_steps, **settings)


def test_training_stops_without_improvement_and_returns_the_best_theta():
    """Readings at 0, 2, 4, 6, 8, ...: the best is 6, and two readings later training ends."""
    theta, history = run(stop_on="goal", patience=2)
    assert theta == 6
    assert history.snapshot.best.step == 6
    assert history.snapshot.theta == history.snapshot.step == 10
    assert history.evaluations["step"].tolist() == [0, 2, 4, 6, 8, 10]
    assert history.stop_reason == "goal was smallest (0.75) at outer step 6, 2 readings before outer step 10"
    assert len(history.rows()) == 11


def test_the_best_theta_is_also_returned_without_early_stopping():
    theta, history = run(12, stop_on="goal", patience=9, evaluate=lambda theta, key: theta)
    assert (theta, history.snapshot.theta, history.stop_reason) == (6, 12, "")
    theta, history = run(12, stop_on="evaluate", patience=9, evaluate=lambda theta, key: theta)
    assert (theta, history.snapshot.best.step) == (0, 0)
    assert run(12)[0] == 12


def test_a_resumed_run_stops_at_the_same_step_with_the_same_bits(tmp_path):
    whole = run(stop_on="goal", patience=3)
    template = ml.outer.first_snapshot(CONSTANT, optax.sgd(1.0), START, jax.random.key(0))
    for cut in (2, 8, 10):
        path = tmp_path / f"{cut}.npz"
        run(cut, stop_on="goal", patience=3, callback=[ml.callbacks.save(path)])
        rest = run(stop_on="goal", patience=3, resume=ml.recording.load_snapshot(path, template))
        assert rest[0] == whole[0]
        assert rest[1].stop_reason == whole[1].stop_reason
        jax.tree.map(np.testing.assert_array_equal, rest[1].snapshot, whole[1].snapshot)
    with pytest.raises(ValueError, match="resume ended at outer step 12: the last 3 readings did not improve"):
        run(stop_on="goal", patience=3, resume=whole[1].snapshot)
    assert run(stop_on="goal", patience=4, resume=whole[1].snapshot)[1].snapshot.step == 14


def test_mapped_copies_return_the_best_theta_before_their_patience_ended():
    """θ returns to the goal after the end of a run that stopped; a mapped copy goes on, and does not take it."""
    twice = {"goal": lambda theta: jnp.where(theta < 14, goal(theta), -1.0)}
    starts = jnp.array([0.0, 4.0])
    alone = [run(20, start, watch=twice, stop_on="goal", patience=2)[0] for start in starts]
    mapped = jax.vmap(lambda start: run(20, start, watch=twice, stop_on="goal", patience=2)[0])(starts)
    assert mapped.tolist() == alone == [6, 6]


def test_any_callback_of_a_list_can_stop_training(tmp_path):
    told = []
    look = lambda step, theta, history: told.append((step, bool(history.stop_reason)))
    _, history = run(callback=[look, lambda step, theta, history: step >= 4, look])
    assert told == [(2, False), (2, False), (4, False), (4, True)]
    assert history.stop_reason == "a callback stopped it after outer step 4"
    asked = ml.callbacks.stop_early(2)
    theta, history = run(watch=None, evaluate=lambda theta, key: goal(theta), callback=(asked, look))
    assert (theta, history.snapshot.best.theta) == (10, 6)
    assert history.stop_reason.startswith("the evaluation was smallest (0.75) at outer step 6")
    with pytest.raises(ValueError, match="stop_early needs readings"):
        run(callback=asked)


def test_a_goal_that_is_never_finite_returns_the_last_theta():
    theta, history = run(watch={"goal": lambda theta: theta * jnp.nan}, stop_on="goal", patience=2)
    assert theta == 2
    assert history.stop_reason == "goal was never finite, 2 readings before outer step 2"


def test_the_log_callback_records_every_step():
    lines = []
    tracker = types.SimpleNamespace(log=lambda row, step: lines.append((step, row["PES"])))
    run(4, callback=ml.callbacks.log(tracker, "PES"))
    assert [step for step, row in lines if "loss" in row] == [0, 1, 2, 3]
    assert [(step, row["goal"]) for step, row in lines if "goal" in row] == [(0, 5.25), (2, 3.25), (4, 1.25)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"stop_on": "other"}, r"stop_on must be the name of a reading \('goal'\); 'other' was given"),
        ({"stop_on": "evaluate"}, r"stop_on must be the name of a reading \('goal'\)"),
        ({"stop_on": "goal", "watch": None}, "nothing: give evaluate or watch"),
        ({"stop_on": ["goal"]}, "stop_on must be the name of a reading"),
        ({"patience": 3}, "patience is used with stop_on only"),
        ({"stop_on": "goal", "patience": 0}, "patience must be at least 1"),
        ({"stop_on": "goal", "patience": 1.5}, "patience must be a whole number"),
        ({"callback": [print, 3]}, "callback must be a function, or a list of functions; 3 was given"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(change, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        run(**change)
