"""Training runs with a fractal boundary of trainability: the network and the data of the published pictures.

The network has one hidden layer, as wide as the input, with mean-field scaling and without biases. It is trained by
full-batch gradient descent on the mean squared error, with one learning rate per layer. The data of the published
pictures came from a random number generator that JAX has replaced since, so they are stored with the package.
"""

import functools
import importlib.resources
from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_choice
from metalearn.inner.problem import InnerProblem
from metalearn.inner.training.networks import mlp
from metalearn.types import Params

Arrays = Mapping[str, np.ndarray]
Offset = Literal["none", "once", "drift"]


class MinibatchState(NamedTuple):
    """The parameters, and the number of steps taken, which determines the next minibatch."""

    params: Params
    clock: jax.Array


@functools.cache
def _stored() -> dict[str, np.ndarray]:
    with importlib.resources.files("metalearn.inner.problems").joinpath("two_layer_data.npz").open("rb") as file:
        return {
            name: values.astype(np.int32) if values.dtype.kind == "i" else values
            for name, values in np.load(file).items()
        }


def two_layer_data(num_examples: int = 272, num_steps: int = 1000) -> dict[str, np.ndarray]:
    """Return the data and initial weights of the published pictures, in float64.

    Args:
      num_examples: 272, 16 or 1. Each number has its own draw; a smaller one is not a part of a larger one.
      num_steps: 1000 or 500, the number of minibatches drawn. Each number has its own draw as well.

    Returns:
      `X` (N, 16), `Y` (N, 1), `W0` (16, 16), `W1` (16, 1), and `batch_indices` (num_steps, 16) into 272 examples.

    Raises:
      ValueError: `num_examples` or `num_steps` is another number.

    References:
      Sohl-Dickstein, The boundary of neural network trainability is fractal, 2024, arXiv 2402.06184. The numbers were
      drawn with the seeds of the paper's notebook, in float64, by JAX's random number generator of that time
      (jax_threefry_partitionable=False).
    """
    if num_examples not in (272, 16, 1) or num_steps not in (1000, 500):
        raise ValueError(
            "The stored data have 272, 16 or 1 examples and minibatches for 1000 or 500 steps; "
            f"num_examples = {num_examples} and num_steps = {num_steps} were given."
        )
    stored = _stored()
    names = {
        "X": f"X_{num_examples}",
        "Y": f"Y_{num_examples}",
        "W0": "W0",
        "W1": "W1",
        "batch_indices": f"batch_{num_steps}",
    }
    return {name: stored[key].copy() for name, key in names.items()}


def two_layer_training(
    data: Arrays,
    activation: str = "tanh",
    *,
    minibatches: bool = False,
    offset: Offset = "none",
) -> InnerProblem:
    """Return gradient descent on a network with one hidden layer, deterministic for given data.

        ŷ = (1/m) W1ᵀ act(√(g²/n) W0ᵀ x),  ℓ = mean (ŷ − y)²,  W_i ← W_i − η_i ∂ℓ/∂W_i

    with n inputs, m hidden units, and g² = 2, or 1 for the identity. The loss of a state is the loss over all examples,
    also with minibatches, which affect only the step.

    Args:
      data: `X` (N, n), `Y` (N, 1), `W0` (n, m), `W1` (m, 1), and with minibatches `batch_indices` (steps, size).
      activation: "tanh", "relu" or "identity".
      minibatches: whether step t uses only the examples `batch_indices[t]`. After the last row the first one follows.
      offset: the meaning of θ. With "none", θ = {"input_rate": η_0, "output_rate": η_1}. Otherwise θ = {"offset": c,
        "rate": η} with one rate for both layers, and c is added to every entry of W0: with "once" at the start, with
        "drift" at every step, before the loss and the gradient are computed, as in the published picture.

    Raises:
      ValueError: `activation` or `offset` is unknown, or an array is missing, not finite or of the wrong shape.
    """
    check_choice("activation", activation, ("tanh", "relu", "identity"))
    check_choice("offset", offset, ("none", "once", "drift"))
    arrays = check_data(data, minibatches)
    inputs, targets = arrays["X"].T, arrays["Y"].T
    weights = arrays["W0"].T, arrays["W1"].T
    network = mlp((inputs.shape[0], weights[0].shape[0], 1), activation, "mean_field", bias=False)

    def add(params, amount):
        first = params["layer_0"]["weight"]
        return params | {"layer_0": {"weight": first + jnp.asarray(amount, first.dtype)}}

    def drifted(params, theta):
        return add(params, theta["offset"]) if offset == "drift" else params

    def error(params, inputs, targets):
        return jnp.mean(
            jnp.square(network.apply(params, inputs) - jnp.asarray(targets, params["layer_0"]["weight"].dtype))
        )

    def init(theta, key):
        params = {
            f"layer_{index}": {"weight": jnp.asarray(w, jnp.result_type(float))} for index, w in enumerate(weights)
        }
        params = add(params, theta["offset"]) if offset == "once" else params
        return MinibatchState(params, jnp.zeros((), jnp.int32)) if minibatches else params

    def rates(theta):
        return (theta["input_rate"], theta["output_rate"]) if offset == "none" else (theta["rate"],) * 2

    def descend(params, theta, inputs, targets):
        params = drifted(params, theta)
        gradient = jax.grad(error)(params, inputs, targets)
        return {
            layer: {"weight": params[layer]["weight"] - rate * gradient[layer]["weight"]}
            for layer, rate in zip(params, rates(theta))
        }

    def step(state, theta, key):
        if not minibatches:
            return descend(state, theta, inputs, targets)
        chosen = jnp.asarray(arrays["batch_indices"])[state.clock % len(arrays["batch_indices"])]
        batch = jnp.asarray(inputs)[:, chosen], jnp.asarray(targets)[:, chosen]
        return MinibatchState(descend(state.params, theta, *batch), state.clock + 1)

    def loss(state, theta, key):
        return error(drifted(state.params if minibatches else state, theta), inputs, targets)

    return InnerProblem(init, step, loss)


def check_data(data: Arrays, minibatches: bool = False) -> dict[str, np.ndarray]:
    """Check the arrays of a dataset and return them as NumPy arrays.

    Raises:
      ValueError: an array is missing, not finite or of the wrong shape, or indices are out of range.
    """
    needed = ("X", "Y", "W0", "W1") + (("batch_indices",) if minibatches else ())
    missing = [name for name in needed if name not in data]
    if missing:
        raise ValueError(f"data must have the arrays {', '.join(needed)}; {', '.join(missing)} is missing.")
    arrays = {name: np.asarray(data[name], float) for name in needed[:4]}
    for name, values in arrays.items():
        if values.ndim != 2 or not values.size:
            raise ValueError(f"data[{name!r}] must be a matrix; shape {values.shape} was given.")
        if not np.all(np.isfinite(values)):
            raise ValueError(f"data[{name!r}] has entries that are not finite.")
    examples, width = arrays["X"].shape
    hidden = arrays["W0"].shape[1]
    expected = {"Y": (examples, 1), "W0": (width, hidden), "W1": (hidden, 1)}
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"data[{name!r}] must have shape {shape} to fit X {arrays['X'].shape} and W0 {arrays['W0'].shape}; "
                f"shape {arrays[name].shape} was given."
            )
    if minibatches:
        indices = np.asarray(data["batch_indices"])
        if indices.ndim != 2 or not indices.size or indices.dtype.kind not in "iu":
            raise ValueError("data['batch_indices'] must be an array of whole numbers of shape (steps, batch size).")
        if indices.min() < 0 or indices.max() >= examples:
            raise ValueError(f"data['batch_indices'] must be in 0 … {examples - 1}, the rows of X.")
        arrays["batch_indices"] = indices.astype(np.int32)
    return arrays
