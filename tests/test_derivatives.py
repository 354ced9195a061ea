"""A problem without a derivative raises an error with an explanation where the derivative is needed, and only there."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml
from metalearn.estimators import GradientEstimator

KEY, THETA = jax.random.key(0), jnp.array([0.1, 0.2])
WINDOWS, WHOLE = ml.Truncation(2, 1), ml.Truncation(2, 2)


def looped(state, theta, key):
    """A problem with a solver whose loop has an unknown length."""
    body = lambda carry: (carry[0] - 0.05 * jnp.exp(theta[0]) * carry[0], carry[1] + 1)
    return jax.lax.while_loop(lambda carry: carry[1] < 3, body, (state, 0))[0] + 0.01 * theta[1]


@jax.custom_vjp
def shrunk(state):
    return 0.9 * state


shrunk.defvjp(lambda state: (shrunk(state), None), lambda _, cotangent: (0.9 * cotangent,))


def called(state, theta, key):
    """A problem with a simulator outside of JAX."""
    shape = jax.ShapeDtypeStruct((), state.dtype)
    return state * jax.pure_callback(
        lambda x: np.asarray(np.exp(-x), x.dtype), shape, theta[0], vmap_method="expand_dims"
    )


def problem_of(step, loss=lambda state, theta, key: jnp.sum(jnp.square(state))):
    return ml.InnerProblem(lambda theta, key: 0.5 + 0.1 * jax.random.uniform(key, (2,)), step, loss)


LOOPED, CALLED = problem_of(looped), problem_of(called)
CUSTOM = problem_of(lambda state, theta, key: shrunk(state) * jnp.exp(-theta[0]))
ASKERS = {
    "truncated backprop": (ml.backprop, WINDOWS, {}),
    "ARTBP": (ml.artbp, WHOLE, {"cut_probability": 0.1}),
    "UORO": (ml.uoro, WINDOWS, {}),
    "forward mode": (ml.forward_mode, WINDOWS, {}),
    "forward gradients": (ml.forward_gradient, WINDOWS, {"num_directions": 1}),
    "persistent ES": (ml.persistent_es, WINDOWS, {"sigma": 0.1, "num_pairs": 1}),
}
FORWARD, REVERSE = {"forward mode", "forward gradients"}, {"truncated backprop", "ARTBP"}


@pytest.mark.parametrize(
    ("problem", "refused", "words"),
    [
        (LOOPED, REVERSE | {"UORO"}, "while_loop"),
        (CUSTOM, FORWARD | {"UORO"}, "custom_vjp"),
        (CALLED, FORWARD | REVERSE | {"UORO"}, "allbacks"),
    ],
    ids=["while_loop", "custom_vjp", "pure_callback"],
)
def test_estimators_and_check_problem_name_the_missing_derivatives(problem, refused, words):
    for name, (make, truncation, settings) in ASKERS.items():
        estimator = make(problem, truncation, **settings)
        said = f"a requirement of {name}: .*{words}.*ml.persistent_es"
        with pytest.raises(TypeError, match=said) if name in refused else contextlib.nullcontext():
            estimator.init(THETA, KEY)
    said = ml.check_problem(problem, THETA)
    assert len(said) == bool(refused & FORWARD) + bool(refused & REVERSE)
    assert all(words in sentence for sentence in said)


def test_check_problem_returns_nothing_for_a_problem_with_all_derivatives():
    """A loop through which no derivative passes, and a stopped gradient, are allowed."""
    moved = lambda state, theta, key: (state[0] * jnp.exp(-theta[0]), looped(state[1], jnp.zeros(2), key), state[2] + 1)
    start = lambda theta, key: (jnp.ones(2), jnp.ones(2), 0)
    loss = lambda state, theta, key: jnp.sum(jnp.square(state[0])) + jax.lax.stop_gradient(jnp.sum(state[1]))
    problem = ml.InnerProblem(start, moved, loss)
    assert ml.check_problem(problem, THETA) == ()
    estimator = ml.backprop(problem, WINDOWS)
    gradient = estimator.estimate(THETA, estimator.init(THETA, KEY), KEY)[0]
    assert gradient[0] < 0


COUNTED = lambda state, theta, key: state + (jax.random.uniform(key) < jax.nn.sigmoid(theta[0]))
DIRECT = lambda state, theta, key: jnp.sum(state) + 0 * theta[1]


@pytest.mark.parametrize(
    ("step", "loss", "flat"),
    [
        (COUNTED, lambda state, theta, key: jnp.sum(state), True),
        (lambda state, theta, key: state + jnp.round(theta[0]), lambda state, theta, key: jnp.sum(state), True),
        (lambda state, theta, key: state * theta[0], lambda state, theta, key: 1.0 * jnp.argmax(state), True),
        (lambda state, theta, key: jnp.where(theta[0] > 0, state, -state), lambda s, t, k: jnp.sum(s), True),
        (COUNTED, DIRECT, False),
        (lambda state, theta, key: jnp.where(theta[0] > 0, theta[1], state), lambda s, t, k: jnp.sum(s), False),
    ],
    ids=["a choice", "a whole number", "an index", "a branch", "a loss of theta", "a branch of theta"],
)
def test_check_problem_says_that_a_derivative_is_zero_everywhere(step, loss, flat):
    said = ml.check_problem(problem_of(step, loss), THETA)
    assert len(said) == flat
    assert all("is zero everywhere" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("name", "measure"),
    [
        ("lyapunov", lambda: ml.dynamics.lyapunov(CUSTOM, THETA, KEY, num_steps=2)),
        ("spectral_radius", lambda: ml.dynamics.spectral_radius(CUSTOM, jnp.ones(2), THETA, KEY)),
        ("gradient_growth", lambda: ml.dynamics.gradient_growth(CUSTOM, THETA, KEY, num_steps=2)),
        ("meta_gradient", lambda: ml.dynamics.meta_gradient(CALLED, THETA, KEY, num_steps=2)),
        ("window_jacobians", lambda: ml.diagnosis.window_jacobians(LOOPED, THETA, WINDOWS, KEY)),
        ("sharpness", lambda: ml.dynamics.sharpness(lambda w: jnp.sum(looped(w, w, KEY)), jnp.ones(2), KEY)),
    ],
)
def test_measures_name_the_derivatives_that_they_need(name, measure):
    with pytest.raises(TypeError, match=f"a requirement of {name}: "):
        measure()


def broken(error):
    def estimate(theta, state, key):
        raise error

    return GradientEstimator(lambda theta, key: (), estimate)


def test_an_estimator_that_cannot_run_has_a_reason_and_does_not_affect_the_others():
    wrong = problem_of(lambda state, theta, key: state[:1])
    settings = {"sigma": 0.1, "num_pairs": 1}
    estimators = {
        "backprop": ml.backprop(LOOPED, WINDOWS),
        "wrong shapes": ml.persistent_es(wrong, WINDOWS, **settings),
        "no memory": broken(MemoryError("Out of memory.\nMore.")),
        "forward": ml.forward_mode(LOOPED, WINDOWS),
        "PES": ml.persistent_es(LOOPED, WINDOWS, **settings),
    }
    seen = []
    found = ml.compare(estimators, THETA, KEY, num_episodes=2, reference_pairs=2, callback=seen.append)
    assert [report.name for report in seen] == list(estimators)
    reasons = {"backprop": "while_loop", "wrong shapes": "keep shapes", "no memory": "MemoryError: Out of memory."}
    for name, words in reasons.items():
        assert words in found[name].reason
        assert found[name].reason in " ".join(str(found).split())
        assert np.isnan(found[name].mean).all()
        assert "\n" not in found[name].reason
    assert np.isfinite(found["PES"].mean).all()
    assert not found["PES"].reason
    assert np.isnan(found["PES"].bias_to_gradient.value)
    assert "target is unknown" in found["forward"].reason
    assert np.isfinite(found["forward"].mean).all()


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt()], ids=["in every entry", "interrupt"])
def test_an_error_of_every_estimator_and_an_interrupt_are_raised(error):
    sound = GradientEstimator(lambda theta, key: (), lambda theta, state, key: (theta, state, {}))
    estimators = {"one": broken(error), "other": broken(error) if isinstance(error, Exception) else sound}
    with pytest.raises(type(error)):
        ml.compare(estimators, THETA, KEY, num_episodes=2)


def test_an_error_of_the_progress_function_stops_the_comparison():
    def stop(*_):
        raise RuntimeError("enough")

    by_hand = GradientEstimator(lambda theta, key: (), lambda theta, state, key: (theta, state, {}))
    with pytest.raises(RuntimeError, match="enough"):
        ml.compare({"by hand": by_hand}, THETA, KEY, num_episodes=2, progress=stop)


def test_diagnose_continues_without_missing_derivatives():
    found = ml.diagnose(LOOPED, THETA, 0.1, WINDOWS, KEY, num_pairs=16)
    assert np.isfinite(found.log_gradient)
    assert any("reverse mode" in sentence for sentence in found.left_out)
    assert "backprop" not in " ".join(report.name for report in found.comparison.reports)
