"""The box of a study: one number, or numbers in the structure of θ, whole numbers included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml

THETA = {"a": jnp.zeros(2), "b": jnp.float32(0)}


def study(box, theta=THETA):
    loss = lambda state, theta, key: state + sum(jnp.sum(leaf) for leaf in jax.tree.leaves(theta))
    return ml.Study(ml.InnerProblem(lambda theta, key: jnp.zeros(()), lambda s, t, k: s, loss), theta, 4, box=box)


@pytest.mark.parametrize(
    "box",
    [(0, 1), (np.int64(0), jnp.array(1)), (0.0, {"a": [1, 1], "b": 1}), ({"a": np.zeros(2, int), "b": 0}, 1)],
)
def test_a_box_may_have_whole_numbers(box):
    if isinstance(box[1], dict):
        box = box[0], box[1] | {"a": np.array(box[1]["a"])}
    for end, number in zip(study(box).searched, (0.0, 1.0)):
        assert jax.tree.map(lambda leaf: leaf.dtype, end) == jax.tree.map(lambda leaf: leaf.dtype, THETA)
        assert all(jnp.all(leaf == number) for leaf in jax.tree.leaves(end))


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (({"a": 0.0, "b": 0.0}, 1.0), "box: low must be one number"),
        ((0.0, {"b": 1.0}), "box: high must be one number"),
        ((0.0, [1.0, 1.0, 1.0]), "box: high must be one number"),
        (("low", 1.0), "box: low must be one number"),
        ((1, 0), "low must nowhere be above high"),
    ],
)
def test_another_box_is_a_sentence(box, words):
    with pytest.raises(ValueError, match=words):
        study(box)
