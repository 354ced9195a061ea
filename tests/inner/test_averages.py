"""The meta-loss at averaged weights, against loops written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml

KEY = jax.random.key(3)
THETA = {"rate": jnp.log(0.1), "decay": jnp.zeros(())}
RATE, DECAY = ml.hyperparameters.exp("rate"), ml.hyperparameters.sigmoid("decay")
TASK = ml.Task(
    lambda key: {"w": jax.random.normal(key, (3,))},
    lambda params, key: jnp.sum((params["w"] - jax.random.normal(key, (3,))) ** 2),
)
AVERAGED = ml.hyperparameters.averaged_params
SCHEDULE_FREE = optax.contrib.schedule_free_eval_params


def distance(params, key):
    return jnp.sum(params["w"] ** 2)


def losses_of(problem, steps=6):
    state, losses = problem.init(THETA, KEY), []
    for step in range(steps):
        state = problem.step(state, THETA, jax.random.key(step))
        losses.append(problem.loss(state, THETA, KEY).item())
    return state, losses


@pytest.mark.parametrize("limit", [None, 5.0])
def test_the_meta_loss_is_evaluated_at_the_moving_average(limit):
    optimizer = ml.hyperparameters.averaged(ml.sgd(RATE, momentum=0.9), DECAY)
    optimizer = (
        optimizer if limit is None else ml.hyperparameters.clipped(optimizer, limit)
    )  # the average is found inside of others
    state, losses = losses_of(ml.training(TASK, optimizer, distance, evaluate_at=AVERAGED))
    params, trace, expected = TASK.init(KEY), jnp.zeros(3), []
    average = params["w"]
    for step in range(6):
        gradient = jax.grad(TASK.loss)(params, jax.random.key(step))["w"]
        trace = 0.9 * trace + gradient * (1 if limit is None else min(1, limit / jnp.linalg.norm(gradient)))
        params = {"w": params["w"] - 0.1 * trace}
        average = 0.5 * average + 0.5 * params["w"]
        expected.append(jnp.sum(average**2).item())
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    np.testing.assert_allclose(state.params["w"], params["w"], rtol=2e-5)


@pytest.mark.parametrize("meta_loss", [distance, None])
def test_the_meta_loss_is_evaluated_at_the_evaluation_parameters_of_a_schedule_free_optimiser(meta_loss):
    optimizer = lambda theta: optax.contrib.schedule_free_sgd(RATE(theta))
    state, losses = losses_of(ml.training(TASK, optimizer, meta_loss, evaluate_at=SCHEDULE_FREE))
    made = optax.contrib.schedule_free_sgd(jnp.asarray(0.1))
    params = TASK.init(KEY)
    memory, expected = made.init(params), []
    for step in range(6):
        updates, memory = made.update(jax.grad(TASK.loss)(params, jax.random.key(step)), memory, params)
        params = optax.apply_updates(params, updates)
        expected.append((meta_loss or TASK.loss)(SCHEDULE_FREE(memory, params), KEY).item())
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    assert losses[-1] != pytest.approx((meta_loss or TASK.loss)(state.params, KEY).item(), rel=1e-3)


def test_the_decay_of_an_average_has_a_gradient():
    optimizer = ml.hyperparameters.averaged(ml.sgd(RATE), DECAY)
    problem = ml.training(TASK, optimizer, distance, evaluate_at=AVERAGED, cap=None)
    loss = lambda decay: ml.meta_loss(problem, {**THETA, "decay": decay}, KEY, 4)
    with jax.enable_x64(True):
        slope = jax.grad(loss)(jnp.asarray(0.3)).item()
        ends = [loss(jnp.asarray(0.3 + h)).item() for h in (1e-5, -1e-5)]
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3)
    assert slope != 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ml.hyperparameters.averaged(ml.sgd(0.1), 1.0), r"decay must be a number in \[0, 1\)"),
        (lambda: ml.hyperparameters.averaged(optax.sgd(0.1), 0.9), "An optimiser must be a function of theta"),
        (lambda: ml.training(TASK, ml.sgd(0.1), evaluate_at="ema"), "evaluate_at must be a function"),
        (lambda: losses_of(ml.training(TASK, ml.sgd(RATE), evaluate_at=AVERAGED)), "needs the state of one .*; 0 found"),
        (lambda: losses_of(ml.training(TASK, ml.sgd(RATE), evaluate_at=SCHEDULE_FREE)), "cannot read the optimiser's state"),
        (
            lambda: losses_of(ml.training(TASK, ml.sgd(RATE), evaluate_at=lambda state, params: params["w"])),
            "must return parameters of the same structure",
        ),
    ],
)  # fmt: skip
def test_invalid_arguments_raise_a_clear_error(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()
