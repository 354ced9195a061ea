"""Goals evaluated during meta-training: when, with which key, and where their values are recorded."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml

METRICS = {"loss": jnp.float32(1), "fraction_diverged": jnp.float32(0), "inner_steps": 1}


def descent(stop=-1):
    """An estimator that compiles quickly: a noisy gradient, infinite at one step that it counts in its state."""

    def estimate(theta, state, key):
        return jnp.where(state == stop, jnp.inf, theta + 0.1 * jax.random.normal(key)), state + 1, METRICS

    return ml.GradientEstimator(lambda theta, key: jnp.zeros((), jnp.int32), estimate)


ESTIMATOR = descent()
START = jnp.float32(0.3)


def distance(theta):
    """A goal of θ alone."""
    return jnp.abs(theta + 0.05)


def noisy(theta, key):
    return theta + jax.random.normal(key)


GOALS = {"distance": distance, "noisy": noisy}


def run(num_steps=10, theta=START, estimator=ESTIMATOR, **settings):
    settings = {"chunk_length": 4, "watch": GOALS} | settings
    return ml.meta_train(estimator, optax.adam(0.05), theta, jax.random.key(0), num_steps, **settings)


def test_goals_are_evaluated_with_one_key_at_the_start_and_after_every_chunk():
    theta, history = run()
    points = np.array([*history.theta[[0, 4, 8]], theta])
    assert history.evaluations["step"].tolist() == [0, 4, 8, 10]
    assert set(history.watched) == set(GOALS)
    np.testing.assert_allclose(history.watched["distance"], np.abs(points + 0.05), rtol=1e-6)
    noise = history.watched["noisy"] - points
    np.testing.assert_allclose(noise, noise[0], atol=1e-6)
    assert "loss" not in history.evaluations


def test_goals_share_the_key_of_the_evaluation_and_change_no_bit_of_the_run():
    alone = run(watch=None, evaluate=noisy)
    both = run(evaluate=noisy)
    np.testing.assert_array_equal(both[1].watched["noisy"], both[1].evaluations["loss"])
    np.testing.assert_array_equal(both[1].evaluations["loss"], alone[1].evaluations["loss"])
    assert both[0] == alone[0]
    assert both[1].snapshot.best == alone[1].snapshot.best
    assert alone[1].watched == {}


def test_a_resumed_run_has_the_same_goals_and_callbacks_receive_each_once():
    told = []
    whole = run(callback=lambda step, theta, part: told.append(part.watched["noisy"]))[1]
    begun = run(4)[1]
    rest = run(resume=begun.snapshot)[1]
    for name in GOALS:
        np.testing.assert_array_equal(whole.watched[name], np.append(begun.watched[name], rest.watched[name]))
    np.testing.assert_array_equal(np.concatenate(told), whole.watched["noisy"])


def test_goals_are_evaluated_where_a_run_stops_and_in_every_mapped_copy():
    stops = descent(5)
    with pytest.warns(UserWarning, match="Outer step 5"):
        theta, history = run(20, estimator=stops)
    assert history.evaluations["step"].tolist() == [0, 4, 5]
    assert history.watched["distance"][-1] == distance(theta)
    starts = jnp.array([0.1, 0.3])
    mapped = jax.vmap(lambda start: run(20, start, stops)[1].watched["distance"])(starts)
    np.testing.assert_allclose(mapped[:, 0], starts + 0.05, rtol=1e-6)
    np.testing.assert_allclose(mapped[1, :2], history.watched["distance"][:2], rtol=1e-6)


def test_goals_are_in_rows_logs_tables_and_figures():
    history = run()[1]
    assert [row.get("noisy") for row in history.rows()][:5] == [
        float(history.watched["noisy"][0]), None, None, None, float(history.watched["noisy"][1])
    ]  # fmt: skip
    assert "evaluation" not in history.rows()[0]
    logged = []
    ml.recording.log_history(types.SimpleNamespace(log=lambda row, step: logged.append((step, row))), history)
    assert [step for step, row in logged if "distance" in row] == [0, 4, 8, 10]
    assert "distance" in str(history).splitlines()[0]
    drawn = {line.get_label() for axes in history.plot().axes for line in axes.lines}
    assert set(GOALS) <= drawn


@pytest.mark.parametrize(
    ("watch", "sentence"),
    [
        ({"pair": lambda theta: jnp.stack([theta, theta])}, r"watch\['pair'\] must return one real .* shape \(2,\)"),
        ({"both": lambda theta, key: (theta, key)}, r"watch\['both'\] must return one real .* a tuple"),
        ({"count": lambda theta: 3}, r"watch\['count'\] must return one real floating-point scalar"),
        ({"three": lambda theta, key, more: theta}, r"watch\['three'\] must be a function of theta, or of theta and a"),
        ({"host": lambda theta: float(theta)}, r"watch\['host'\] must be a function .* that JAX can trace"),
        ({"number": 3.0}, r"watch\['number'\] must be a function of theta.*; 3.0 was given"),
        ({3: distance}, "names of the goals in watch must be strings; 3 was given"),
        ([distance], "watch must be a mapping"),
        *[
            ({name: distance}, f"named '{name}', which is already a column")
            for name in ("loss", "step", "theta/0", "evaluate")
        ],
        ({"fraction_diverged": distance}, "named 'fraction_diverged', which is already a column"),
    ],
)
def test_invalid_goals_raise_a_clear_error(watch, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        run(watch=watch)


def test_goals_with_an_argument_key_receive_the_key():
    """Optional arguments, such as the axis of a norm, are not taken for the key."""
    optional = lambda theta, key=None: jnp.float32(0) if key is None else jax.random.normal(key)
    watched = run(1, watch={"norm": jnp.linalg.norm, "optional": optional}, theta=jnp.ones(2))[1]
    assert watched.watched["norm"][0] == pytest.approx(2**0.5)
    assert watched.watched["optional"][0] != 0
