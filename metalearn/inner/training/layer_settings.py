"""Initialisation and scaling of layers, shared by `mlp`, `convolutional` and their Flax modules."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn.inner.checks import check_choice, check_number

Number = Any  # a real number of Python or JAX, possibly traced, so that it may depend on θ

ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu, "identity": lambda x: x, "gelu": jax.nn.gelu}
SCALINGS = ("standard", "ntk", "mean_field")


class Layer(NamedTuple):
    """The settings of one layer: W ~ N(0, deviation²), output = factor · W x + b, with b = 0 at the start."""

    features: int
    deviation: Number
    factor: Number
    bias: bool
    dtype: Any


def draw_layers(outputs, fans, activation, scaling, bias, gain, initial_scale, dtype) -> tuple[Layer, ...]:
    """Return the settings of each layer for the arguments of `mlp`; `fans` are the numbers of inputs of the layers."""
    check_choice("scaling", scaling, SCALINGS)
    count = len(outputs)
    if gain is None:
        gain = math.sqrt(2) if activation in ("tanh", "relu", "gelu") else 1.0
    gains = per_layer_numbers("gain", gain, count, 0)
    if scaling == "mean_field" and not isinstance(gain, Sequence):
        gains = (*gains[:-1], 1.0)
    scales = per_layer_numbers("initial_scale", initial_scale, count)
    powers = [1.0 if scaling == "mean_field" and index == count - 1 else 0.5 for index in range(count)]
    magnitudes = [g / fan**power for g, fan, power in zip(gains, fans, powers)]
    drawn = scaling == "standard"
    return tuple(
        Layer(features, scale * magnitude if drawn else scale, 1.0 if drawn else magnitude, bias, dtype)
        for features, scale, magnitude in zip(outputs, scales, magnitudes)
    )


def per_layer_numbers(name, value, count, low=None, high=None, *, open_high=False):
    """Check one number or one number per layer, and return a tuple of `count` numbers."""
    values = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,) * count
    if len(values) != count:
        raise ValueError(
            f"{name} must be one number or a sequence of {count}, one per layer; {len(values)} were given."
        )
    for number in values if isinstance(value, Sequence) else (value,):
        check_number(name, number, low, high, open_high=open_high)
    return values


def find_activation(activation: str | Callable) -> Callable:
    """Return the activation function with a given name, or the given function itself."""
    if callable(activation):
        return activation
    check_choice("activation", activation, ACTIVATIONS)
    return ACTIVATIONS[activation]


def out_length(side: int, stride: int) -> int:
    """Return the number of windows along a side, ⌈side / stride⌉."""
    return -(-side // stride)
