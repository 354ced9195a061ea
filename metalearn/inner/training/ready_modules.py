"""Flax Linen modules of the benchmarks of networks other than perceptrons, with examples first."""

import jax
import jax.numpy as jnp
from flax import linen as nn


def _normalise(inputs, train: bool):
    return nn.BatchNorm(use_running_average=not train, momentum=0.9)(inputs)


class Convolutional(nn.Module):
    """3×3 convolutions with BatchNorm, ReLU and average pooling: images `[examples, height, width, channels]`."""

    channels: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, images, train: bool):
        x = images
        for width in self.channels:
            x = nn.relu(_normalise(nn.Conv(width, (3, 3), use_bias=False)(x), train))
            x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(self.classes)(x.reshape(x.shape[0], -1))


class Residual(nn.Module):
    """A convolution, residual blocks x + f(x) of two convolutions with BatchNorm, and the mean over the image."""

    channels: int
    blocks: int
    classes: int

    @nn.compact
    def __call__(self, images, train: bool):
        convolve = lambda x: _normalise(nn.Conv(self.channels, (3, 3), use_bias=False)(x), train)
        x = nn.relu(convolve(images))
        for _ in range(self.blocks):
            x = nn.relu(x + convolve(nn.relu(convolve(x))))
            x = nn.avg_pool(x, (2, 2), strides=(2, 2))
        return nn.Dense(self.classes)(jnp.mean(x, axis=(1, 2)))


class Transformer(nn.Module):
    """Causal blocks with layer normalisation before attention and perceptron: symbols `[examples, length]`."""

    symbols: int
    width: int
    heads: int
    blocks: int

    @nn.compact
    def __call__(self, symbols):
        x = nn.Embed(self.symbols, self.width)(symbols)
        x = x + self.param("positions", nn.initializers.normal(0.02), (symbols.shape[1], self.width))[None]
        mask = nn.make_causal_mask(symbols)
        for _ in range(self.blocks):
            y = nn.LayerNorm()(x)
            x = x + nn.MultiHeadDotProductAttention(self.heads)(y, y, mask=mask)
            x = x + nn.Dense(self.width)(nn.gelu(nn.Dense(4 * self.width)(nn.LayerNorm()(x))))
        return nn.Dense(self.symbols)(nn.LayerNorm()(x))


class Recurrent(nn.Module):
    """An LSTM: symbols `[examples, length]`."""

    symbols: int
    width: int

    @nn.compact
    def __call__(self, symbols):
        x = jax.nn.one_hot(symbols, self.symbols)
        return nn.Dense(self.symbols)(nn.RNN(nn.OptimizedLSTMCell(self.width, param_dtype=x.dtype))(x))
