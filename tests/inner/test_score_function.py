"""The score function: the derivative of a mean over choices without a derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.estimators import score_function
from tests.statistics import within

KEYS = jax.random.split(jax.random.key(0), 40_000)


def test_the_score_function_includes_the_derivatives_of_the_probabilities_and_of_the_costs():
    costs = jnp.array([3.0, -1.0, 0.4])

    def loss(logits, key):
        chosen = jax.random.categorical(key, logits, shape=(4,))
        return score_function(costs[chosen] - 0.2 * logits[0], jax.nn.log_softmax(logits)[chosen])

    logits = jnp.array([0.3, -0.4, 0.1])
    values, gradients = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))(logits, KEYS)
    mean = lambda logits: jax.nn.softmax(logits) @ costs - 0.2 * logits[0]
    exact = np.asarray(jax.grad(mean)(logits))
    assert within(values, mean(logits), k=4, twin=mean(logits) + 0.2)
    assert within(gradients, exact, k=4, twin=-exact)


def test_a_constant_in_the_costs_does_not_change_the_variance_with_a_baseline():
    def loss(theta, offset, key):
        chosen = jax.random.bernoulli(key, jax.nn.sigmoid(theta), (2, 5))
        return score_function(chosen + offset, jax.nn.log_sigmoid(jnp.where(chosen, theta, -theta)))

    gradient = jax.jit(jax.vmap(jax.grad(loss), (None, None, 0)))
    found = [np.asarray(gradient(0.3, offset, KEYS)) for offset in (0.0, 50.0)]
    np.testing.assert_allclose(*found, atol=1e-4)
    slope = float(jax.grad(jax.nn.sigmoid)(0.3))
    assert within(found[0], slope, k=4, twin=-slope)


@pytest.mark.parametrize("shapes", [((1,), (1,)), ((4,), (3,)), ((), ())])
def test_incompatible_shapes_raise_a_clear_error(shapes):
    with pytest.raises(ValueError, match="the same shape"):
        score_function(*map(jnp.zeros, shapes))
