"""Minibatches of examples of any shape, and checks of the data and arguments of a task."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_choice, check_count, check_number, is_known, summarize_error
from metalearn.inner.training.examples import (
    MemoryMapped,
    check_equal_counts,
    check_is_data,
    count_examples,
    examples_first,
    gather_from,
    to_shapes,
)
from metalearn.inner.training.minibatch_indices import draw_indices, next_indices
from metalearn.inner.training.networks import Network, forward
from metalearn.types import Key

_LINE = "Write it for minibatches whose first axis counts the examples; the networks of metalearn have features first."
_FLAX = "Wrap a Flax module that takes examples as rows with examples_first=True."
Augment = Callable[[Any, Key], Any]  # (inputs of a minibatch, key) -> inputs


def batches(data, batch_size, weights=None, num_examples=None, epochs=False):
    """Return a function that draws minibatches, or returns all examples if `batch_size` is None.

    The function is `(key, position) -> (examples, position)`. The examples are `(inputs, targets)`, or `(inputs,
    targets, weights)` if weights are given. With `epochs` the position determines the minibatch, otherwise the key
    does.
    """
    others = () if weights is None else (jnp.asarray(weights),)
    if batch_size is None:
        if isinstance(data, MemoryMapped):
            raise ValueError("Memory-mapped examples are read minibatch by minibatch; give a batch_size.")
        everything = jax.tree.map(jnp.asarray, (data.inputs, data.targets, *others))
        return lambda key, position=None: (everything, position)
    check_count("batch_size", batch_size)
    gather, available = gather_from(data, others), count_examples(data)
    count = jnp.asarray(available if num_examples is None else jnp.clip(num_examples, 1, available), jnp.uint32)

    def draw(key, position: Any = None):
        if epochs:
            indices, position = next_indices(position, batch_size, count)
        else:
            indices = draw_indices(key, batch_size, count)
        return gather(indices), position

    return draw


def gaussian_noise(strength) -> Augment:
    """Return an augmentation that adds noise a N(0, 1) to every input, for `classification(augment=...)`.

    Args:
      strength: a, the standard deviation of the noise; may be traced.

    Raises:
      TypeError: `strength` is not a real number.
      ValueError: `strength` is negative.
    """
    check_number("strength", strength, 0)
    return lambda inputs, key: (
        inputs + jnp.asarray(strength, inputs.dtype) * jax.random.normal(key, inputs.shape, inputs.dtype)
    )


def check_examples(data, batch_size, weights, num_examples, augment, sampling):
    """Check that weights, the number of examples, the augmentation and the sampling fit the data."""
    count = count_examples(data)
    check_choice("sampling", sampling, ("replacement", "epochs"))
    if sampling == "epochs" and batch_size is None:
        raise ValueError("sampling='epochs' draws minibatches; give a batch_size with it.")
    if weights is not None and data.targets.ndim != 1:
        raise ValueError("example_weights need one label per example; leave them out for labels of more axes.")
    if weights is not None and jnp.shape(weights) != (count,):
        raise ValueError(
            f"example_weights must have shape ({count},), one number per example; shape {jnp.shape(weights)} was given."
        )
    if num_examples is not None:
        if batch_size is None:
            raise ValueError(
                "num_examples limits the examples from which minibatches are drawn; give a batch_size with it."
            )
        whole = hasattr(num_examples, "__index__") or hasattr(num_examples, "dtype")
        if not whole or jnp.shape(num_examples) != () or not jnp.issubdtype(jnp.result_type(num_examples), jnp.integer):
            raise TypeError(f"num_examples must be one whole number; {num_examples!r} was given.")
        if is_known(num_examples):
            check_count("num_examples", num_examples)
            if num_examples > count:
                raise ValueError(
                    f"num_examples must be at most {count}, the number of examples; {num_examples} was given."
                )
    if augment is not None and not callable(augment):
        raise TypeError(f"augment must be a function (inputs, key) -> inputs; {augment!r} was given.")


def check_data(network, data, metric, *, classes):
    """Check that the metric is known and that the data fit the metric and the network."""
    if not callable(metric):
        check_choice("metric", metric, ("cross_entropy", "error_rate") if classes else ("mean_squared_error",))
    check_is_data("The data", data)
    _check_layout(data, classes)
    outputs = _outputs(network, data)
    _check_targets(data.targets, metric, classes)
    shape, first = jnp.shape(data.targets), examples_first(data)
    if not classes and outputs.shape != shape:
        raise ValueError(
            f"The network's outputs have shape {outputs.shape} and the targets {shape}; the shapes must be equal."
        )
    rest = outputs.shape[:-1] if first else outputs.shape[1:]
    if classes and (len(outputs.shape) != len(shape) + 1 or rest != shape):
        wanted = ", ".join(map(str, (*shape, "classes") if first else ("classes", *shape)))
        raise ValueError(f"The network must return [{wanted}] for these inputs; it returned {outputs.shape}.")
    if classes:
        _check_labels(data.targets, outputs.shape[-1 if first else 0])


def _check_targets(targets, metric, classes):
    """Check that labels are whole numbers and that targets are floating-point numbers."""
    dtype = jnp.result_type(targets)
    if jnp.issubdtype(dtype, jnp.integer if classes else jnp.floating):
        return
    named = f"the metric {metric!r}" if isinstance(metric, str) else "this metric"
    wanted = "integer labels" if classes else "floating-point targets"
    instead = (
        'targets of a regression need metric="mean_squared_error" or your own function (outputs, targets) -> scalar'
        if classes
        else 'integer labels need the metric "cross_entropy" or "error_rate"'
    )
    raise TypeError(f"The data must have {wanted} for {named}; dtype {dtype} was given. Convert them, or: {instead}.")


def _check_layout(data, classes):
    """Check that inputs and targets hold the same number of examples, in one of the layouts."""
    if examples_first(data):
        return check_equal_counts("The data", data)
    shapes = jnp.shape(data.inputs), jnp.shape(data.targets)
    if len(shapes[0]) != 2 or shapes[0][1:] != shapes[1][-1:] or (len(shapes[1]) == 1) is not classes:
        wanted = "labels [examples]" if classes else "targets [outputs, examples]"
        raise ValueError(
            f"The data must be inputs [features, examples] and {wanted}; "
            f"inputs of shape {shapes[0]} and targets of shape {shapes[1]} "
            f"were given. {_layout(shapes, classes)}"
        )


def _check_labels(labels, num_classes):
    """Check that labels are among the classes."""
    if not is_known(labels):
        return
    known = np.asarray(labels)
    low, high = int(known.min()), int(known.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"Labels must be integers from 0 to {num_classes - 1}, because the network has "
            f"{num_classes} outputs; labels from {low} to {high} were given."
        )


def _outputs(network, data):
    """Return the shape and dtype of the network's outputs for the inputs."""
    if not isinstance(network, Network):
        given = f"the class {network.__name__}" if isinstance(network, type) else f"a {type(network).__name__}"
        raise TypeError(
            f"network must be a Network, such as ml.mlp((64, 32, 10)); {given} was given. ml.from_linen and "
            "ml.from_nnx wrap Flax modules, and ml.Network(init, apply) wraps two functions."
        )
    key = jax.eval_shape(lambda: jax.random.key(0))
    inputs, first = to_shapes(data.inputs), examples_first(data)

    def run(key, inputs, mode):
        return forward(network, network.init(key), inputs, mode, _state_at(network, key), first)

    try:
        outputs, state = jax.eval_shape(lambda key, inputs: run(key, inputs, None), key, inputs)
    except ValueError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        shapes = ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(data.inputs))
        layout = "[examples, ...]" if first else "[features, examples]"
        raise ValueError(
            f"The network cannot take inputs of shape {shapes}, which is {layout} "
            f"({type(error).__name__}: {reason}). {_LINE if first else _FLAX}"
        ) from error
    if network.init_state is not None:
        _check_state(state, lambda: jax.eval_shape(lambda key, inputs: run(key, inputs, key), key, inputs)[1])
    return outputs


def _state_at(network, key):
    return None if network.init_state is None else network.init_state(key)


def _check_state(before, train) -> None:
    """Check that a network can be trained, and that training keeps the structure of its state."""
    try:
        after = train()
    except Exception as error:
        raise ValueError(
            f"The network fails in training, when it is given a key, but not in evaluation "
            f"({summarize_error(error)}). The key of a "
            'Flax module is its random stream "dropout".'
        ) from error
    if jax.tree.structure(before) != jax.tree.structure(after):
        old, new = (
            {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)}
            for state in (before, after)
        )
        raise ValueError(
            f"A forward pass in training changes the structure of the network's state: {', '.join(sorted(new - old)) or 'nothing'} "
            f"was added and {', '.join(sorted(old - new)) or 'nothing'} was removed. Create every variable "
            'when the network is initialised, in evaluation, and sow values into "intermediates", which are not kept.'
        )


def _layout(shapes, classes) -> str:
    """Return advice about data with other shapes."""
    if classes and len(shapes[1]) == 2 and 1 in shapes[1]:
        return "Labels are one integer per example; use targets.ravel()."
    if classes and len(shapes[1]) == 2 and shapes[0][1:] == shapes[1][1:]:
        return "Labels are one integer per example; convert one-hot columns with jnp.argmax(targets, axis=0)."
    return (
        "Examples are columns; transpose arrays whose examples are rows, or give ml.data.Examples(inputs, targets), "
        "whose first axis counts the examples."
    )
