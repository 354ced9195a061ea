"""Containers of examples: features first, examples first, or in files that stay on disk."""

import weakref
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.brief import brief_help
from metalearn.inner.checks import is_known


@brief_help
class Data(NamedTuple):
    """Examples: inputs and the targets to predict.

    Attributes:
      inputs: `[features, examples]`, floating point. With an array of more axes, such as images `[examples, height,
        width, channels]`, or a pytree of arrays, the data are read as `Examples`.
      targets: `[outputs, examples]`, floating point, for regression; `[examples]`, integer labels from 0, for
        classification.
    """

    inputs: Any
    targets: Any


@brief_help
class Examples(NamedTuple):
    """Examples of any shape: the first axis of every array counts the examples.

    Networks are given minibatches in this layout, and return outputs whose first axis counts the examples: logits
    `[examples, ..., classes]` for labels `[examples, ...]`, or the shape of the targets for a regression.

    Attributes:
      inputs: an array `[examples, ...]` of any dtype, such as images `[examples, height, width, channels]` or integers
        `[examples, length]`, or a pytree of such arrays.
      targets: `[examples, ...]`: integer labels from 0 for a classification, floating point for a regression.
    """

    inputs: Any
    targets: Any


@brief_help
class MemoryMapped(NamedTuple):
    """Examples that stay on disk, made by `memory_mapped`.

    Attributes:
      inputs, targets: as in `Examples`, NumPy arrays.
    """

    inputs: Any
    targets: Any


AnyData = Data | Examples | MemoryMapped


def memory_mapped(inputs: Any, targets: Any) -> MemoryMapped:
    """Return examples that are read from arrays of the host in minibatches, such as files larger than the memory.

    A program draws the indices of a minibatch and calls the host for these rows with `jax.pure_callback`. Other rows
    are not copied, and the arrays are not stored in the program. Every step calls the host, which is slower than
    reading an array in the memory of the device. If a step is mapped over particles, one call reads the rows of all.
    The files must not change while programs use them.

        images = numpy.load("images.npy", mmap_mode="r")
        data = ml.data.memory_mapped(images, numpy.load("labels.npy"))

    Args:
      inputs, targets: as in `Examples`, NumPy arrays such as `numpy.memmap`.

    Raises:
      TypeError: an array is not a NumPy array of numbers.
      ValueError: the arrays have different numbers of examples, or none.
    """
    for leaf in jax.tree.leaves((inputs, targets)):
        if not isinstance(leaf, np.ndarray):
            raise TypeError(
                "memory_mapped takes NumPy arrays, such as numpy.load(file, mmap_mode='r'); a "
                f"{type(leaf).__name__} was given. Give arrays in memory as ml.data.Examples(inputs, targets)."
            )
        if leaf.dtype != jax.dtypes.canonicalize_dtype(leaf.dtype):
            raise TypeError(
                f"JAX does not use the dtype {leaf.dtype} with its present settings, and reads it as "
                f"{jax.dtypes.canonicalize_dtype(leaf.dtype)}. Write the files in that dtype, or enable jax_enable_x64."
            )
    data = MemoryMapped(inputs, targets)
    check_is_data("memory_mapped", data)
    check_equal_counts("memory_mapped", data)
    return data


def examples_first(data: Any) -> bool:
    """Return whether the first axis of the arrays counts the examples; otherwise the last one does."""
    if isinstance(data, Examples | MemoryMapped):
        return True
    return not _is_array(data.inputs) or data.inputs.ndim > 2


def count_examples(data: Any) -> int:
    """Return the number of examples."""
    axis = 0 if examples_first(data) else -1
    return jax.tree.leaves(data.inputs)[0].shape[axis]


def take(data: Any, indices: np.ndarray) -> Any:
    """Return the data with the given examples only. NumPy takes them, because JAX would compile several programs."""
    if examples_first(data):
        return jax.tree.map(lambda leaf: _taken(leaf, indices), data)
    return Data(*(_taken(leaf, (..., indices)) for leaf in (data.inputs, data.targets)))


def _taken(array, place):
    read = isinstance(array, jax.Array) and is_known(array)
    return jax.device_put(np.asarray(array)[place]) if read else array[place]


def to_shapes(tree: Any) -> Any:
    """Return the shapes and dtypes of arrays, as JAX reads them."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.result_type(leaf)), tree)


def gather_from(data, others):
    """Return the function from indices to these examples of the data, and of other arrays of the same length."""
    at = lambda array, indices: array.at[indices].get(mode="promise_in_bounds")
    if isinstance(data, MemoryMapped):
        arrays = data.inputs, data.targets
        rows = lambda indices: jax.tree.map(lambda array: np.take(array, np.asarray(indices), axis=0), arrays)

        def fetch(indices):
            shape = lambda leaf: jax.ShapeDtypeStruct((*indices.shape, *leaf.shape[1:]), leaf.dtype)
            found = jax.pure_callback(rows, jax.tree.map(shape, arrays), indices, vmap_method="expand_dims")
            return *found, *(at(every, indices) for every in others)

        return fetch
    if examples_first(data):
        arrays = jax.tree.map(jnp.asarray, (data.inputs, data.targets, *others))
        return lambda indices: jax.tree.map(lambda array: at(array, indices), arrays)
    # Gathering rows and transposing them is several times faster than gathering columns.
    inputs, others = _rows(data.inputs), (jnp.asarray(data.targets), *others)
    last = lambda indices: tuple(every.at[..., indices].get(mode="promise_in_bounds") for every in others)
    return lambda indices: (at(inputs, indices).T, *last(indices))


_transposed: dict[int, tuple[weakref.ref, jax.Array]] = {}


def _rows(inputs) -> jax.Array:
    """Return the transpose. It is computed once for each array, also if the task is a function of θ."""
    if not is_known(inputs):
        return inputs.T
    place = id(inputs)
    if place in _transposed and _transposed[place][0]() is inputs:
        return _transposed[place][1]
    with jax.ensure_compile_time_eval():
        rows = jnp.asarray(inputs).T
    if isinstance(inputs, jax.Array):  # others may be changed in place
        _transposed[place] = weakref.ref(inputs, lambda _: _transposed.pop(place, None)), rows
    return rows


def check_equal_counts(name: str, data: Any) -> None:
    """Check that the first axes of data whose examples come first are equal.

    Raises:
      ValueError: they differ, or an array has no axis.
    """
    found = {leaf.shape[:1] for leaf in jax.tree.leaves((data.inputs, data.targets))}
    if len(found) != 1 or found == {()}:
        shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(data.inputs))
        raise ValueError(
            f"{name} must have arrays whose first axis counts the examples; inputs of shape {shapes} and targets of "
            f"shape {data.targets.shape} were given."
        )


def check_is_data(name: str, data) -> None:
    """Check that a value is a `Data`, `Examples` or `MemoryMapped` of numeric arrays with at least one example.

    Raises:
      TypeError: `data` has no inputs and targets, or they are not arrays of numbers.
      ValueError: there is no example.
    """
    if not (hasattr(data, "inputs") and hasattr(data, "targets")):
        raise TypeError(f"{name} must be an ml.data.Data(inputs, targets); a {type(data).__name__} was given.")
    for field in ("inputs", "targets"):
        values = getattr(data, field)
        leaves = jax.tree.leaves(values) if field == "inputs" else [values]
        if not leaves or not all(map(_is_array, leaves)):
            raise TypeError(
                f"{name} must have arrays; its {field} are a {type(values).__name__}. Convert them with jnp.asarray."
            )
        for leaf in leaves:
            if leaf.dtype.kind in "OSUMm":
                raise TypeError(f"{name} must have numbers; the dtype of its {field} is {leaf.dtype}.")
            if 0 in leaf.shape:
                raise ValueError(f"{name} must have at least one example; its {field} have the shape {leaf.shape}.")


def _is_array(value) -> bool:
    return isinstance(value, np.ndarray | jax.Array)
