"""The noise of perturbations: independent standard normal numbers over all leaves, for any dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn import trees

TREE = {"a": jnp.zeros((2, 2)), "b": jnp.zeros(2, jnp.bfloat16), "c": 1.0, "d": jnp.zeros(1, jnp.bfloat16)}
NUM_DRAWS = 20_000


def one_slice_for_two(key, tree):
    """A twin with a mistake: leaves of the same size have the same numbers."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(
        structure, [jax.random.normal(key, jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves]
    )


def furthest(draw):
    """Return the largest deviation of means, variances and covariances from independent N(0, 1), in standard errors."""
    drawn = jax.jit(jax.vmap(lambda key: draw(key, TREE)))(jax.random.split(jax.random.key(0), NUM_DRAWS))
    rows = np.concatenate(
        [np.asarray(leaf, np.float64).reshape(NUM_DRAWS, -1) for leaf in jax.tree.leaves(drawn)], axis=1
    )
    size = rows.shape[1]
    assert size == 8
    covariances = rows.T @ rows / NUM_DRAWS - np.eye(size)
    errors = np.sqrt((1 + np.eye(size)) / NUM_DRAWS)
    return max(np.abs(covariances / errors).max(), np.abs(rows.mean(axis=0)).max() * np.sqrt(NUM_DRAWS))


def test_noise_is_independent_over_leaves_and_dtypes():
    assert furthest(trees.normal_like) < 5
    assert furthest(one_slice_for_two) > 50


def test_noise_has_the_scale_and_the_dtypes_of_its_leaves():
    key = jax.random.key(1)
    once, twice = trees.normal_like(key, TREE), jax.jit(trees.normal_like)(key, TREE, 2.0)
    for leaf, one, two in zip(*map(jax.tree.leaves, (TREE, once, twice))):
        assert (one.shape, one.dtype) == (jnp.shape(leaf), jnp.result_type(leaf))
        np.testing.assert_array_equal(np.asarray(two, np.float32), 2 * np.asarray(one, np.float32))
    assert trees.normal_like(key, ()) == ()


@pytest.mark.parametrize("shape", [(3,), (2, 3), ()])
def test_the_noise_of_one_array_equals_jax_random_normal(shape):
    key = jax.random.key(2)
    expected = jax.random.normal(key, shape)
    np.testing.assert_array_equal(trees.normal_like(key, jnp.zeros(shape)), expected)
