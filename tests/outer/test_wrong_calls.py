"""Arguments of the wrong form raise a clear error before anything is computed or allocated."""

import jax
import jax.numpy as jnp
import optax
import pytest

import metalearn as ml
from metalearn.application.mistakes import sentence

PROBLEM, WINDOWS = ml.problems.noisy_linear_quadratic(), ml.Truncation(12, 3)
ESTIMATOR = ml.persistent_es(PROBLEM, WINDOWS, sigma=0.1, num_pairs=2)
KEY, THETA = jax.random.key(0), jnp.float32(0.3)
PLANE = ml.landscape.Plane(ml.landscape.Axis("x", 0.3, 2.2), ml.landscape.Axis("y", 0.0, 1.0), lambda x, y: x)


def train(**settings):
    return ml.meta_train(ESTIMATOR, optax.sgd(0.02), THETA, KEY, 2, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"callback": lambda step: None}, r"callback must be a function \(step, theta, history\)"),
        ({"callback": [lambda *_: None, 5]}, "callback must be a function, or a list of functions; 5"),
        ({"progress": lambda done: None}, r"progress must be a function \(name, done, total\)"),
        ({"evaluate": lambda theta: theta}, r"evaluate must be a function \(theta, key\)"),
        ({"evaluate": lambda theta, key: None}, "evaluate must return one floating-point number; it returned None"),
        ({"evaluate": lambda theta, key: "low"}, r"evaluate cannot be called with this theta .*TypeError"),
        ({"evaluate": lambda theta, key: theta["rate"]}, r"evaluate cannot be called with this theta .*TypeError"),
        ({"evaluate": lambda theta, key: jnp.ones(3)}, "evaluate must return one floating-point number"),
    ],
)
def test_functions_of_the_wrong_form_raise_an_error_before_training(settings, words):
    with pytest.raises(TypeError, match=words):
        train(**settings)


def test_a_callback_that_returns_a_number_raises_an_error():
    with pytest.raises(TypeError, match=r"callback must return None, True or False, or a string .*; it returned 5"):
        train(callback=lambda *_: 5)


@pytest.mark.parametrize(
    "call",
    [
        lambda key: ml.meta_loss(PROBLEM, THETA, key, 3),
        lambda key: ml.dynamics.lyapunov(PROBLEM, THETA, key, num_steps=3),
        lambda key: ml.landscape.trainability(PROBLEM, PLANE, num_steps=3, resolution=4, key=key),
        lambda key: ml.landscape.precision(PROBLEM, PLANE, num_steps=3, resolution=4, key=key),
        lambda key: ml.meta_train(ESTIMATOR, optax.sgd(0.02), THETA, key, 2),
        lambda key: ESTIMATOR.init(THETA, key),
    ],
)
def test_an_integer_instead_of_a_key_raises_an_error(call):
    with pytest.raises(TypeError, match=r"key must be a typed key such as jax\.random\.key"):
        call(0)


@pytest.mark.parametrize("resolution", [10**9, (2**20, 2**20)])
def test_pictures_larger_than_memory_raise_an_error_before_allocating(resolution):
    for call in (
        lambda: ml.landscape.trainability(PROBLEM, PLANE, num_steps=3, resolution=resolution),
        lambda: ml.landscape.render(lambda theta: theta, PLANE, resolution),
        lambda: ml.landscape.precision(PROBLEM, PLANE, num_steps=3, resolution=resolution),
    ):
        with pytest.raises(ValueError, match="resolution must be at most 268435456 pixels"):
            call()


def test_numbers_of_pairs_and_episodes_have_a_limit():
    for pairs in (10**12, 2 * 10**9):
        with pytest.raises(ValueError, match=f"num_pairs must be at most 16777216; {pairs} was given"):
            ml.persistent_es(PROBLEM, WINDOWS, sigma=0.1, num_pairs=pairs)
    with pytest.raises(ValueError, match="num_episodes must be at most 16777216"):
        ml.compare({"PES": ESTIMATOR}, THETA, KEY, num_episodes=10**9)


def test_insufficient_memory_is_a_clear_error():
    error = jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 16000000000 bytes.")
    assert sentence(error) == (
        "The memory does not suffice: RESOURCE_EXHAUSTED: Out of memory allocating 16000000000 bytes. "
        "Choose a smaller resolution, or fewer pairs, episodes or steps."
    )
    assert "The memory does not suffice" in str(sentence(MemoryError()))
    assert sentence(jax.errors.JaxRuntimeError("INTERNAL: broken")) is None
