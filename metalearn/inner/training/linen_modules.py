"""The Flax Linen modules of `mlp` and `convolutional`, with features first."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from metalearn.inner.training.layer_settings import Layer, Number, out_length


class Dense(nn.Module):
    """One affine layer, features first: `[in, examples] -> [out, examples]`; weight (out, in), bias (out,)."""

    layer: Layer

    @nn.compact
    def __call__(self, inputs):
        features, deviation, factor, bias, dtype = self.layer
        dtype = jnp.result_type(float) if dtype is None else dtype

        def draw(key, shape):
            return jnp.asarray(deviation * jax.random.normal(key, shape, dtype), dtype)

        weight = self.param("weight", draw, (features, inputs.shape[0]))
        if not (isinstance(factor, float) and factor == 1.0):
            weight = jnp.asarray(factor, weight.dtype) * weight  # cheaper than scaling the outputs
        outputs = weight @ inputs.astype(weight.dtype)
        if bias:
            outputs = outputs + self.param("bias", nn.initializers.zeros, (features,), dtype)[:, None]
        return outputs


class MultilayerPerceptron(nn.Module):
    """Dense layers with an activation and dropout between them; the last layer is affine."""

    layers: tuple[Layer, ...]
    activation: Callable
    rates: tuple[Number, ...]
    input_rate: Number = 0.0

    @nn.compact
    def __call__(self, inputs):
        inputs = _dropout(self, self.input_rate, inputs)
        for index, (layer, rate) in enumerate(zip(self.layers[:-1], self.rates)):
            inputs = _dropout(self, rate, self.activation(Dense(layer, name=f"layer_{index}")(inputs)))
        return Dense(self.layers[-1], name=f"layer_{len(self.layers) - 1}")(inputs)


class ConvolutionalNetwork(nn.Module):
    """Strided convolutions, each as one matrix product over the windows of all images, and a final dense layer."""

    shape: tuple[int, int, int]
    layers: tuple[Layer, ...]
    window: int
    stride: int
    activation: Callable
    rates: tuple[Number, ...]

    @nn.compact
    def __call__(self, inputs):
        height, width, channels = self.shape
        images = inputs.reshape(height, width, channels, -1).transpose(2, 0, 1, 3)
        for index, (layer, rate) in enumerate(zip(self.layers[:-1], self.rates)):
            windows = _windows(images, self.window, self.stride)
            outputs = Dense(layer, name=f"layer_{index}")(windows.reshape(windows.shape[0], -1))
            outputs = _dropout(self, rate, self.activation(outputs))
            images = outputs.reshape(layer.features, *windows.shape[1:])
        flat = images.reshape(-1, images.shape[-1])
        return Dense(self.layers[-1], name=f"layer_{len(self.layers) - 1}")(flat)


def _dropout(module, rate, values):
    """Set entries to zero with probability `rate` and divide the others by 1 − rate; do nothing without a key."""
    if not module.has_rng("dropout") or (isinstance(rate, (int, float)) and rate == 0):
        return values
    bits, rate = jax.random.bits(module.make_rng("dropout"), values.shape, jnp.uint32), jnp.asarray(rate)
    rate = rate.astype(jnp.promote_types(rate.dtype, jnp.float32))
    kept = bits >= (rate * 2.0**32).astype(jnp.uint32)  # particles with different rates share the random bits
    return jnp.where(kept, values * (1 / (1 - rate)).astype(values.dtype), jnp.zeros_like(values))


def _windows(images, window, stride):
    """Return the zero-padded windows `[window² · channels, height', width', examples]` of images.

    Images are `[channels, height, width, examples]`.
    """
    sides = images.shape[1:3]
    outputs = [out_length(side, stride) for side in sides]
    missing = [max((out - 1) * stride + window - side, 0) for out, side in zip(outputs, sides)]
    padding = [(0, 0), *((amount // 2, amount - amount // 2) for amount in missing), (0, 0)]
    padded = jnp.pad(images, padding)
    spans = [(out - 1) * stride + 1 for out in outputs]
    shifted = [
        padded[:, row : row + spans[0] : stride, column : column + spans[1] : stride, :]
        for row in range(window)
        for column in range(window)
    ]
    return jnp.concatenate(shifted, axis=0)
