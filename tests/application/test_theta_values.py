"""Numbers of a configuration take the structure, the shapes and the dtypes of the θ of a study."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn.application.theta_values import read_like


class Layer(NamedTuple):
    w: jax.Array
    b: jax.Array


LAYER = Layer(jnp.zeros((2, 1)), jnp.zeros(()))


@pytest.mark.parametrize(
    ("theta", "values", "expected"),
    [
        (jnp.zeros(2), [1, 2], jnp.array([1.0, 2.0])),
        ([0.0, 0.5], [1, 2], [1.0, 2.0]),
        ((jnp.zeros(2), {"a": 0.0}), [[1, 2], {"a": 3}], (jnp.array([1.0, 2.0]), {"a": 3.0})),
        (LAYER, {"w": [[1], [2]], "b": 3}, Layer(jnp.array([[1.0], [2.0]]), jnp.array(3.0))),
        ({0: 0.0, 1: LAYER}, {0: 1, "1": {"b": 2, "w": [[0], [0]]}}, {0: 1.0, 1: LAYER._replace(b=jnp.array(2.0))}),
        ({"a": 0.0, "b": None}, {"a": 1}, {"a": 1.0, "b": None}),
        ({"a": 0.0, "b": None}, {"a": 1, "b": None}, {"a": 1.0, "b": None}),
        ({"net": {"rate": 0.0}}, 2, {"net": {"rate": 2.0}}),
        ([jnp.zeros(2)], [[1, 2]], [jnp.array([1.0, 2.0])]),
        (jnp.zeros((), jnp.bfloat16), 3, jnp.array(3.0, jnp.bfloat16)),
    ],
)
def test_numbers_take_the_form_of_theta(theta, values, expected):
    found = read_like(values, theta)
    assert jax.tree.structure(found) == jax.tree.structure(theta)
    for one, like, wanted in zip(*map(jax.tree.leaves, (found, theta, expected)), strict=True):
        assert one.dtype == jnp.result_type(like)
        np.testing.assert_array_equal(one, wanted)


def test_float64_keeps_all_digits():
    with jax.enable_x64(True):
        assert float(read_like(0.1, jnp.zeros(()))) == 0.1


@pytest.mark.parametrize(
    ("theta", "values", "words"),
    [
        ({"rate": 0.0}, {"rte": 1}, "did you mean rate"),
        ({"rate": 0.0, "goal": 0.0}, {"rate": 1}, "goal is missing"),
        ({"rate": 0.0, "goal": 0.0}, [1, 2], "must be a mapping of goal, rate"),
        ([0.0, 0.0], [1, 2, 3], "must be a list of 2"),
        ([0.0, 0.0], "ab", "must be a list of 2"),
        (LAYER, {"w": [1, 2], "b": 0}, r"problem.theta.w must have the shape \(2, 1\)"),
        (jnp.zeros(2), [1, "a"], "must be a number, or a list of numbers"),
        (jnp.zeros(2), [True, 1], "must be a number, or a list of numbers"),
        (jnp.zeros(2), [[1], [2, 3]], "must be a number, or a list of numbers"),
        (0.0, float("nan"), "must be finite in float32"),
        (jnp.zeros((), jnp.float16), 1e6, "must be finite in float16"),
    ],
)
def test_what_does_not_fit_is_a_sentence(theta, values, words):
    with pytest.raises(ValueError, match=words):
        read_like(values, theta)
