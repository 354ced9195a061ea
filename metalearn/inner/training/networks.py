"""Small networks with features first: weights (out, in), inputs [features, examples], layers W x.

Mapped over particles, W x is one large matrix product without transposes, which is two to three times as fast as the
usual x W. The networks here are Flax Linen modules with this layout, wrapped into a pair of pure functions. Any other
pair of functions can be used as well.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn.brief import brief_help
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.training.layer_settings import Number, draw_layers, find_activation, out_length, per_layer_numbers
from metalearn.types import Key, Params


@brief_help
class Network(NamedTuple):
    """A network as two pure functions, or three if it has a state in addition to its parameters.

    Attributes:
      init: `key -> params`, any pytree.
      apply: `(params, inputs, key) -> outputs`, inputs `[features, examples]`, outputs `[outputs, examples]`. The key
        determines what is random in a forward pass, such as dropout; None selects the deterministic network.
      init_state: None, or `key -> state`, any pytree of values that a forward pass changes without a gradient, such as
        running averages. `apply` is then `(params, inputs, key, state) -> (outputs, state)`. `training` carries the
        state from step to step; an evaluation reads it and discards the new state.
      apply_rows: None, or a version of `apply` for data whose first axis counts the examples (`ml.data.Examples`), if
        `apply` itself takes features first. With None, `apply` receives the data in their own layout.

    Your own network is such a pair. `from_linen`, `from_nnx`, `from_equinox` and `from_haiku` wrap modules of these
    libraries.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., Any]
    init_state: Callable[[Key], Any] | None = None
    apply_rows: Callable[..., Any] | None = None


def forward(
    network: Network, params: Params, inputs: Any, key: Key | None, state: Any = None, examples_first: bool = False
) -> tuple[Any, Any]:
    """Return `(outputs, state)` of a forward pass; the state is None if the network has none.

    Raises:
      TypeError: the network has a state and none is given, or its `apply` does not return one.
    """
    apply = network.apply if network.apply_rows is None or not examples_first else network.apply_rows
    if network.init_state is None:
        return apply(params, inputs, key), None
    if state is None:
        raise TypeError(
            "The network has a state in addition to its parameters, and none was given. Losses and metrics of such "
            "a network are "
            "called as (params, key, state), with the network_state of a TrainingState."
        )
    found = apply(params, inputs, key, state)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(
            "A network with init_state must return (outputs, state) from apply(params, inputs, key, state); it returned a "
            f"{type(found).__name__}."
        )
    return found


def mlp(
    widths: Sequence[int],
    activation: str | Callable = "tanh",
    scaling: str = "standard",
    bias: bool = True,
    gain: Number | Sequence[Number] | None = None,
    dropout: Number | Sequence[Number] = 0.0,
    initial_scale: Number | Sequence[Number] = 1.0,
    dtype: Any = None,
    input_dropout: Number = 0.0,
) -> Network:
    """Return a multilayer perceptron: x ← act(α W x + b) for every layer except the last, which is affine.

    With n the number of inputs of a layer (fan-in), g its gain and c its initial scale:

      standard    W ~ N(0, c² g²/n), α = 1
      ntk         W ~ N(0, c²), α = g/√n
      mean_field  as ntk, but α = 1/n in the last layer

    `mlp((16, 16, 1), "tanh", "mean_field", bias=False)` is the network of the fractal boundary of trainability,
    ŷ = (1/n) W1 tanh(√(2/n) W0 x).

    Args:
      widths: inputs, hidden widths …, outputs.
      activation: "tanh", "relu", "identity", "gelu" or a function of an array.
      scaling: "standard", "ntk" or "mean_field".
      bias: whether layers have a bias, which is zero at the start.
      gain: g, one number or one per layer. The default is √2 for tanh, ReLU and GELU, and 1 otherwise. If it is one
        per layer, the last α of mean_field is g/n.
      dropout: the probability to drop a hidden unit, one number or one per hidden layer; may be traced. The derivative
        with respect to it is that of the factor 1/(1 − rate) for a fixed mask. Backpropagation therefore ignores the
        change of the mask, which evolution strategies take into account.
      initial_scale: c, one number or one per layer; may be traced.
      dtype: the dtype of the parameters, to which inputs are converted. The default is JAX's default float type.
      input_dropout: the probability to drop an input; may be traced.

    Returns:
      A `Network`; its parameters are `{"layer_0": {"weight": (out, in), "bias": (out,)}, …}`.

    Raises:
      TypeError: a width is not a whole number, or another number is not real.
      ValueError: `activation` or `scaling` is unknown, a number is out of range, or a sequence has the wrong length.

    References:
      Jacot, Gabriel & Hongler, Neural Tangent Kernel, 2018, arXiv 1806.07572. Mei, Montanari & Nguyen, A mean field
      view of the landscape of two-layer neural networks, 2018, arXiv 1804.06561. Sohl-Dickstein, The boundary of neural
      network trainability is fractal, 2024, arXiv 2402.06184.
    """
    from metalearn.inner.training.linen_modules import MultilayerPerceptron

    widths = tuple(widths)
    if len(widths) < 2:
        raise ValueError(f"widths must contain at least inputs and outputs, such as (64, 32, 10); {widths} was given.")
    for width in widths:
        check_count("Every one of widths", width)
    layers = draw_layers(widths[1:], widths[:-1], activation, scaling, bias, gain, initial_scale, dtype)
    rates = per_layer_numbers("dropout", dropout, len(layers) - 1, 0, 1, open_high=True)
    check_number("input_dropout", input_dropout, 0, 1, open_high=True)
    return _network(MultilayerPerceptron(layers, find_activation(activation), rates, input_dropout), widths[0])


def convolutional(
    shape: tuple[int, int, int],
    channels: Sequence[int],
    num_outputs: int,
    activation: str | Callable = "relu",
    scaling: str = "standard",
    bias: bool = True,
    gain: Number | Sequence[Number] | None = None,
    dropout: Number | Sequence[Number] = 0.0,
    initial_scale: Number | Sequence[Number] = 1.0,
    window: int = 3,
    stride: int = 2,
    dtype: Any = None,
) -> Network:
    """Return a small convolutional network: strided convolutions with zero padding, and an affine layer.

    Each convolution multiplies W by the matrix of all windows, `[window² · channels, height' · width' · examples]` with
    height' = ⌈height / stride⌉, so that particles share one matrix product as in `mlp`. The fan-in is window² ·
    channels.

    Args:
      shape: (height, width, channels) of an image. Inputs are `[height · width · channels, examples]`, and the channel
        is the fastest index.
      channels: the number of output channels of each convolution.
      num_outputs: the number of outputs of the last layer.
      window: the side of a window.
      stride: the distance between neighbouring windows.
      activation, scaling, bias, gain, dropout, initial_scale, dtype: as in `mlp`.

    Raises:
      TypeError: a count is not a whole number, or another number is not real.
      ValueError: `activation` or `scaling` is unknown, a number is out of range, or a sequence has the wrong length.
    """
    from metalearn.inner.training.linen_modules import ConvolutionalNetwork

    if len(shape) != 3:
        raise ValueError(f"shape must be (height, width, channels) of an image, such as (8, 8, 1); {shape} was given.")
    counts = {
        "shape": shape,
        "channels": channels,
        "num_outputs": [num_outputs],
        "window": [window],
        "stride": [stride],
    }
    for name, values in counts.items():
        for value in values:
            check_count(name, value)
    height, width, depth = shape
    for _ in channels:
        height, width = out_length(height, stride), out_length(width, stride)
    depths = (depth, *channels)
    fans = (*(window * window * count for count in depths[:-1]), height * width * depths[-1])
    layers = draw_layers((*channels, num_outputs), fans, activation, scaling, bias, gain, initial_scale, dtype)
    rates = per_layer_numbers("dropout", dropout, len(layers) - 1, 0, 1, open_high=True)
    module = ConvolutionalNetwork(
        (shape[0], shape[1], shape[2]), layers, window, stride, find_activation(activation), rates
    )
    return _network(module, math.prod(shape))


def _network(module, num_features):
    @functools.partial(jax.jit, inline=True)  # one program, without the forward pass, where it is not part of another
    def init(key):
        return module.init(key, jnp.zeros((num_features, 1)))["params"]

    def apply(params, inputs, key=None):
        if jnp.ndim(inputs) != 2 or inputs.shape[0] != num_features:
            raise ValueError(
                f"The network takes inputs [features, examples] with {num_features} features; "
                f"shape {jnp.shape(inputs)} was given."
            )
        return module.apply({"params": params}, inputs, rngs=None if key is None else {"dropout": key})

    return Network(init, apply)
