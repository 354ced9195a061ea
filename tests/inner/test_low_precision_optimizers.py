"""Optimisers of 16-bit parameters and of a 16-bit θ, and the remedies that error messages suggest."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metalearn as ml

KEY = jax.random.key(0)
MAKE = {
    "adam": lambda theta: ml.adam(ml.hyperparameters.exp("rate"), eps=ml.hyperparameters.exp("eps"))(theta),
    "adamw": lambda theta: ml.adamw(
        ml.hyperparameters.exp("rate"), b2=ml.hyperparameters.sigmoid("b2", 0, 1), weight_decay=0.0
    )(theta),
    "momentum": lambda theta: ml.sgd(ml.hyperparameters.exp("rate"), momentum=0.99)(theta),
}


@pytest.mark.parametrize("kind", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_updates_are_those_of_float32(make, kind):
    """This includes gradients of zero, and those whose squares underflow or overflow in float16."""
    theta = {"rate": np.log(0.01), "eps": np.log(1e-8), "b2": np.log(0.999 / 0.001)}
    grads = jnp.array([0.0, 2e-5, -0.5, 2000.0], kind)

    def updates(kind):
        optimizer = make(jax.tree.map(lambda number: jnp.asarray(number, kind), theta))
        params = jnp.ones(4, kind)
        state, found = optimizer.init(params), []
        for _ in range(3):
            moved, state = optimizer.update(grads.astype(kind), state, params)
            found.append(moved)
        return jnp.stack(found)

    found, wanted = updates(kind), updates(jnp.float32)
    assert found.dtype == kind
    assert jnp.isfinite(found).all()
    np.testing.assert_allclose(found.astype(jnp.float32), wanted, rtol=0.1, atol=1e-6)


def test_backprop_through_adam_in_a_float16_network_has_no_nan():
    task = ml.Task(
        lambda key: {"w": jnp.ones(3, jnp.float16)},
        lambda params, key: jnp.sum(params["w"] * jnp.array([0.0, 1e-4, 1.0], jnp.float16)) ** 2,
    )
    problem = ml.training(task, ml.adam(ml.hyperparameters.exp("rate")))
    slope = jax.grad(lambda theta: ml.meta_loss(problem, theta, KEY, 4))({"rate": jnp.float32(-3.0)})
    assert np.isfinite(slope["rate"])
    assert slope["rate"] != 0


def test_float32_optimizers_are_unchanged():
    theta, params = {"rate": jnp.float32(-3.0), "eps": jnp.float32(-18.0)}, {"w": jnp.ones(3)}
    ours, theirs = (
        MAKE["adam"](theta),
        optax.adam(lambda count: jnp.exp(theta["rate"]), eps=jnp.exp(theta["eps"]), eps_root=1e-12),
    )
    both = [optimizer.update(params, optimizer.init(params), params)[0]["w"] for optimizer in (ours, theirs)]
    np.testing.assert_array_equal(*both)


def test_a_warning_names_a_float16_theta_that_outer_adam_makes_non_finite():
    tiny = lambda theta, key: (
        jnp.float16(1e-5),
        (),
        {"loss": jnp.zeros(()), "fraction_diverged": jnp.zeros(()), "inner_steps": jnp.int32(1)},
    )
    estimator = ml.GradientEstimator(lambda theta, key: (), lambda theta, state, key: tiny(theta, key))
    with pytest.warns(UserWarning, match="Keep theta in float32"):
        ml.meta_train(estimator, optax.adam(0.1), jnp.float16(1.0), KEY, 3)
