"""Equinox and Haiku modules are trained as loops written with these libraries train them."""

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metalearn as ml

KEY = jax.random.key(4)
DRAW = np.random.default_rng(5)
ROWS, LABELS = DRAW.normal(size=(12, 4)).astype(np.float32), np.arange(12, dtype=np.int32) % 3
LAYOUTS = {"rows": ml.data.Examples(ROWS, LABELS), "columns": ml.data.Data(ROWS.T, LABELS)}
RATE, THETA = 0.1, jnp.zeros(())


def library(name, package):
    return pytest.importorskip(name, reason=f"{package} is not installed: pip install {package}")


def entropy(outputs):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(outputs), jnp.asarray(LABELS)[:, None], axis=1))


def trained(network, data, steps=4):
    problem = ml.training(ml.classification(network, data), ml.sgd(RATE), ml.metric_loss(network, data), cap=None)
    state, step = problem.init(THETA, KEY), jax.jit(problem.step)
    for number in range(steps):
        state = step(state, THETA, jax.random.key(number))
    estimator = ml.persistent_es(problem, ml.Truncation(4, 2), sigma=0.1, num_pairs=2)
    assert jnp.isfinite(estimator.estimate(THETA, estimator.init(THETA, KEY), KEY)[2]["loss"])
    return state, problem.loss(state, THETA, KEY)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_equinox_module_with_batch_norm_equals_a_handwritten_loop(layout):
    equinox = library("equinox", "equinox")

    class Module(equinox.Module):
        first: object
        norm: object
        last: object

        def __init__(self, key):
            self.first = equinox.nn.Linear(4, 8, key=key)
            self.norm = equinox.nn.BatchNorm(8, "batch", mode="batch")
            self.last = equinox.nn.MLP(8, 3, 5, 1, key=jax.random.split(key)[0])

        def __call__(self, x, state):
            x, state = self.norm(self.first(x), state)
            return self.last(x), state

    make = equinox.nn.make_with_state(Module)
    state, loss = trained(ml.from_equinox(make), LAYOUTS[layout])
    module, memory = make(KEY)
    call = lambda module, memory: jax.vmap(module, (0, None), (0, None), axis_name="batch")(ROWS, memory)

    @equinox.filter_grad(has_aux=True)
    def slope(module, memory):
        outputs, memory = call(module, memory)
        return entropy(outputs), memory

    for _ in range(4):
        gradient, memory = equinox.filter_jit(slope)(module, memory)
        module = equinox.apply_updates(module, jax.tree.map(lambda g: -RATE * g, gradient))
    assert loss.item() == pytest.approx(entropy(call(equinox.nn.inference_mode(module), memory)[0]).item(), rel=1e-4)
    np.testing.assert_allclose(state.params["first/weight"], module.first.weight, rtol=1e-4, atol=1e-6)


def test_dropout_of_equinox_is_drawn_for_every_example_in_training_only():
    equinox = library("equinox", "equinox")

    class Module(equinox.Module):
        drop: object

        def __init__(self, key):
            self.drop = equinox.nn.Dropout(0.5)

        def __call__(self, x, *, key=None):
            return self.drop(x, key=key)

    network = ml.from_equinox(Module)
    ones = jnp.ones((6, 50))
    np.testing.assert_array_equal(network.apply({}, ones, None), ones)
    dropped = np.asarray(network.apply({}, ones, KEY))
    assert set(np.unique(dropped)) == {0.0, 2.0}
    assert len(np.unique(dropped, axis=1).T) > 20


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_haiku_function_with_batch_norm_equals_a_handwritten_loop(layout):
    haiku = library("haiku", "dm-haiku")

    def function(x, is_training):
        x = haiku.BatchNorm(True, True, 0.9)(haiku.Linear(8)(x), is_training)
        return haiku.nets.MLP([5, 3])(x)

    state, loss = trained(ml.from_haiku(function, (1, 4), examples_first=True), LAYOUTS[layout])
    made = haiku.without_apply_rng(haiku.transform_with_state(function))
    params, memory = made.init(KEY, jnp.zeros((1, 4)), True)

    @jax.jit
    def slope(params, memory):
        def objective(params):
            outputs, after = made.apply(params, memory, ROWS, True)
            return entropy(outputs), after

        return jax.grad(objective, has_aux=True)(params)

    for _ in range(4):
        gradient, memory = slope(params, memory)
        params = jax.tree.map(lambda w, g: w - RATE * g, params, gradient)
    assert loss.item() == pytest.approx(entropy(made.apply(params, memory, ROWS, False)[0]).item(), rel=1e-4)
    np.testing.assert_allclose(state.params["linear"]["w"], params["linear"]["w"], rtol=1e-4, atol=1e-6)


def test_a_transformed_haiku_function_receives_random_keys():
    haiku = library("haiku", "dm-haiku")

    def function(x, drop):
        return haiku.dropout(haiku.next_rng_key(), 0.5, x) if drop else x

    network = ml.from_haiku(haiku.transform(function), (2, 3), flags={"drop": (True, False)})
    ones = jnp.ones((2, 3))
    np.testing.assert_array_equal(network.apply({}, ones, None), ones)
    assert set(np.unique(network.apply({}, ones, KEY))) == {0.0, 2.0}


def test_invalid_equinox_modules_raise_a_clear_error():
    equinox = library("equinox", "equinox")
    module = equinox.nn.MLP(4, 3, 5, 1, key=KEY)
    for make, message in (
        (module, "a MLP was given. Write lambda key: MyModule"),
        (equinox.nn.MLP, "must be a function of one key"),
        (lambda key: 3, "must return an Equinox module"),
    ):
        with pytest.raises(TypeError, match=message):
            ml.from_equinox(make)


def test_invalid_haiku_functions_raise_a_clear_error():
    haiku = library("haiku", "dm-haiku")
    with pytest.raises(TypeError, match="must be a function of the inputs that calls Haiku modules"):
        ml.from_haiku(haiku.Linear, (1, 4))
    with pytest.raises(ValueError, match=r"cannot be initialised with inputs of shape \(\)"):
        ml.from_haiku(lambda x: haiku.Linear(2)(x), jnp.zeros(()))
    with pytest.raises(ValueError, match="needs the argument 'depth'"):
        ml.from_haiku(lambda x, depth: x, (1, 4))


@pytest.mark.parametrize(("wrapper", "module"), [("from_equinox", "equinox"), ("from_haiku", "haiku")])
def test_a_missing_library_is_named_in_the_error(wrapper, module, monkeypatch):
    if importlib.util.find_spec(module):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=rf"{wrapper} needs the library .*; install it: pip install"):
        getattr(ml, wrapper)(lambda key: key, *([(1, 4)] if wrapper == "from_haiku" else []))
