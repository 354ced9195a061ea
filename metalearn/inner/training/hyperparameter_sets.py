"""Ready-made sets of hyperparameters, from the learning rate of every tensor to label smoothing and dropout."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.brief import brief_help
from metalearn.inner.checks import check_count, check_number, check_seed
from metalearn.inner.learned import LearnedOptimizer
from metalearn.inner.training.benchmark import Benchmark
from metalearn.inner.training.networks import Network, mlp
from metalearn.inner.training.optimizers import Optimizer, adamw, per_layer
from metalearn.inner.training.schedules import linear_schedule
from metalearn.inner.training.task import Task
from metalearn.inner.training.transforms import exp, sigmoid
from metalearn.types import Theta

# Upper bounds below 1, also after rounding to float32, because Adam divides by zero if b2 = 1.
B1_LIMIT, B2_LIMIT = 1 - float(np.exp(-5)), 1 - float(np.exp(-9))
MOST_SMOOTHING, MOST_DROPOUT = 0.5, 0.9


@brief_help
class Tuning(NamedTuple):
    """Hyperparameters of a training run as functions of one θ.

    Attributes:
      theta: the initial θ, a dictionary of unconstrained numbers such as logarithms and logits.
      optimizer: θ -> optax transformation.
      task: θ -> Task; None if θ sets only the optimiser.
      learned: the learned optimiser whose weights are θ; None for other optimisers.
      box: (low, high), two values of θ between which `ml.search.random_search` draws, a range that a practitioner would
        try; None for weights of learned optimisers.
    """

    theta: Theta
    optimizer: Optimizer
    task: Callable[[Theta], Task] | None = None
    learned: LearnedOptimizer | None = None
    box: tuple[Theta, Theta] | None = None

    def at(self, theta: Theta) -> tuple[optax.GradientTransformation, Task | None]:
        """Return the optax transformation and the task (or None) at θ, for `ml.evaluate` and ordinary training."""
        return self.optimizer(theta), None if self.task is None else self.task(theta)


def per_tensor_adam(
    network: Network, num_steps: int, *, learning_rate: float = 1e-3, weight_decay: float = 1e-4, eps: float = 1e-8
) -> Tuning:
    """Return the hyperparameters of AdamW for every tensor and layer.

    Every tensor has a learning rate that changes linearly from exp(θ_start) to exp(θ_end) over T steps. Every layer
    (the first key of the parameters) has b1 and b2, which are logistic functions of θ with the upper bounds 1 − e⁻⁵ and
    1 − e⁻⁹, and the logarithm of a weight decay. The logarithm of ε is shared. θ has 2 numbers per tensor, 3 per layer,
    and 1 for ε.

    Args:
      network: the network to train, whose parameters are a dictionary of layers.
      num_steps: T, the number of inner steps of a training run.
      learning_rate, weight_decay, eps: the initial values; b1 starts at 0.9 and b2 at 0.999.

    Raises:
      TypeError: `num_steps` is not a whole number, or another number is not real.
      ValueError: `num_steps` is below 1, or `learning_rate`, `weight_decay` or `eps` is not positive.
    """
    check_count("num_steps", num_steps)
    for name, number in (("learning_rate", learning_rate), ("weight_decay", weight_decay), ("eps", eps)):
        check_number(name, number, 0, open_low=True)
    params = jax.eval_shape(network.init, jax.random.key(0))
    labels = jax.tree_util.tree_map_with_path(lambda path, _: _label(path), params)
    tensors = jax.tree.leaves(labels)
    layers = sorted({_layer(tensor) for tensor in tensors})
    every = lambda names, number: {name: jnp.asarray(number, jnp.result_type(float)) for name in names}

    def theta(rate, b1, b2, weight_decay, eps):
        return {
            "log_rate_start": every(tensors, np.log(rate)),
            "log_rate_end": every(tensors, np.log(rate)),
            "b1": every(layers, _logit(b1, B1_LIMIT)),
            "b2": every(layers, _logit(b2, B2_LIMIT)),
            "log_weight_decay": every(layers, np.log(weight_decay)),
            "log_eps": jnp.asarray(np.log(eps), jnp.result_type(float)),
        }

    box = theta(1e-4, 0.5, 0.9, 1e-6, 1e-10), theta(0.3, 0.98, 0.9998, 1e-2, 1e-4)
    optimizers = {
        tensor: adamw(
            linear_schedule(exp(("log_rate_start", tensor)), exp(("log_rate_end", tensor)), num_steps),
            b1=sigmoid(("b1", _layer(tensor)), 0, B1_LIMIT),
            b2=sigmoid(("b2", _layer(tensor)), 0, B2_LIMIT),
            eps=exp("log_eps"),
            weight_decay=exp(("log_weight_decay", _layer(tensor))),
        )
        for tensor in tensors
    }
    start = theta(learning_rate, 0.9, 0.999, weight_decay, eps)
    return Tuning(start, per_layer(optimizers, lambda params: labels), box=box)


def all_hyperparameters(benchmark: Benchmark, *, learning_rate: float = 1e-3) -> Tuning:
    """Return all hyperparameters of training on a benchmark.

    These are the hyperparameters of `per_tensor_adam`, label smoothing (at most 0.5), and, for a network
    `mlp(widths, "relu")`, the dropout rates of the inputs and of every hidden layer (at most 0.9). Such a network with
    one hidden layer has 18 numbers. Other networks are trained as they are, without added dropout.

    Args:
      benchmark: a benchmark, whose network has a dictionary of layers as parameters.
      learning_rate: the initial learning rate.

    Raises:
      TypeError: `learning_rate` is not a real number.
      ValueError: `learning_rate` is not positive.
    """
    tuning = per_tensor_adam(benchmark.network, benchmark.num_steps, learning_rate=learning_rate)
    widths = _perceptron_widths(benchmark)

    def also(theta, share):
        drawn = jnp.asarray(_logit(share, 1), jnp.result_type(float))
        rates = {"dropout": jnp.full(len(widths) - 1, drawn)} if widths else {}
        return theta | {"label_smoothing": drawn} | rates

    def task(theta):
        smoothing = sigmoid("label_smoothing", 0, MOST_SMOOTHING)(theta)
        if not widths:
            return benchmark.task(label_smoothing=smoothing)
        rates = [sigmoid(("dropout", index), 0, MOST_DROPOUT)(theta) for index in range(len(widths) - 1)]
        network = mlp(widths, "relu", dropout=rates[1:], input_dropout=rates[0])
        return benchmark.task(network, smoothing)._replace(init=benchmark.network.init)

    box = tuning.box and (also(tuning.box[0], 0.001), also(tuning.box[1], 0.5))
    return Tuning(also(tuning.theta, 0.05), tuning.optimizer, task, box=box)


def _perceptron_widths(benchmark) -> tuple[int, ...]:
    """Return the widths of a network `mlp(widths, "relu")`; () for any other network."""
    try:
        shapes = jax.eval_shape(benchmark.network.init, jax.random.key(0))
        if "layer_0" not in shapes:
            return ()
        params = benchmark.network.init(jax.random.key(0))
        weights = [params[f"layer_{index}"]["weight"] for index in range(len(params))]
        widths = (weights[0].shape[1], *(weight.shape[0] for weight in weights))
        inputs = benchmark.train.inputs[:, :2]
        outputs = [network.apply(params, inputs, None) for network in (mlp(widths, "relu"), benchmark.network)]
        return widths if bool(jnp.allclose(*outputs, rtol=1e-5, atol=1e-6)) else ()
    except Exception:  # other networks may raise any error here
        return ()


def learned_tuning(benchmark: Benchmark, optimizer: LearnedOptimizer, seed: int = 0) -> Tuning:
    """Return a learned optimiser with random weights as θ.

    Args:
      benchmark: not used; it is an argument so that all sets of hyperparameters have the same signature.
      optimizer: the learned optimiser.
      seed: the seed of the weights.

    Raises:
      TypeError: `seed` is not a whole number.
      ValueError: `seed` is outside of 0 … 2³² − 1.
    """
    return Tuning(optimizer.init(jax.random.key(check_seed("seed", seed))), optimizer, learned=optimizer)


def _label(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _layer(tensor: str) -> str:
    return tensor.split("/")[0]


def _logit(value: float, limit: float) -> float:
    return float(np.log(value / (limit - value)))
