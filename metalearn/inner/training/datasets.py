"""Datasets: random ones as pure functions of a key, and real ones from scikit-learn.

Examples are columns (features first), unless `Examples` says otherwise.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_count, check_number, check_seed, is_known
from metalearn.inner.training.examples import (
    AnyData,
    Data,
    MemoryMapped,
    check_equal_counts,
    check_is_data,
    count_examples,
    examples_first,
    take,
)
from metalearn.inner.training.networks import mlp
from metalearn.types import Key
from metalearn.words import counted


def gaussian_regression(key: Key, num_features: int, num_examples: int, num_outputs: int = 1) -> Data:
    """Draw a dataset of pure noise: all inputs and targets are independent N(0, 1).

    Args:
      key: the random key.
      num_features: the number of inputs of an example.
      num_examples: the number of examples.
      num_outputs: the number of targets of an example.

    Returns:
      Data with inputs `[num_features, num_examples]` and targets `[num_outputs, num_examples]`.

    Raises:
      TypeError: a count is not a whole number.
      ValueError: a count is below 1.
    """
    for name, value in (("num_features", num_features), ("num_examples", num_examples), ("num_outputs", num_outputs)):
        check_count(name, value)
    inputs, targets = jax.random.split(key)
    return Data(
        jax.random.normal(inputs, (num_features, num_examples)), jax.random.normal(targets, (num_outputs, num_examples))
    )


def teacher(
    key: Key,
    num_features: int,
    num_examples: int,
    num_outputs: int = 1,
    *,
    hidden: Sequence[int] = (32,),
    noise=0.1,
    classification: bool = False,
) -> Data:
    """Draw a dataset from a random tanh network, the teacher: y = f(x) + noise · ε, x, ε ~ N(0, I).

    f is `mlp` with standard scaling and gain √2, drawn from the key. With `classification` the target is the label
    argmax y.

    Args:
      key: the random key of the teacher, the inputs and the noise.
      num_features: the number of entries of x.
      num_examples: the number of examples.
      num_outputs: the number of entries of y, or the number of classes.
      hidden: the hidden widths of the teacher.
      noise: the standard deviation of the noise; may be traced.
      classification: whether the targets are labels.

    Raises:
      TypeError: a count is not a whole number, or `noise` is not a real number.
      ValueError: a count is below 1, `num_outputs` is below 2 for a classification, or `noise` is negative.
    """
    for name, value in (("num_features", num_features), ("num_examples", num_examples), ("num_outputs", num_outputs)):
        check_count(name, value, 2 if name == "num_outputs" and classification else 1)
    check_number("noise", noise, 0)
    network = mlp((num_features, *hidden, num_outputs))
    drawing, features, disturbance = jax.random.split(key, 3)
    inputs = jax.random.normal(features, (num_features, num_examples))
    outputs = network.apply(network.init(drawing), inputs, None)
    outputs = outputs + noise * jax.random.normal(disturbance, outputs.shape)
    return Data(inputs, jnp.argmax(outputs, axis=0).astype(jnp.int32) if classification else outputs)


def split(data: AnyData, sizes: Sequence[int], seed: int = 0) -> tuple[Any, ...]:
    """Split a dataset into disjoint random parts, such as training, validation and test data.

    The order is NumPy's `RandomState(seed).permutation`. Its stream is frozen, so that a seed gives the same split in
    every release.

    Args:
      data: the dataset, a `Data` or `Examples`; the parts are of the same type.
      sizes: the number of examples of each part; remaining examples are not used.
      seed: the seed of the permutation.

    Raises:
      TypeError: `data` is not a `Data` of arrays, its arrays stay in files, or a size or `seed` is not a whole number.
      ValueError: a size is below 1, there are not enough examples, inputs and targets have different numbers of
        examples, or `seed` is outside of 0 … 2³² − 1.
    """
    check_is_data("data", data)
    if isinstance(sizes, str) or not hasattr(sizes, "__iter__"):
        raise TypeError(f"sizes must be a sequence, such as (80, 20); {sizes!r} was given.")
    for size in sizes:
        check_count("Every one of sizes", size)
    available = count_examples(data)
    if isinstance(data, MemoryMapped):
        raise TypeError("split copies examples into memory; split the arrays before ml.data.memory_mapped.")
    if examples_first(data):
        check_equal_counts("data", data)
    elif data.inputs.ndim != 2 or data.targets.shape[-1:] != (available,):
        raise ValueError(
            "data must be inputs [features, examples] and as many targets [..., examples]; inputs of shape "
            f"{data.inputs.shape} and targets of shape {data.targets.shape} were given. Examples are columns; "
            "transpose arrays whose examples are rows."
        )
    if sum(sizes) > available:
        raise ValueError(
            f"sizes must sum to at most {available}, the number of examples in the data; {tuple(sizes)} was given, "
            f"with the sum {sum(sizes)}."
        )
    # RandomState is NumPy's only generator whose stream is frozen.
    order = np.random.RandomState(check_seed("seed", seed)).permutation(available)
    ends = np.cumsum(sizes)
    parts = [order[end - size : end] for size, end in zip(sizes, ends)]
    return tuple(take(data, part) for part in parts)


def check_disjoint(parts: Mapping[str, Data]) -> None:
    """Check that parts of a dataset are disjoint. Results on a part that shares examples with others would be biased.

    Args:
      parts: name -> data. Two examples are the same if all their inputs are equal, regardless of their targets. Traced
        data is not checked.

    Raises:
      TypeError: a part is not a `Data`.
      ValueError: two parts have an example in common.
    """
    for name, part in parts.items():
        check_is_data(name, part)
    rows = {name: _rows(part) for name, part in parts.items() if is_known(part.inputs)}
    for (first, ours), (second, theirs) in itertools.combinations(rows.items(), 2):
        common = sum(map(set(ours).__contains__, theirs))
        if common:
            raise ValueError(
                f"{first} and {second} must be disjoint; {common} of the {counted(len(theirs), 'example')} of {second} "
                f"{'is' if common == 1 else 'are'} in {first} too. Split the data with ml.data.split, after removing "
                "repeated examples."
            )


def _rows(data) -> list[bytes]:
    """Return the bytes of the inputs of every example as float64, with −0 replaced by 0."""
    first = examples_first(data)
    arrays = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(data.inputs)]
    flat = [(array if first else array.T).reshape(count_examples(data), -1) for array in arrays]
    return [row.tobytes() for row in np.ascontiguousarray(np.concatenate(flat, axis=1)) + 0.0]


def digits(*, centre: bool = False) -> Data:
    """Load 1797 handwritten digits of 8×8 pixels: inputs `[64, 1797]` = pixels / 16 in [0, 1], labels 0 … 9.

    Args:
      centre: whether to subtract from every pixel its mean over all images.

    Raises:
      ImportError: scikit-learn is not installed.

    References:
      Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    inputs, labels = _load("digits")
    inputs = inputs / 16
    return _data(inputs - inputs.mean(axis=0) if centre else inputs, labels)


def breast_cancer() -> Data:
    """Load 569 tumours described by 30 measurements, which are standardised to mean 0 and variance 1.

    Labels are 0 (malignant) and 1 (benign).

    Raises:
      ImportError: scikit-learn is not installed.

    References:
      Wolberg, Mangasarian, Street & Street, Breast Cancer Wisconsin (Diagnostic), UCI, 1995.
    """
    inputs, labels = _load("breast_cancer")
    return _data((inputs - inputs.mean(axis=0)) / inputs.std(axis=0), labels)


def wine() -> Data:
    """Load 178 wines described by 13 measurements, which are standardised to mean 0 and variance 1.

    Labels are 0 … 2, the cultivar.

    Raises:
      ImportError: scikit-learn is not installed.

    References:
      Aeberhard & Forina, Wine, UCI, 1991.
    """
    inputs, labels = _load("wine")
    return _data((inputs - inputs.mean(axis=0)) / inputs.std(axis=0), labels)


def _load(name: str):
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ImportError(
            f"The {name} data needs scikit-learn; install metalearn[data]: pip install 'metalearn[data]'."
        ) from error
    loaded = getattr(datasets, f"load_{name}")()
    return np.asarray(loaded.data), np.asarray(loaded.target)


def _data(inputs: np.ndarray, labels: np.ndarray) -> Data:
    """Make a `Data` of rows of examples, with inputs in JAX's default float type and 32-bit labels."""
    return Data(jnp.asarray(inputs.T, jnp.result_type(float)), jnp.asarray(labels, jnp.int32))
