"""Tasks: initial parameters, and a loss that draws its minibatch from a key."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.inner.checks import check_choice, check_number, scalar
from metalearn.inner.training.datasets import Data, check_is_data
from metalearn.inner.training.metrics import cross_entropy, error_rate, mean_squared_error
from metalearn.inner.training.minibatches import Augment, batches, check_data, check_examples
from metalearn.inner.training.networks import Network, forward
from metalearn.types import Key, Params, Scalar

Metric = Callable[[jax.Array, jax.Array], Scalar]  # (outputs [outputs, examples], targets) -> scalar


class Task(NamedTuple):
    """A training task.

    Attributes:
      init: `key -> params`.
      loss: `(params, key) -> scalar`; the key draws the minibatch, the dropout mask, whatever is random.
      init_state: None, or `key -> state`, given the key of `init`: any pytree that steps change without a gradient, such
        as running averages. `loss` is then `(params, key, state) -> (scalar, state)`.
    """

    init: Callable[[Key], Params]
    loss: Callable[..., Any]
    init_state: Callable[[Key], Any] | None = None


def task_loss(task: Task, params: Params, key: Key, state: Any) -> tuple[Scalar, Any]:
    """`(loss, state)` of a task; the state is None for a task without.

    Raises:
      TypeError: the loss returns something else.
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
    data: Data,
    batch_size: int | None = None,
    *,
    label_smoothing=0.0,
    weight_decay=0.0,
    normalise: bool = False,
    metric: str | Metric = "cross_entropy",
    example_weights: Any = None,
    num_examples: Any = None,
    augment: Augment | None = None,
) -> Task:
    """Return a classification task with loss = metric(outputs, labels) + (weight_decay / 2) ‖params‖².

    The key of the loss is split once. The first half draws the minibatch (uniformly, with replacement) and the
    augmentation, the second half the dropout mask. All numbers except `batch_size` may be traced, so that a task can be
    a function of θ.

    Args:
      network: the network, whose outputs are logits `[classes, examples]`.
      data: inputs `[features, examples]` and labels `[examples]`.
      batch_size: the number of examples in a minibatch; None uses all examples.
      label_smoothing: s in [0, 1], for the cross-entropy.
      weight_decay: the factor of ½‖params‖² over all parameters, biases included.
      normalise: whether to divide the cross-entropy by log(classes), so that a network with equal outputs has the
        loss 1.
      metric: "cross_entropy", "error_rate" or a function `(outputs, labels) -> scalar`.
      example_weights: `[examples]`, for the cross-entropy. The loss of an example is multiplied by its weight and
        averaged over the minibatch, without division by the sum of the weights.
      num_examples: draw minibatches from the first `num_examples` examples only, for instance from a number that
        `ml.task_distribution` draws for every episode. A traced number is clipped to 1 … examples. The default is all
        examples.
      augment: `(inputs, key) -> inputs` of a minibatch, such as `ml.data.gaussian_noise(strength)`.

    Raises:
      TypeError: `network` is not a `Network`, `data` is not a `Data`, labels are not integers, or an argument has the
        wrong type.
      ValueError: shapes do not fit, a label is not among the classes, `metric` is unknown or does not allow another
        argument, or a number is out of range.
    """
    check_number("label_smoothing", label_smoothing, 0, 1)
    check_number("weight_decay", weight_decay, 0)
    check_data(network, data, metric, classes=True)
    check_examples(data, batch_size, example_weights, num_examples, augment)
    plain = isinstance(label_smoothing, (int, float)) and label_smoothing == 0 and example_weights is None
    if metric != "cross_entropy" and not plain:
        raise ValueError(
            "label_smoothing and example_weights belong to the metric cross_entropy; omit them for any other metric."
        )
    smoothed = metric
    if metric == "cross_entropy":
        smoothed = lambda outputs, labels, *weights: cross_entropy(outputs, labels, label_smoothing, *weights)
    measure = _metric(smoothed, normalise, metric)
    return _task(network, data, batch_size, measure, weight_decay, example_weights, num_examples, augment)


def regression(
    network: Network,
    data: Data,
    batch_size: int | None = None,
    *,
    weight_decay=0.0,
    metric: str | Metric = "mean_squared_error",
) -> Task:
    """Return a regression task with loss = metric(outputs, targets) + (weight_decay / 2) ‖params‖².

    Args:
      network: the network, whose outputs are `[outputs, examples]`.
      data: inputs `[features, examples]` and targets `[outputs, examples]`.
      batch_size: the number of examples in a minibatch, drawn as in `classification`; None uses all examples.
      weight_decay: the factor of ½‖params‖² over all parameters, biases included; may be traced.
      metric: "mean_squared_error" or a function `(outputs, targets) -> scalar`.

    Raises:
      TypeError: `network` is not a `Network`, `data` is not a `Data`, targets are not floating point, or an argument
        has the wrong type.
      ValueError: shapes do not fit, `metric` is unknown, or a number is out of range.
    """
    check_number("weight_decay", weight_decay, 0)
    check_data(network, data, metric, classes=False)
    return _task(network, data, batch_size, _metric(metric, False, metric), weight_decay)


def metric_loss(
    network: Network,
    data: Data,
    batch_size: int | None = None,
    *,
    metric: str | Metric = "cross_entropy",
    normalise: bool = False,
) -> Callable[..., Scalar]:
    """A metric of the deterministic network (no dropout) on data, fit for `training(..., meta_loss=...)`.

    Args:
      network: the network that is trained.
      data: the data for the metric, such as validation data.
      batch_size: the number of examples in a minibatch, drawn as in `classification`; None uses all examples.
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
    measure, draw = _metric(metric, normalise, metric), batches(data, batch_size)

    def evaluate(params, key, state=None):
        inputs, targets = draw(jax.random.split(key)[0])
        return measure(forward(network, params, inputs, None, state)[0], targets)

    return evaluate


def _task(network, data, batch_size, measure, weight_decay, weights=None, num_examples=None, augment=None):
    draw = batches(data, batch_size, weights, num_examples)

    def measured(params, key, state=None):
        batch, dropout = jax.random.split(key)
        inputs, targets, *chosen = draw(batch)
        inputs = inputs if augment is None else augment(inputs, jax.random.fold_in(batch, 1))
        outputs, state = forward(network, params, inputs, dropout, state)
        value = trees.wide(measure(outputs, targets, *chosen))
        if isinstance(weight_decay, (int, float)) and weight_decay == 0:
            return value, state
        squares = [jnp.sum(leaf.astype(value.dtype) ** 2) for leaf in jax.tree.leaves(params)]
        return value + weight_decay / 2 * sum(squares), state

    loss = measured if network.init_state is not None else lambda params, key: measured(params, key)[0]
    return Task(network.init, loss, network.init_state)


def _metric(metric, normalise, name):
    if normalise and name != "cross_entropy":
        raise ValueError("normalise divides the cross-entropy by log(classes); leave it False for any other metric.")
    function = METRICS[metric] if isinstance(metric, str) else lambda *given: scalar("The metric", metric(*given))
    if not normalise:
        return function
    return lambda outputs, *targets: function(outputs, *targets) / math.log(outputs.shape[0])
