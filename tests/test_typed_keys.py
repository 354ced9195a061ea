"""States with a typed key: measures along a run are those of the same map with given random numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml

KEY, THETA, STEPS = jax.random.key(3), jnp.array([0.5, 1.0]), 6
PLANE = ml.landscape.Plane(
    ml.landscape.Axis("a", 0.2, 1.8), ml.landscape.Axis("b", 0.0, 1.0), lambda x, y: jnp.stack([x, y])
)


def move(x, theta):
    return theta[0] * x * (1 - 0.1 * x)


def observe(x, theta):
    return jnp.square(x - theta[1])


PLAIN = ml.InnerProblem(
    lambda theta, key: jnp.full((), 0.3), lambda x, theta, key: move(x, theta), lambda x, theta, key: observe(x, theta)
)
KEYED = ml.InnerProblem(
    lambda theta, key: (jnp.full((), 0.3), key),
    lambda state, theta, key: (move(state[0], theta), jax.random.fold_in(state[1], 1)),
    lambda state, theta, key: observe(state[0], theta),
)
MEASURES = {
    "meta-loss": lambda problem: ml.landscape.render(lambda theta: ml.meta_loss(problem, theta, KEY, STEPS), PLANE, 3),
    "escape time": lambda problem: ml.landscape.render(ml.landscape.escape_time(problem, STEPS, 0.5), PLANE, 3)["step"],
    "trainability": lambda problem: ml.landscape.trainability(problem, PLANE, num_steps=30, resolution=3).measure,
    "lyapunov": lambda problem: ml.dynamics.lyapunov(problem, THETA, KEY, num_steps=STEPS).exponents,
    "meta-gradient": lambda problem: ml.dynamics.meta_gradient(problem, THETA, KEY, num_steps=STEPS).log_length,
    "strided": lambda problem: ml.meta_loss(ml.strided(problem, 2), THETA, KEY, STEPS // 2),
    "final loss": lambda problem: ml.meta_loss(ml.final_loss(problem, STEPS), THETA, KEY, STEPS),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_a_key_in_the_state_does_not_change_any_measure(measure):
    np.testing.assert_allclose(measure(KEYED), measure(PLAIN), rtol=1e-6)


def test_every_function_that_steps_keeps_the_dtypes_of_the_state():
    """A float16 state with a float32 θ, and a start that is a Python number."""
    low = ml.InnerProblem(
        lambda theta, key: jnp.full((), 0.3, jnp.float16), lambda x, theta, key: jnp.float32(1.1) * x, lambda x, t, k: x
    )
    times = ml.landscape.render(ml.landscape.escape_time(low, STEPS, 0.5), PLANE, 2)["step"]
    number = low._replace(init=lambda theta, key: 0.3, step=lambda x, theta, key: theta[0] * 0 + 1.1 * x)
    np.testing.assert_array_equal(
        ml.landscape.render(ml.landscape.escape_time(number, STEPS, 0.5), PLANE, 2)["step"], times
    )
    assert ml.dynamics.lyapunov(low, THETA, KEY, num_steps=STEPS).exponents == pytest.approx(np.log(1.1), rel=1e-2)
