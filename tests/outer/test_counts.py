"""Counts beyond 2³¹ and 2²⁴, and the θ that a history keeps. The estimators here only report a cost."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.inner.problems.chaotic import logistic_map
from metalearn.recording import load_snapshot, save_snapshot

KEY, START = jax.random.key(0), jnp.float32(1.0)
ONE = jax.eval_shape(lambda: START)


def costly(steps, dtype=jnp.int32):
    """An estimator that returns the gradient 1 and reports the given number of inner steps."""

    def estimate(theta, state, key):
        metrics = {"loss": theta, "fraction_diverged": jnp.zeros(()), "inner_steps": jnp.asarray(steps, dtype)}
        return jnp.ones(()), state, metrics

    return ml.GradientEstimator(lambda theta, key: (), estimate)


def descend(estimator, num_steps=600, theta=START, **settings):
    return ml.meta_train(estimator, optax.sgd(0.01), theta, KEY, num_steps, **settings)


def test_the_steps_of_a_run_are_exact_beyond_32_bits_also_after_resuming(tmp_path):
    look = lambda theta, key: theta
    whole = descend(costly(4_000_001), evaluate=look, chunk_length=250)[1]
    assert whole.snapshot.inner_steps == 600 * 4_000_001
    wanted = [0, 250 * 4_000_001, 500 * 4_000_001, 600 * 4_000_001]
    assert whole.evaluations["inner_steps"].tolist() == wanted
    seen = []
    note = lambda step, theta, history: seen.extend(history.evaluations["inner_steps"].tolist())
    half = descend(costly(2**31 - 1), 3, callback=note, evaluate=look)[1].snapshot
    like = ml.outer.first_snapshot(costly(1), optax.sgd(0.01), START, KEY)
    resumed = load_snapshot(save_snapshot(tmp_path / "half.npz", half), like)
    history = descend(costly(2**31 - 1), 5, resume=resumed, evaluate=look, callback=note)[1]
    assert seen == [0, 3 * (2**31 - 1), 5 * (2**31 - 1)]
    assert history.snapshot.inner_steps == 5 * (2**31 - 1)


def test_a_stopped_run_counts_steps_until_its_last_one():
    broken = lambda theta: jnp.where(theta < 0.975, jnp.nan, theta)
    with pytest.warns(UserWarning, match="Outer step 2 would have made"):
        _, history = descend(costly(2**30), 7, project=broken)
    assert history.snapshot.inner_steps == 3 * 2**30
    assert history.steps.tolist() == [0, 1, 2]


def test_a_traced_run_counts_in_floating_point():
    spent = jax.vmap(lambda theta: descend(costly(4_000_000), theta=theta)[1].snapshot.inner_steps)
    np.testing.assert_allclose(spent(jnp.ones(2)), 2.4e9, rtol=1e-6)


def huge(stagger=False):
    windows = ml.Truncation(np.int32(2**30), np.int32(2**28), stagger=stagger)
    return ml.persistent_es(logistic_map(), windows, sigma=0.1, num_pairs=np.int32(8))


def reported(estimator, state):
    """Return the dtype of `inner_steps` of an estimate, without computing the estimate."""
    key = jax.eval_shape(lambda: KEY)
    metrics = jax.make_jaxpr(lambda *given: estimator.estimate(*given)[2]["inner_steps"])(ONE, state, key)
    return metrics.out_avals[0].dtype


def test_inner_steps_of_one_estimate_beyond_32_bits_are_floating_point():
    parts = {"a": huge(), "b": huge(stagger=True)}
    for estimator in (
        *parts.values(),
        ml.mixture(parts),
        ml.estimators.clip_gradient(parts["a"], 1.0),
        ml.combine(list(parts.values())),
    ):
        state = jax.eval_shape(estimator.init, ONE, jax.eval_shape(lambda: KEY))
        assert reported(estimator, state) == jnp.float32
    assert parts["a"].description.most_steps == 2**32
    assert parts["b"].description.most_steps == 2**34


def test_the_inner_steps_of_a_mixture_may_exceed_32_bits():
    mixed = ml.mixture({name: costly(2**31 - 1) for name in "abc"})
    metrics = mixed.estimate(START, mixed.init(START, KEY), KEY)[2]
    assert float(metrics["inner_steps"]) == pytest.approx(3 * 2**31, rel=1e-6)
    small = ml.Truncation(4, 2)
    two = ml.mixture({name: ml.backprop(ml.problems.linear_quadratic(), small, num_particles=3) for name in "ab"})
    spent = two.estimate(START, two.init(START, KEY), KEY)[2]["inner_steps"]
    assert (spent.dtype, int(spent)) == (jnp.int32, 12)


@pytest.mark.parametrize(
    ("keep", "steps"),
    [("all", range(11)), ("chunks", [0, 4, 8]), ("last", [10]), (3, [0, 3, 6, 9]), (5, [0, 5, 10])],
)
def test_a_history_keeps_the_requested_thetas(keep, steps):
    theta, everything = descend(costly(1), 11)
    seen = []
    note = lambda step, theta, history: seen.append((history.steps.tolist(), len(history.theta)))
    found, history = descend(costly(1), 11, keep=keep, chunk_length=4, callback=note)
    assert history.steps.tolist() == list(steps)
    np.testing.assert_array_equal(history.theta, everything.theta[history.steps])
    assert isinstance(history.theta, np.ndarray)
    assert found == theta
    assert all(len(part) == count for part, count in seen)


def test_a_traced_history_keeps_the_requested_thetas():
    keep = lambda theta: [descend(costly(1), 11, theta=theta, keep=keep, chunk_length=4)[1] for keep in ("chunks", 3)]
    everything = descend(costly(1), 11)[1]
    for history in jax.jit(keep)(START):
        np.testing.assert_array_equal(history.theta, everything.theta[history.steps])


def test_the_stride_of_a_history_continues_after_an_interruption():
    half = descend(costly(1), 5)[1].snapshot
    history = descend(costly(1), 11, resume=half, keep=4)[1]
    assert history.steps.tolist() == [8]


def test_thetas_that_are_not_kept_use_no_memory_of_the_program():
    big, length = jnp.zeros(1000), 50
    from metalearn.outer.meta_train import first_snapshot
    from metalearn.outer.outer_steps import _chunk

    def estimate(theta, state, key):
        return theta, state, costly(1).estimate(theta[0], (), key)[2]

    estimator = ml.GradientEstimator(lambda theta, key: (), estimate)
    snapshot = first_snapshot(estimator, optax.sgd(0.1), big, KEY)._replace(inner_steps=None)
    room = {
        keep: jax.eval_shape(_chunk(estimator, optax.sgd(0.1), None, length, keep), snapshot, 0, 7, KEY)[1].shape[0]
        for keep in ("all", "chunks", "last", 20)
    }
    assert room == {"all": 50, "chunks": 1, "last": 1, 20: 3}


@pytest.mark.parametrize(
    ("keep", "sentence"), [("some", "one of all, chunks, last"), (0, "at least 1"), (1.5, "whole number")]
)
def test_an_unknown_value_of_keep_raises_an_error(keep, sentence):
    with pytest.raises((TypeError, ValueError), match=sentence):
        descend(costly(1), 3, keep=keep)
