"""What is computed outside of programs compiles few of its own: a first result waits for each of them."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

import metalearn as ml
from metalearn import trees
from metalearn.inner.training.examples import Data, take


@contextlib.contextmanager
def compilations():
    """Yield a list that gets an entry for each program that JAX compiles."""
    found = []
    listen = lambda event, seconds, **_: found.append(event) if event.endswith("backend_compile_duration") else None
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_the_weights_of_a_network_are_one_program():
    network, key = ml.mlp([13, 7, 3]), jax.random.key(0)
    with compilations() as found:
        params = network.init(key)
    assert len(found) == 1
    with jax.disable_jit(), compilations() as apart:
        expected = network.init(key)
    assert len(apart) > 5, "one operation after the other would be a program each"
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, expected)


def test_examples_are_taken_without_a_program():
    inputs, targets, indices = jnp.arange(51.0).reshape(3, 17), jnp.arange(17), np.array([2, 0, 16])
    examples = ml.data.Examples(inputs.T, targets)
    with compilations() as found:
        columns = take(Data(inputs, targets), indices)
        rows = take(examples, indices)
    assert not found
    for few in (columns.inputs, rows.inputs.T):
        np.testing.assert_array_equal(few, np.asarray(inputs)[:, indices])
    for few in (columns, rows):
        assert isinstance(few.targets, jax.Array)
        np.testing.assert_array_equal(few.targets, indices)


def test_a_tree_is_searched_for_what_is_not_finite_by_one_program():
    tree = {"a": jnp.ones((3, 19)), "b": [jnp.ones(23), 2.0], "c": jnp.arange(29)}
    bad = tree | {"a": jnp.asarray(np.where(np.arange(57) == 20, np.inf, 1).reshape(3, 19), jnp.float32)}
    with compilations() as found:
        assert trees.all_finite(tree)
        assert not trees.all_finite(bad)
    assert len(found) == 1


def test_a_search_starts_after_few_programs():
    measure = lambda theta, key: jnp.sum(jnp.square(theta - 1))
    theta, key = jnp.zeros(31), jax.random.key(0)
    with compilations() as found:
        ml.search.evolve(measure, "cma_es", theta, key, num_generations=2, population_size=6)
    assert len(found) <= 30
