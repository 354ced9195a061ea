"""Benchmarks with a convolutional network, a residual network, a transformer and an LSTM."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_count
from metalearn.inner.training.benchmark import Benchmark
from metalearn.inner.training.datasets import digits, split
from metalearn.inner.training.examples import Examples, take
from metalearn.inner.training.flax_wrappers import from_linen
from metalearn.inner.training.text import characters

CLASSES = 10


def convolutional_benchmark(
    channels: Sequence[int] = (8, 16), *, num_steps: int = 200, batch_size: int = 32, seed: int = 0
) -> Benchmark:
    """Return a benchmark on handwritten digits, as images `[8, 8, 1]`, with a convolutional network with BatchNorm.

    Every layer is a 3×3 convolution, BatchNorm, ReLU and 2×2 average pooling; the last layer is affine. The parts are
    1000 examples for training, 400 for validation and 397 for testing.

    Args:
      channels: the number of channels of each convolution, at most three of them.
      num_steps: T, the number of inner steps of a training run.
      batch_size: the number of examples in a minibatch.
      seed: the seed of the split.

    Raises:
      ImportError: scikit-learn is missing.
      TypeError: `channels` is not a sequence of whole numbers, or another argument is not a whole number.
      ValueError: there are more than three convolutions, or a number is below 1.
    """
    from metalearn.inner.training.ready_modules import Convolutional

    if isinstance(channels, int):
        raise TypeError(f"channels must be a sequence, such as ({channels},); {channels} was given.")
    for count in channels:
        check_count("Every one of channels", count)
    if not 1 <= len(channels) <= 3:
        raise ValueError(f"channels must have one to three numbers for images of 8 × 8 pixels; {channels} was given.")
    return _of_images(Convolutional(tuple(channels), CLASSES), num_steps, batch_size, seed)


def residual_benchmark(
    channels: int = 8, blocks: int = 1, *, num_steps: int = 200, batch_size: int = 32, seed: int = 0
) -> Benchmark:
    """Return a benchmark on handwritten digits, as images `[8, 8, 1]`, with a small residual network with BatchNorm.

    A block is x ← relu(x + f(x)) with two 3×3 convolutions in f, and 2×2 average pooling. The mean over the pixels of
    the last block goes into an affine layer. Parts, other arguments and errors are those of `convolutional_benchmark`.

    Args:
      channels: the number of channels of all convolutions.
      blocks: the number of blocks, at most three.
    """
    from metalearn.inner.training.ready_modules import Residual

    check_count("channels", channels)
    check_count("blocks", blocks, high=3)
    return _of_images(Residual(channels, blocks, CLASSES), num_steps, batch_size, seed)


def transformer_benchmark(
    width: int = 32,
    heads: int = 2,
    blocks: int = 1,
    *,
    length: int = 64,
    num_steps: int = 200,
    batch_size: int = 32,
    seed: int = 0,
) -> Benchmark:
    """Return a benchmark that predicts the next character of a text with a causal transformer.

    The data are `ml.data.characters(length)`: five of seven windows are for training, one each for validation and
    testing. The loss is in nats per character, 3.4 for equal probabilities.

    Args:
      width: the number of features of a character, a multiple of `heads`.
      heads: the number of heads of the attention.
      blocks: the number of blocks of attention and perceptron.
      length: the number of characters in a window.
      num_steps, batch_size, seed: as in `convolutional_benchmark`.

    Raises:
      TypeError: an argument is not a whole number.
      ValueError: a number is below 1, the width is not a multiple of `heads`, or `length` leaves fewer than seven
        windows.
    """
    from metalearn.inner.training.ready_modules import Transformer

    for name, count in (("width", width), ("heads", heads), ("blocks", blocks)):
        check_count(name, count)
    if width % heads:
        raise ValueError(f"width must be a multiple of heads={heads}; {width} was given.")
    symbols, parts = _text(length, seed)
    return _benchmark(Transformer(symbols, width, heads, blocks), parts, num_steps, batch_size)


def lstm_benchmark(
    width: int = 32, *, length: int = 64, num_steps: int = 200, batch_size: int = 32, seed: int = 0
) -> Benchmark:
    """Return a benchmark that predicts the next character of a text with an LSTM.

    Data, arguments and errors are those of `transformer_benchmark`; `width` is the number of units.
    """
    from metalearn.inner.training.ready_modules import Recurrent

    check_count("width", width)
    symbols, parts = _text(length, seed)
    return _benchmark(Recurrent(symbols, width), parts, num_steps, batch_size)


def _of_images(module, num_steps, batch_size, seed) -> Benchmark:
    data = digits()
    images = Examples(jnp.reshape(data.inputs.T, (-1, 8, 8, 1)), data.targets)
    return _benchmark(module, split(images, (1000, 400, 397), seed), num_steps, batch_size)


def _text(length, seed):
    """Return the number of symbols, and the windows of the text in three parts, without repeated windows."""
    data, symbols = characters(length)
    first = np.unique(data.inputs, axis=0, return_index=True)[1]
    data = take(data, np.sort(first))
    part = len(data.inputs) // 7
    if part < 1:
        raise ValueError(f"length must leave seven windows of the text; {length} leaves {len(data.inputs)}.")
    return len(symbols), split(data, (5 * part, part, part), seed)


def _benchmark(module, parts, num_steps, batch_size) -> Benchmark:
    check_count("num_steps", num_steps)
    check_count("batch_size", batch_size)
    train, validation, test = parts
    network = from_linen(module, train.inputs[:1], examples_first=True)
    return Benchmark(network, train, validation, test, batch_size, num_steps)
