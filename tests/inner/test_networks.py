"""Networks against NumPy, lax convolutions, and Linen and NNX modules written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from metalearn.inner.training.flax_wrappers import from_linen, from_nnx
from metalearn.inner.training.networks import Network, convolutional, mlp

KEY = jax.random.key(3)
INPUTS = jnp.asarray(np.random.default_rng(4).normal(size=(5, 7)), jnp.float32)
FUNCTIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "identity": lambda x: x,
    "gelu": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def fill(network, seed=0):
    """Return parameters drawn by NumPy, because compiling jax.random for every shape is slow."""
    generator = np.random.default_rng(seed)
    shapes = jax.eval_shape(network.init, KEY)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) / 2, leaf.dtype), shapes)


@pytest.mark.parametrize("activation", FUNCTIONS)
@pytest.mark.parametrize("scaling", ["standard", "ntk", "mean_field"])
def test_the_forward_pass_equals_its_formula(activation, scaling):
    network = mlp((5, 4, 6, 3), activation, scaling)
    params = fill(network)  # biases that are not zero
    gain = 1.0 if activation == "identity" else np.sqrt(2)
    x = np.asarray(INPUTS, np.float64)
    for index, fan_in in enumerate((5, 4, 6)):
        factor = 1.0 if scaling == "standard" else gain / np.sqrt(fan_in)
        if scaling == "mean_field" and index == 2:
            factor = 1 / fan_in
        layer = params[f"layer_{index}"]
        x = factor * np.asarray(layer["weight"], np.float64) @ x + np.asarray(layer["bias"])[:, None]
        x = FUNCTIONS[activation](x) if index < 2 else x
    np.testing.assert_allclose(jax.jit(network.apply)(params, INPUTS), x, rtol=2e-5, atol=2e-6)


def test_the_mean_field_mlp_without_bias_is_the_network_of_the_fractal():
    n = 16
    with jax.enable_x64(True):
        network = mlp((n, n, 1), "tanh", "mean_field", bias=False)
        params = fill(network)
        x = jnp.asarray(np.random.default_rng(1).normal(size=(n, 9)))
        W0, W1, outputs = (
            np.asarray(a) for a in (params["layer_0"]["weight"], params["layer_1"]["weight"], network.apply(params, x))
        )
        x = np.asarray(x)
    assert outputs.dtype == np.float64
    np.testing.assert_allclose(outputs, W1 @ np.tanh(np.sqrt(2 / n) * W0 @ x) / n, rtol=1e-13)


@pytest.mark.parametrize(
    ("scaling", "deviations"),
    [("standard", (2 / np.sqrt(400), 3 / np.sqrt(300))), ("ntk", (1.0, 1.0)), ("mean_field", (1.0, 1.0))],
)
def test_weights_have_the_standard_deviation_of_their_scaling(scaling, deviations):
    params = mlp((400, 300, 200), scaling=scaling, gain=(2.0, 3.0), initial_scale=(0.5, 0.25)).init(KEY)
    for index, deviation in enumerate(deviations):
        weight = np.asarray(params[f"layer_{index}"]["weight"])
        assert weight.shape == ((300, 400), (200, 300))[index]
        expected = deviation * (0.5, 0.25)[index]
        assert abs(weight.std() / expected - 1) < 5 / np.sqrt(2 * weight.size)
        assert abs(weight.mean()) < 5 * expected / np.sqrt(weight.size)
        assert not np.any(params[f"layer_{index}"]["bias"])


def test_the_gain_of_the_last_mean_field_layer_is_used_if_given():
    params = fill(mlp((5, 4, 3), bias=False))
    plain = mlp((5, 4, 3), scaling="mean_field", bias=False, gain=2.0).apply(params, INPUTS)
    tripled = mlp((5, 4, 3), scaling="mean_field", bias=False, gain=(2.0, 3.0)).apply(params, INPUTS)
    np.testing.assert_allclose(tripled, 3 * plain, rtol=1e-5, atol=1e-6)


def test_dropout_drops_the_given_share_preserves_the_mean_and_needs_a_key():
    network = mlp((2, 4000, 1), "identity", bias=False, dropout=0.3)
    params = {"layer_0": {"weight": jnp.ones((4000, 2))}, "layer_1": {"weight": jnp.ones((1, 4000)) / 4000}}
    ones = jnp.ones((2, 1))
    assert network.apply(params, ones, None).item() == pytest.approx(2, rel=1e-5)
    kept = network.apply(params, ones, KEY).item() * 0.7 / 2
    assert abs(kept - 0.7) < 5 * np.sqrt(0.3 * 0.7 / 4000)
    assert kept != pytest.approx(0.7, abs=1e-9)
    assert network.apply(params, ones, KEY) == network.apply(params, ones, KEY)
    assert network.apply(params, ones, KEY) != network.apply(params, ones, jax.random.key(9))


def test_dropout_is_independent_between_layers():
    params = fill(mlp((5, 6, 8, 3)))
    plain = mlp((5, 6, 8, 3)).apply(params, INPUTS)
    second = mlp((5, 6, 8, 3), dropout=(0.0, 0.5)).apply(params, INPUTS, KEY)
    assert not np.allclose(plain, second)
    np.testing.assert_array_equal(mlp((5, 6, 8, 3), dropout=(0.0, 0.0)).apply(params, INPUTS, KEY), plain)


def test_networks_are_differentiable_with_respect_to_traced_settings():
    names = ("dropout", "initial_scale", "gain")

    def outputs(number):
        def output(name):
            network = mlp((5, 4, 3), **{name: number})
            return jnp.sum(network.apply(network.init(KEY), INPUTS, jax.random.key(8)) ** 2)

        return jnp.stack([output(name) for name in names])

    with jax.enable_x64(True):
        h = 1e-5
        run = jax.jit(jax.vmap(lambda x: jax.jvp(outputs, (x,), (jnp.ones_like(x),))))
        found, slopes = (np.asarray(part) for part in run(np.array([0.4 - h, 0.4, 0.4 + h])))
    for index, name in enumerate(names):
        difference = (found[2, index] - found[0, index]) / (2 * h)
        assert slopes[1, index] == pytest.approx(difference, rel=1e-6), name
        assert abs(difference) > 1e-3, name


def test_low_precision_outputs_keep_their_dtype():
    network = mlp((5, 4, 3), dropout=jnp.asarray(0.2), gain=jnp.asarray(1.5), scaling="ntk", dtype=jnp.bfloat16)
    params = jax.jit(network.init)(KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    assert network.apply(params, INPUTS, KEY).dtype == jnp.bfloat16


@pytest.mark.parametrize(("size", "window", "stride"), [((6, 5, 2), 3, 2), ((4, 4, 1), 2, 1), ((7, 3, 3), 3, 1)])
def test_convolutions_equal_those_of_lax(size, window, stride):
    network = convolutional(size, (4, 3), 2, "tanh", window=window, stride=stride)
    params = fill(network)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(5, *size)), jnp.float32)

    @jax.jit
    def by_lax(params, x):
        for index in range(2):
            layer = params[f"layer_{index}"]
            kernel = layer["weight"].T.reshape(window, window, x.shape[-1], -1)
            numbers = ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=numbers)
            x = jnp.tanh(x + layer["bias"][None, None, None, :])
        flat = x.transpose(3, 1, 2, 0).reshape(-1, 5)
        return params["layer_2"]["weight"] @ flat + params["layer_2"]["bias"][:, None]

    found = jax.jit(network.apply)(params, images.reshape(5, -1).T)
    np.testing.assert_allclose(found, by_lax(params, images), rtol=1e-4, atol=1e-5)


class BatchFirst(nn.Module):
    @nn.compact
    def __call__(self, inputs, train: bool):
        hidden = nn.Dropout(0.5, deterministic=not train)(jnp.tanh(nn.Dense(4)(inputs)))
        return nn.Dense(3)(hidden)


class FeaturesFirst(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return self.param("weight", nn.initializers.normal(), (3, inputs.shape[0])) @ inputs


def test_linen_modules_work_in_both_layouts():
    network = from_linen(BatchFirst(), (1, 5), examples_first=True)
    params = fill(network)
    hidden = np.tanh(INPUTS.T @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"][None, :])
    expected = (hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"][None, :]).T
    np.testing.assert_allclose(network.apply(params, INPUTS, None), expected, rtol=1e-5, atol=1e-6)
    assert not np.allclose(network.apply(params, INPUTS, KEY), expected)
    plain = from_linen(FeaturesFirst(), (5, 1))
    np.testing.assert_allclose(plain.apply(fill(plain), INPUTS, KEY), fill(plain)["weight"] @ INPUTS, rtol=1e-6)


class Nnx(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(5, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.second = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, inputs):
        return self.second(self.dropout(jnp.tanh(self.first(inputs))))


def test_nnx_modules_work_in_scan_and_vmap():
    network = from_nnx(lambda rngs: Nnx(rngs), examples_first=True)
    params = fill(network)
    assert type(params) is dict
    hidden = np.tanh(INPUTS.T @ params["first"]["kernel"] + params["first"]["bias"][None, :])
    expected = (hidden @ params["second"]["kernel"] + params["second"]["bias"][None, :]).T
    np.testing.assert_allclose(network.apply(params, INPUTS, None), expected, rtol=1e-5, atol=1e-6)
    dropped = network.apply(params, INPUTS, KEY)
    assert not np.allclose(dropped, expected)
    assert not np.allclose(dropped, network.apply(params, INPUTS, jax.random.key(5)))

    def body(params, key):
        slope = jax.grad(lambda p: jnp.sum(network.apply(p, INPUTS, key) ** 2))(params)
        return jax.tree.map(lambda p, g: p - 0.01 * g, params, slope), None

    scanned = jax.jit(lambda keys: jax.vmap(lambda key: jax.lax.scan(body, network.init(key), keys)[0])(keys))(
        jax.random.split(KEY, 2)
    )
    alone = jax.jit(network.init)(jax.random.split(KEY, 2)[1])
    for key in jax.random.split(KEY, 2):
        alone, _ = jax.jit(body)(alone, key)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b, rtol=1e-4, atol=1e-6), scanned, alone)


def test_any_pair_of_init_and_apply_is_a_network():
    network = Network(lambda key: jax.random.normal(key, (3, 5)), lambda params, inputs, key=None: params @ inputs)
    assert network.apply(network.init(KEY), INPUTS, None).shape == (3, 7)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: mlp((5,)), "at least inputs and outputs"),
        (lambda: mlp((5, 0, 1)), "widths must be at least 1; 0 was given"),
        (lambda: mlp((5, 1), "sigmoid"), "activation must be one of gelu, identity, relu, tanh; 'sigmoid'"),
        (lambda: mlp((5, 1), scaling="mup"), "scaling must be one of mean_field, ntk, standard; 'mup'"),
        (lambda: mlp((5, 4, 1), dropout=1.0), r"dropout must be a number in \[0, 1\); 1 was given"),
        (
            lambda: mlp((5, 4, 1), gain=(1.0,)),
            "gain must be one number or a sequence of 2, one per layer; 1 were given",
        ),
        (lambda: mlp((5, 4, 1), initial_scale=float("nan")), "initial_scale must be a finite number"),
        (lambda: convolutional((8, 8), (4,), 10), r"shape must be \(height, width, channels\)"),
        (lambda: convolutional((8, 8, 1), (4,), 10, stride=0), "stride must be at least 1"),
        (lambda: mlp((5, 1)).apply(fill(mlp((5, 1))), INPUTS.T), r"with 5 features; shape \(7, 5\)"),
    ],
)
def test_invalid_arguments_raise_a_clear_error(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_arguments_of_the_wrong_type_raise_a_clear_error():
    with pytest.raises(TypeError, match="gain must be one real number; 'large'"):
        mlp((5, 1), gain="large")
    with pytest.raises(TypeError, match=r"widths must be a whole number; 4\.5"):
        mlp((5, 4.5, 1))


@pytest.mark.parametrize("rate", [0.7, 0.99, 0.999])
def test_dropout_in_low_precision_keeps_its_rate(rate):
    """bfloat16 rounds 0.999 to 1. The share of kept units would be zero and the derivative NaN."""
    network = mlp((2, 20_000, 1), "relu", dropout=rate, bias=False, dtype=jnp.bfloat16)
    params = network.init(jax.random.key(0))
    params = jax.tree.map(jnp.ones_like, params)
    ask = lambda inputs: jnp.sum(network.apply(params, inputs, jax.random.key(1)).astype(jnp.float32))
    kept = ask(jnp.ones((2, 1), jnp.bfloat16)) / 40_000
    assert abs(float(kept) - 1) < 5 * np.sqrt(rate / (1 - rate) / 20_000) + 0.01
    assert np.isfinite(jax.grad(ask)(jnp.ones((2, 1), jnp.bfloat16))).all()
