"""`check_estimator` rejects estimators with one mistake each, and names the mistake."""

import itertools

import jax
import jax.numpy as jnp
import pytest

import metalearn as ml
from metalearn.estimators import Description, GradientEstimator
from metalearn.testing.watched import THETA, watched
from tests.estimators.twins import never_dropped, without_reset

PAIRS = {"sigma": 0.1, "num_pairs": 2}


def sound(problem, truncation) -> GradientEstimator:
    return ml.persistent_es(problem, truncation, **PAIRS)


def wrapped(change):
    """A factory of estimators with changed estimates: `change(theta, before, key, result) -> result`."""

    def make(problem, truncation):
        inner = sound(problem, truncation)
        return inner._replace(estimate=lambda t, s, k: change(t, s, k, inner.estimate(t, s, k)))

    return make


def metric(**values):
    return wrapped(lambda t, s, k, result: (*result[:2], result[2] | {n: f(result[2]) for n, f in values.items()}))


def described(**values):
    def make(problem, truncation):
        inner = sound(problem, truncation)
        assert inner.description is not None
        return inner._replace(description=Description(**(vars(inner.description) | values)))

    return make


def forgets_steps(theta, state, key, result):
    return *result[:2], {name: value for name, value in result[2].items() if name != "inner_steps"}


def drifting(theta, state, key, result):
    gradient, after, metrics = result
    return gradient, after._replace(clock=after.clock.astype(jnp.float32)), metrics


def counting(problem, truncation):
    """An estimator that keeps a count outside of its state."""
    inner, calls = sound(problem, truncation), itertools.count()

    def estimate(theta, state, key):
        gradient, state, metrics = inner.estimate(theta, state, key)
        return jax.tree.map(lambda leaf: leaf * (1 + next(calls)), gradient), state, metrics

    return inner._replace(estimate=estimate)


def in_place(problem, truncation):
    """An estimator that writes into the state that it is given."""
    inner = sound(problem, truncation)

    def estimate(theta, state, key):
        gradient, after, metrics = inner.estimate(theta, state["inner"], key)
        state["inner"] = after
        return gradient, state, metrics

    return inner._replace(init=lambda theta, key: {"inner": inner.init(theta, key)}, estimate=estimate)


def deaf(problem, truncation):
    """An estimator that ignores the key of the estimate."""
    inner = sound(problem, truncation)
    return inner._replace(estimate=lambda theta, state, key: inner.estimate(theta, state, jax.random.key(0)))


def on_the_host(problem, truncation):
    """An estimator that branches in Python, which JAX cannot trace."""
    inner = sound(problem, truncation)

    def estimate(theta, state, key):
        gradient, state, metrics = inner.estimate(theta, state, key)
        return gradient if float(metrics["loss"]) > 0 else theta, state, metrics

    return inner._replace(estimate=estimate)


def at_first_theta(problem, truncation):
    """An estimator that uses the θ of `init` instead of the current one."""
    inner = sound(problem, truncation)

    def estimate(theta, state, key):
        gradient, after, metrics = inner.estimate(state[1], state[0], key)
        return gradient, (after, state[1]), metrics

    return inner._replace(init=lambda theta, key: (inner.init(theta, key), theta), estimate=estimate)


def lockstep(problem, truncation):
    """An estimator that does not stagger its particles."""
    return sound(problem, ml.Truncation(truncation.horizon, truncation.length))


def whole(problem, truncation):
    """An estimator that runs whole episodes in place of windows."""
    return sound(problem, ml.Truncation(truncation.horizon, truncation.horizon))


def in_float32(theta, state, key, result):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32), result[0]), *result[1:]


def spoiled(theta, state, key, result):
    """An estimator whose gradient is NaN if a particle diverged."""
    ill = result[2]["fraction_diverged"] > 0
    return jax.tree.map(lambda leaf: jnp.where(ill, jnp.nan, leaf), result[0]), *result[1:]


BROKEN = {
    "another structure": (
        wrapped(lambda t, s, k, result: (jax.tree.leaves(result[0]), *result[1:])),
        "gradient must have the structure",
    ),
    "another shape": (
        wrapped(lambda t, s, k, result: (jax.tree.map(jnp.atleast_2d, result[0]), *result[1:])),
        "shapes and dtypes of theta",
    ),
    "two results": (wrapped(lambda t, s, k, result: result[:2]), r"return \(gradient, state, metrics\)"),
    "a dtype of its own": (wrapped(in_float32), "theta in bfloat16|dtypes of theta"),
    "no inner_steps": (wrapped(forgets_steps), "inner_steps is missing"),
    "a metric that is an array": (metric(extra=lambda m: jnp.ones(3)), "extra is not"),
    "NaN as a loss": (metric(loss=lambda m: m["loss"] * jnp.nan), "loss must be finite"),
    "a metric of Python": (metric(loss=lambda m: 1.1), "loss is not"),
    "no variance": (metric(gradient_variance=lambda m: jnp.nan * m["loss"]), "gradient_variance is not"),
    "a gradient of Python": (
        wrapped(lambda t, s, k, r: (jax.tree.map(lambda leaf: 0.0, r[0]), *r[1:])),
        "dtypes of theta",
    ),
    "an error of its own": (wrapped(lambda t, s, k, r: {}["nothing"]), "failed with KeyError"),
    "no steps": (metric(inner_steps=lambda m: m["inner_steps"] * 0), "at least 4, the steps of one window"),
    "half a step": (metric(inner_steps=lambda m: m["inner_steps"] + 0.5), "whole number"),
    "the sum of the losses": (metric(loss=lambda m: 2 * m["loss"]), "mean over the window"),
    "steps of one member of a pair": (metric(inner_steps=lambda m: m["inner_steps"] // 2), "took 8 and reported 4"),
    "a share above 1": (metric(fraction_diverged=lambda m: m["fraction_diverged"] + 2), "between 0 and 1"),
    "divergence unseen": (metric(fraction_diverged=lambda m: m["fraction_diverged"] * 0), "share of the particles"),
    "a gradient that diverges": (wrapped(spoiled), "gradient must be finite"),
    "a state whose dtype drifts": (wrapped(drifting), "keep its shapes and dtypes"),
    "a state that grows": (
        wrapped(lambda t, s, k, result: (result[0], (result[1], 0.0), result[2])),
        "state of the structure|Every leaf",
    ),
    "a count outside of the state": (counting, "same bits for the same theta, state and key"),
    "a state changed in place": (in_place, "changed in place"),
    "deaf to the key": (deaf, "random numbers from its key"),
    "Python in an estimate": (on_the_host, r"jax\.vmap"),
    "the first theta": (at_first_theta, "start anew|at the present theta"),
    "no reset of the noise": (lambda p, t: never_dropped(p, t, **PAIRS), "start anew"),
    "no reset of the state": (lambda p, t: without_reset(p, t, **PAIRS), "must take steps 0 to 1"),
    "whole episodes": (whole, "must take steps 0 to 1"),
    "lockstep in disguise": (lockstep, "stagger=True"),
    "too many particles": (described(num_particles=4), "num_particles=4"),
    "smoothing that is not there": (described(sigma=0.0), "sigma=0.0, and theta was perturbed"),
    "too few steps": (described(most_steps=3), "most"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_check_estimator_names_the_mistake(name):
    make, sentence = BROKEN[name]
    with pytest.raises(AssertionError, match=sentence) as caught:
        ml.testing.check_estimator(make)
    assert str(caught.value).endswith(".") or " failed with " in str(caught.value)


def test_a_built_estimator_is_checked_at_its_theta():
    problem = watched().problem
    windows = ml.Truncation(4, 2)
    checked = ml.testing.check_estimator(sound(problem, windows), THETA, jax.random.key(3))
    assert len(checked.passed) == 5
    assert "factory" in str(checked)
    broken = never_dropped(problem, windows, **PAIRS)
    with pytest.raises(AssertionError, match="start anew"):
        ml.testing.check_estimator(broken, THETA)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((3,), "function .problem, truncation."),
        ((sound, THETA), "checked with a built-in problem"),
        ((sound, None, 3), "typed key"),
        ((sound(watched().problem, ml.Truncation(2, 1)),), "give theta"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(arguments, sentence):
    with pytest.raises(TypeError, match=sentence):
        ml.testing.check_estimator(*arguments)


def test_a_factory_that_returns_another_type_raises_a_clear_error():
    with pytest.raises(AssertionError, match="must return a GradientEstimator"):
        ml.testing.check_estimator(lambda problem, truncation: problem)


def test_a_factory_may_cap_the_losses():
    ml.testing.check_estimator(lambda problem, truncation: sound(ml.saturate(problem, 3.0), truncation))
