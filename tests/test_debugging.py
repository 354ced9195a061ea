"""The debugging modes of JAX: a correct problem passes, and the NaN of an incorrect one is found."""

import contextlib
import traceback

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml
from metalearn.threads import in_these_modes, modes

KEY, THETA = jax.random.key(0), jnp.array([0.1, 0.2])
WINDOWS, ONE_STEP = ml.Truncation(4, 2), ml.Truncation(2, 1, stagger=True)


def the_step(state, theta, key):
    return 0.9 * state * jnp.exp(-jnp.exp(theta[0]) * state) + 0.01 * theta[1]


def problem_of(step=the_step):
    start = lambda theta, key: 0.5 + 0.1 * jax.random.uniform(key, (2,))
    return ml.InnerProblem(start, step, lambda state, theta, key: jnp.sum(jnp.square(state)))


PROBLEM = problem_of()
FIXED = PROBLEM._replace(loss=lambda state, theta, key: jnp.sum(jnp.square(state)) + 0 * jnp.sum(theta))


def pes(problem=PROBLEM, windows=WINDOWS, num_pairs=2):
    return ml.persistent_es(problem, windows, sigma=0.1, num_pairs=num_pairs)


def estimate(estimator):
    gradient, state, _ = estimator.estimate(THETA, estimator.init(THETA, KEY), KEY)
    assert np.all(np.isfinite(gradient))
    return estimator.estimate(THETA, state, KEY)[0]


def render():
    axes = ml.landscape.Axis("x", 0, 1), ml.landscape.Axis("y", 0, 1)
    plane = ml.landscape.Plane(*axes, lambda x, y: jnp.stack([x, y]))
    ml.diagnosis.anatomy(PROBLEM, plane, 2, KEY, num_steps=2, derivatives=False)


CASES = {
    "a single staggered pair, windows of one step": lambda: estimate(pes(windows=ONE_STEP, num_pairs=1)),
    "a single particle of backprop": lambda: estimate(ml.backprop(PROBLEM, ml.Truncation(2, 1))),
    "a mixture": lambda: estimate(ml.mixture({"one": pes(), "other": ml.backprop(PROBLEM, WINDOWS)})),
    "a combination": lambda: estimate(ml.combine([pes(), pes(num_pairs=3)])),
    "compare": lambda: ml.compare(
        {"PES": pes(), "backprop": ml.backprop(PROBLEM, WINDOWS)}, THETA, KEY, num_episodes=2
    ),
    "meta_train": lambda: ml.meta_train(pes(), optax.sgd(0.1), THETA, KEY, 2),
    "lyapunov": lambda: ml.dynamics.lyapunov(PROBLEM, THETA, KEY, num_steps=1),
    "meta_gradient, where nothing depends on theta yet": lambda: ml.dynamics.meta_gradient(
        FIXED._replace(step=lambda state, theta, key: 0.9 * state), THETA, KEY, num_steps=2
    ),
    "a landscape": render,
}


@contextlib.contextmanager
def nans_and_infinities():
    with jax.debug_nans(True), jax.debug_infs(True):
        yield


@pytest.mark.parametrize("case", CASES)
def test_a_correct_problem_runs_with_debug_nans_and_debug_infs(case):
    with nans_and_infinities():
        CASES[case]()


def test_a_correct_problem_runs_without_jit():
    metrics = {"loss": jnp.zeros(()), "fraction_diverged": jnp.zeros(()), "inner_steps": jnp.ones((), jnp.int32)}
    by_hand = ml.GradientEstimator(lambda theta, key: key, lambda theta, state, key: (theta, state, metrics))
    with jax.disable_jit():
        estimate(pes(windows=ONE_STEP, num_pairs=1))
        ml.compare({"by hand": by_hand}, THETA, KEY, num_episodes=2)


def test_a_correct_problem_runs_with_jax_checks_and_strict_promotion():
    with jax.checking_leaks(), jax.enable_checks(True), jax.numpy_dtype_promotion("strict"):
        estimate(pes(windows=ml.Truncation(3, 1, stagger=True), num_pairs=1))
        ml.dynamics.lyapunov(PROBLEM, THETA, KEY, num_steps=1)
        ml.dynamics.spectral_radius(PROBLEM, jnp.ones(2), THETA, KEY, num_iterations=2)


def rarely_nan(state, theta, key):
    """A problem with NaN in a few particles, which a mean over the other particles would hide."""
    return the_step(state, theta, key) + jnp.where(jax.random.uniform(key) < 0.3, jnp.log(-1.0 - jnp.square(state)), 0)


RARE = problem_of(rarely_nan)
WHOLE, GIVEN = ml.Truncation(2, 2), {"reference": THETA, "unsmoothed": False, "timed": False}
HIDDEN = {
    "an estimate": lambda: estimate(ml.evolution_strategies(RARE, WHOLE, sigma=0.1, num_pairs=8)),
    "compare": lambda: ml.compare({"PES": pes(RARE, WHOLE, 8), "other": pes()}, THETA, KEY, num_episodes=2, **GIVEN),
    "lyapunov": lambda: ml.dynamics.lyapunov(RARE, THETA, KEY, num_steps=20),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_nan_of_the_step_raises_an_error_only_with_debug_nans(case):
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        HIDDEN[case]()
    HIDDEN[case]()


def always_nan(state, theta, key):
    return jnp.log(-the_step(state, theta, key))


def test_without_jit_the_error_names_the_line_of_the_step():
    with jax.debug_nans(True), jax.disable_jit(), pytest.raises(FloatingPointError) as caught:
        ml.unroll(problem_of(always_nan), jnp.ones(2), THETA, KEY, 2)
    assert "always_nan" in {frame.name for frame in traceback.extract_tb(caught.value.__traceback__)}


def test_worker_threads_use_the_jax_modes_of_the_calling_thread():
    with jax.debug_nans(True), jax.numpy_rank_promotion("warn"), jax.default_prng_impl("rbg"):
        asked, elsewhere = modes(), in_these_modes(modes)
    assert elsewhere() == asked != modes()
