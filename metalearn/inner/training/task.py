"""Tasks: initial parameters, and a loss that draws its minibatch from a key."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.inner.checks import check_choice, check_number, scalar
from metalearn.inner.training.examples import AnyData, check_is_data, examples_first
from metalearn.inner.training.metrics import cross_entropy, error_rate, mean_squared_error
from metalearn.inner.training.minibatch_indices import Shuffled, first_position
from metalearn.inner.training.minibatches import Augment, batches, check_data, check_examples
from metalearn.inner.training.networks import Network, forward
from metalearn.types import Key, Params, Scalar

Metric = Callable[[jax.Array, jax.Array], Scalar]  # (outputs [outputs, examples], targets) -> scalar


@brief_help
class Task(NamedTuple):
    """A training task.

    Attributes:
      init: `key -> params`.
      loss: `(params, key) -> scalar`; the key determines everything random, such as the minibatch and the dropout mask.
      init_state: None, or `key -> state`, called with the key of `init`; any pytree that steps change without a
        gradient, such as running averages. `loss` is then `(params, key, state) -> (scalar, state)`.
    """

    init: Callable[[Key], Params]
    loss: Callable[..., Any]
    init_state: Callable[[Key], Any] | None = None


def task_loss(task: Task, params: Params, key: Key, state: Any) -> tuple[Scalar, Any]:
    """Return `(loss, state)` of a task; the state is None if the task has none.

    Raises:
      TypeError: the loss of a task with a state does not return `(loss, state)`.
    """
    if task.init_state is None:
        return scalar("The loss of the task", task.loss(params, key)), None
    found = task.loss(params, key, state)
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(
            "A task with init_state must return (loss, state) from loss(params, key, state); it returned a "
            f"{type(found).__name__}."
        )
    return scalar("The loss of the task", found[0]), found[1]


METRICS: dict[str, Any] = {
    "cross_entropy": cross_entropy,
    "error_rate": error_rate,
    "mean_squared_error": mean_squared_error,
}


def classification(
    network: Network,
    data: AnyData,
    batch_size: int | None = None,
    *,
    label_smoothing=0.0,
    weight_decay=0.0,
    normalise: bool = False,
    metric: str | Metric = "cross_entropy",
    example_weights: Any = None,
    num_examples: Any = None,
    augment: Augment | None = None,
    sampling: str = "replacement",
) -> Task:
    """Return a classification task with loss = metric(outputs, labels) + (weight_decay / 2) ‖params‖².

    The key of the loss is split once. The first half draws the minibatch and the augmentation, the second half the
    dropout mask. All numbers except `batch_size` may be traced, so that a task can be a function of θ.

    Args:
      network: the network, whose outputs are logits `[classes, examples]`.
      data: inputs `[features, examples]` and labels `[examples]`; or `ml.data.Examples` of any shape, such as images,
        for a network with outputs `[examples, ..., classes]`; or `ml.data.memory_mapped` files.
      batch_size: the number of examples in a minibatch; None uses all examples.
      label_smoothing: s in [0, 1], for the cross-entropy.
      weight_decay: the factor of ½‖params‖² over all parameters, biases included.
      normalise: whether to divide the cross-entropy by log(classes), so that a network with equal outputs has the
        loss 1.
      metric: "cross_entropy", "error_rate" or a function `(outputs, labels) -> scalar`, which is given outputs in the
        layout of the data.
      example_weights: `[examples]`, for the cross-entropy. The loss of an example is multiplied by its weight and
        averaged over the minibatch, without division by the sum of the weights.
      num_examples: draw minibatches from the first `num_examples` examples only, for instance from a number that
        `ml.task_distribution` draws for every episode. A traced number is clipped to 1 … examples. The default is all
        examples.
      augment: `(inputs, key) -> inputs` of a minibatch, such as `ml.data.gaussian_noise(strength)`.
      sampling: "replacement" draws the examples of a minibatch independently. "epochs" draws shuffled epochs: every
        example once in each epoch, in an order that the start of the episode determines. The order is computed and not
        stored; the state of a particle contains four integers. Truncation's `shared_minibatches` does not share it.

    Raises:
      TypeError: `network` is not a `Network`, `data` is not a `Data`, labels are not integers, or an argument has the
        wrong type.
      ValueError: shapes do not fit, a label is not among the classes, `metric` is unknown or does not allow another
        argument, or a number is out of range.
    """
    check_number("label_smoothing", label_smoothing, 0, 1)
    check_number("weight_decay", weight_decay, 0)
    check_data(network, data, metric, classes=True)
    check_examples(data, batch_size, example_weights, num_examples, augment, sampling)
    plain = isinstance(label_smoothing, (int, float)) and label_smoothing == 0 and example_weights is None
    if metric != "cross_entropy" and not plain:
        raise ValueError(
            "label_smoothing and example_weights belong to the metric cross_entropy; omit them for any other metric."
        )
    smoothed = metric
    if metric == "cross_entropy":
        smoothed = lambda outputs, labels, *weights: cross_entropy(outputs, labels, label_smoothing, *weights)
    measure = _metric(smoothed, normalise, metric, examples_first(data))
    draw = batches(data, batch_size, example_weights, num_examples, sampling == "epochs")
    return _task(network, draw, measure, weight_decay, sampling, examples_first(data), augment)


def regression(
    network: Network,
    data: AnyData,
    batch_size: int | None = None,
    *,
    weight_decay=0.0,
    metric: str | Metric = "mean_squared_error",
    sampling: str = "replacement",
) -> Task:
    """Return a regression task with loss = metric(outputs, targets) + (weight_decay / 2) ‖params‖².

    Args:
      network: the network, whose outputs have the shape of the targets.
      data: inputs `[features, examples]` and targets `[..., examples]`; or `ml.data.Examples` of any shape; or
        `ml.data.memory_mapped` files.
      batch_size: the number of examples in a minibatch; None uses all examples.
      weight_decay: the factor of ½‖params‖² over all parameters, biases included; may be traced.
      metric: "mean_squared_error" or a function `(outputs, targets) -> scalar`.
      sampling: "replacement" or "epochs", as in `classification`.

    Raises:
      TypeError: `network` is not a `Network`, `data` is not a `Data`, targets are not floating point, or an argument
        has the wrong type.
      ValueError: shapes do not fit, `metric` is unknown, or a number is out of range.
    """
    check_number("weight_decay", weight_decay, 0)
    check_data(network, data, metric, classes=False)
    check_examples(data, batch_size, None, None, None, sampling)
    draw = batches(data, batch_size, epochs=sampling == "epochs")
    return _task(network, draw, _metric(metric, False, metric), weight_decay, sampling, examples_first(data))


def metric_loss(
    network: Network,
    data: AnyData,
    batch_size: int | None = None,
    *,
    metric: str | Metric = "cross_entropy",
    normalise: bool = False,
) -> Callable[..., Scalar]:
    """Return a metric of the deterministic network (no dropout) on data, for `training(..., meta_loss=...)`.

    Args:
      network: the network that is trained.
      data: the data for the metric, such as validation data.
      batch_size: the number of examples in a minibatch, drawn with replacement; None uses all examples.
      metric: "cross_entropy", "error_rate", "mean_squared_error" or a function `(outputs, targets) -> scalar`.
      normalise: whether to divide the cross-entropy by log(classes).

    Returns:
      `(params, key) -> scalar`; for a network with a state `(params, key, state) -> scalar`.

    Raises:
      TypeError: `network` is not a `Network`, `data` is not a `Data`, or the targets have the wrong type for the
        metric.
      ValueError: shapes do not fit, a label is not among the classes, `metric` is unknown, or `normalise` is True for
        another metric than the cross-entropy.
    """
    if not callable(metric):
        check_choice("metric", metric, METRICS)
    check_is_data("data", data)
    integer = jnp.issubdtype(jnp.result_type(data.targets), jnp.integer)
    check_data(network, data, metric, classes=integer if callable(metric) else metric != "mean_squared_error")
    rows = examples_first(data)
    measure, draw = _metric(metric, normalise, metric, rows), batches(data, batch_size)

    def evaluate(params, key, state=None):
        (inputs, targets), _ = draw(jax.random.split(key)[0])
        return measure(forward(network, params, inputs, None, state, rows)[0], targets)

    return evaluate


def _task(network, draw, measure, weight_decay, sampling, rows, augment=None):
    def measured(params, key, position=None, state=None):
        batch, dropout = jax.random.split(key)
        (inputs, targets, *chosen), position = draw(batch, position)
        inputs = inputs if augment is None else augment(inputs, jax.random.fold_in(batch, 1))
        outputs, state = forward(network, params, inputs, dropout, state, rows)
        value = trees.wide(measure(outputs, targets, *chosen))
        if isinstance(weight_decay, (int, float)) and weight_decay == 0:
            return value, position, state
        squares = [jnp.sum(leaf.astype(value.dtype) ** 2) for leaf in jax.tree.leaves(params)]
        return value + weight_decay / 2 * sum(squares), position, state

    if sampling == "epochs":
        return _shuffled(network, measured)
    if network.init_state is None:
        return Task(network.init, lambda params, key: measured(params, key)[0])
    return Task(network.init, lambda params, key, state: measured(params, key, None, state)[::2], network.init_state)


def _shuffled(network, measured):
    """Return a task whose state contains the position in its epochs and the state of the network."""

    def init_state(key):
        return Shuffled(first_position(key), None if network.init_state is None else network.init_state(key))

    def loss(params, key, state):
        value, *after = measured(params, key, *state)
        return value, Shuffled(*after)

    return Task(network.init, loss, init_state)


def _metric(metric, normalise, name, rows=False):
    if normalise and name != "cross_entropy":
        raise ValueError("normalise divides the cross-entropy by log(classes); leave it False for any other metric.")
    function = METRICS[metric] if isinstance(metric, str) else lambda *given: scalar("The metric", metric(*given))
    if rows and name in ("cross_entropy", "error_rate"):
        by_columns = function
        function = lambda outputs, *targets: by_columns(jnp.moveaxis(outputs, -1, 0), *targets)
    if not normalise:
        return function
    return lambda outputs, *targets: function(outputs, *targets) / math.log(outputs.shape[-1 if rows else 0])
