"""Training on digits with wrong labels, where the tuned loss is a proxy of the true objective."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.inner.checks import check_choice, check_count, check_number
from metalearn.inner.problem import InnerProblem
from metalearn.inner.training.datasets import digits
from metalearn.inner.training.metrics import cross_entropy, error_rate
from metalearn.inner.training.networks import mlp
from metalearn.types import Key, Scalar

TRAINING, VALIDATION, THIRD, CLEAN, CLEAN_ERROR = "training", "validation", "third", "clean", "clean_error"
OBSERVABLES = (TRAINING, VALIDATION, THIRD, CLEAN, CLEAN_ERROR)
CLASSES, AVAILABLE, THIRD_ROWS, CLEAN_ROWS, LARGEST_RATE = 10, 1797, 200, 500, 0.3


class NoisyTraining(NamedTuple):
    """The state of a training run.

    Attributes:
      params, trace: the parameters of the network, and the momentum.
      order: the examples of digits in the order of this episode: first the rows for training, and at the end those for
        validation, for deciding when to stop, and for measuring the goal.
      labels: the labels of the training rows; some of them are wrong.
    """

    params: Any
    trace: Any
    order: jax.Array
    labels: jax.Array


def noisy_labels(
    observable: str = TRAINING,
    *,
    rows: int = 200,
    validation_rows: int = 20,
    noise: float = 0.4,
    hidden: int = 32,
    decay: float = 0.0,
    input_noise: float = 0.0,
    parameter_noise: float = 0.0,
    gradient_noise: float = 0.0,
) -> InnerProblem:
    """Return the training of a network on digits with momentum SGD in full batches; a fraction of the labels is random.

        v ← 0.9 v + ∇_w (1/n) Σ_i e^{θ_i} ce_i(w),   w ← w − η (v + λ w)

    θ is a dictionary. `log_decay` is the logarithm of λ. `log_rate` is a number a with η = e^a / (1 + e^a / 0.3),
    so that η is close to e^a if it is small, and below 0.3. `log_weights` is optional. It holds the logarithm of
    the weight of every example, or of every group of examples if its length divides `rows`. An episode draws the
    examples, the wrong labels (uniform over the ten classes) and the initial parameters. With the same key, the rows of
    `third` and `clean` are the same for all `rows` and `validation_rows`, and a smaller number of rows is a part of a
    larger one.

    The observables evaluate the same network on different examples:

    | observable | cross-entropy on |
    |---|---|
    | `training` | the training rows with their wrong labels, unweighted |
    | `validation` | `validation_rows` other rows with right labels |
    | `third` | 200 other rows with right labels |
    | `clean` | 500 other rows with right labels |
    | `clean_error` | the same 500; the fraction of errors |

    Args:
      observable: the name of the loss of the problem.
      rows: n, the number of training examples.
      validation_rows: the number of examples of `validation`.
      noise: the fraction of the training examples that get a random label.
      hidden: the width of the hidden layer.
      decay: the factor of ½‖w‖², which is added to `training` and `validation` but not to the training loss itself.
      input_noise: the standard deviation of noise on the inputs of every training step, and of the readings `training`
        and `validation`.
      parameter_noise: the standard deviation of noise on the parameters, in the same steps and readings.
      gradient_noise: the standard deviation of noise on the gradient of every training step.

    Raises:
      ImportError: scikit-learn is missing.
      TypeError: a count is not a whole number, or another argument is not a real number.
      ValueError: `observable` is unknown, a count is below 1 or the counts exceed the 1797 digits, `noise` is not in
        [0, 1], or another number is negative.
    """
    check_choice("observable", observable, OBSERVABLES)
    _check_counts(rows, validation_rows, hidden)
    check_number("noise", noise, 0, 1)
    strengths = {"decay": decay, "input_noise": input_noise, "parameter_noise": parameter_noise}
    for name, value in (strengths | {"gradient_noise": gradient_noise}).items():
        check_number(name, value, 0)
    data, network = digits(), mlp((64, hidden, CLASSES), "relu")
    disturb = _disturbed(network.apply, input_noise, parameter_noise)
    sizes = {TRAINING: rows, VALIDATION: validation_rows, THIRD: THIRD_ROWS, CLEAN: CLEAN_ROWS}
    third = AVAILABLE - CLEAN_ROWS - THIRD_ROWS  # both are the same rows for every number of other rows
    starts = {TRAINING: 0, VALIDATION: third - validation_rows, THIRD: third, CLEAN: third + THIRD_ROWS}

    def part(state, name):
        here = jax.lax.dynamic_slice_in_dim(state.order, starts[name], sizes[name])
        return data.inputs[:, here], state.labels if name == TRAINING else data.targets[here]

    def init(theta, key):
        drawing, flips, wrong, first = jax.random.split(key, 4)
        order = jax.random.permutation(drawing, AVAILABLE)
        flipped = jax.random.bernoulli(flips, noise, (rows,))
        labels = jnp.where(flipped, jax.random.randint(wrong, (rows,), 0, CLASSES), data.targets[order[:rows]])
        params = network.init(first)
        return NoisyTraining(params, jax.tree.map(jnp.zeros_like, params), order, labels.astype(jnp.int32))

    def step(state, theta, key):
        inputs, labels = part(state, TRAINING)
        weights = _example_weights(theta, rows)
        loss = lambda params: cross_entropy(disturb(params, inputs, key), labels, 0.0, weights)
        gradient = jax.grad(loss)(state.params)
        if gradient_noise:
            gradient = trees.add(gradient, trees.normal_like(jax.random.fold_in(key, 2), gradient, gradient_noise))
        trace = jax.tree.map(lambda old, new: 0.9 * old + new, state.trace, gradient)
        rate, shrink = bounded_rate(theta["log_rate"]), jnp.exp(theta["log_decay"])
        move = lambda value, velocity: value - rate * (velocity + shrink * value)
        return state._replace(params=jax.tree.map(move, state.params, trace), trace=trace)

    def loss(state, theta, key):
        name = CLEAN if observable == CLEAN_ERROR else observable
        inputs, labels = part(state, name)
        if observable in (THIRD, CLEAN, CLEAN_ERROR):
            outputs = network.apply(state.params, inputs, None)
            return (error_rate if observable == CLEAN_ERROR else cross_entropy)(outputs, labels)
        penalty = decay / 2 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(state.params)) if decay else 0.0
        return cross_entropy(disturb(state.params, inputs, key), labels) + penalty

    return InnerProblem(init, step, loss)


def _check_counts(rows: int, validation_rows: int, hidden: int) -> None:
    for name, count in (("rows", rows), ("validation_rows", validation_rows), ("hidden", hidden)):
        check_count(name, count)
    available = AVAILABLE - THIRD_ROWS - CLEAN_ROWS
    if rows + validation_rows > available:
        raise ValueError(
            f"rows and validation_rows must be at most {available} together, so that {THIRD_ROWS + CLEAN_ROWS} "
            f"digits remain for evaluation; {rows + validation_rows} were given."
        )


def bounded_rate(logarithm: Any) -> Any:
    """Return e^a / (1 + e^a / 0.3), a learning rate below 0.3, for the number a."""
    return LARGEST_RATE * jax.nn.sigmoid(logarithm - math.log(LARGEST_RATE))


def _example_weights(theta, rows) -> jax.Array | None:
    """Return the weight of every example, or None if θ has no weights.

    Raises:
      ValueError: their number does not divide the number of rows.
    """
    if "log_weights" not in theta:
        return None
    groups = jnp.shape(theta["log_weights"])
    if len(groups) != 1 or rows % groups[0]:
        raise ValueError(
            f"log_weights must be one array whose length divides the {rows} rows; its shape is {list(groups)}."
        )
    return jnp.repeat(jnp.exp(theta["log_weights"]), rows // groups[0])


def _disturbed(apply: Callable, inputs_by: float, params_by: float) -> Callable[[Any, jax.Array, Key], Scalar]:
    """Return the outputs of a network with noise on its inputs and parameters."""

    def outputs(params, inputs, key):
        if inputs_by:
            inputs = inputs + inputs_by * jax.random.normal(jax.random.fold_in(key, 0), inputs.shape, inputs.dtype)
        if params_by:
            params = trees.add(params, trees.normal_like(jax.random.fold_in(key, 1), params, params_by))
        return apply(params, inputs, None)

    return outputs
