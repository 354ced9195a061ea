"""A problem whose loss contains the number of steps raises an error in episodes of another length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml

KEY, THETA = jax.random.key(0), jnp.float32(0.3)
PLAIN = ml.problems.linear_quadratic()
LAST = ml.final_loss(PLAIN, 8)
LONG = ml.Truncation(16, 16)
WRAPPED = {
    "itself": LAST,
    "saturated": ml.final_loss(ml.saturate(PLAIN, 100.0), 8),
    "a schedule": ml.in_windows(LAST, 2),
    "in strides of one": ml.strided(LAST, 1),
    "a distribution": ml.task_distribution(lambda number: LAST, jax.random.normal),
    "both": ml.in_windows(ml.task_distribution(lambda number: LAST, jax.random.normal), 2),
}
PLANE = ml.landscape.Plane(*(ml.landscape.Axis(name, -1.0, 1.0) for name in "xy"), place=lambda x, y: x + y)
USES = {
    "backprop": lambda problem: ml.backprop(problem, LONG),
    "windows": lambda problem: ml.backprop(problem, ml.Truncation(16, 8)),
    "forward mode": lambda problem: ml.forward_mode(problem, ml.Truncation(4, 4)),
    "forward gradients": lambda problem: ml.forward_gradient(problem, LONG, num_directions=2),
    "UORO": lambda problem: ml.uoro(problem, LONG),
    "ARTBP": lambda problem: ml.artbp(problem, LONG, cut_probability=0.1),
    "ES": lambda problem: ml.evolution_strategies(problem, LONG, sigma=0.1, num_pairs=2),
    "PES": lambda problem: ml.persistent_es(problem, LONG, sigma=0.1, num_pairs=2),
    "NRES": lambda problem: ml.noise_reuse_es(problem, LONG, sigma=0.1, num_pairs=2),
    "GPES": lambda problem: ml.generalized_persistent_es(problem, LONG, sigma=0.1, num_pairs=2, noise_period=16),
    "the meta-loss": lambda problem: ml.meta_loss(problem, THETA, KEY, 16),
    "held-out episodes": lambda problem: ml.held_out_loss(problem, 4, 2),
    "Jacobians": lambda problem: ml.diagnosis.window_jacobians(problem, THETA, LONG, KEY),
    "a gradient": lambda problem: ml.dynamics.meta_gradient(problem, THETA, KEY, num_steps=16),
    "a diagnosis": lambda problem: ml.diagnose(problem, THETA, 0.1, LONG, KEY),
    "an anatomy": lambda problem: ml.diagnosis.anatomy(problem, PLANE, 2, KEY, num_steps=16, derivatives=False),
    "a population": lambda problem: ml.search.population_based_training(
        problem, LONG, lambda key: THETA, KEY, num_members=2, sigma=0.1
    ),
    "another final loss": lambda problem: ml.final_loss(problem, 16),
}


@pytest.mark.parametrize("problem", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_another_horizon_raises_an_error(use, problem):
    with pytest.raises(ValueError, match="made for episodes of 8 steps"):
        use(problem)


def test_strided_raises_an_error_if_every_loss_is_needed():
    with pytest.raises(ValueError, match="Wrap the other way round"):
        ml.strided(LAST, 2)
    value = ml.meta_loss(ml.final_loss(ml.strided(PLAIN, 2), 4), THETA, KEY, 4)
    np.testing.assert_allclose(value, ml.meta_loss(LAST, THETA, KEY, 8), rtol=1e-5)


def test_the_right_horizon_and_problems_for_any_horizon_are_accepted():
    for length in (2, np.int64(8)):
        ml.backprop(LAST, ml.Truncation(8, length))
    ml.held_out_loss(LAST, np.int32(8), 2)
    for problem in (PLAIN, ml.strided(PLAIN, 2), ml.in_windows(PLAIN, 2), ml.InnerProblem(*PLAIN[:3])):
        ml.backprop(problem, LONG)


def test_a_problem_for_one_horizon_is_checked_at_this_horizon():
    assert ml.check_problem(LAST, THETA) == ()

    def step(state, theta, key):
        return jax.lax.while_loop(lambda s: s > 1, lambda s: s / 2, state * jnp.exp(theta))

    stiff = ml.final_loss(ml.InnerProblem(lambda t, k: jnp.float32(1.0), step, lambda s, t, k: s**2), 8)
    assert [sentence[:48] for sentence in ml.check_problem(stiff, THETA)] == [
        "The problem cannot be differentiated in reverse "
    ]
    with pytest.raises(TypeError, match="cannot be differentiated in reverse mode"):
        ml.backprop(stiff, ml.Truncation(8, 8)).init(THETA, KEY)
