"""Optimisers as functions of θ: every factory returns a function `theta -> optax.GradientTransformation`.

A hyperparameter is a number or a function of θ that returns a number. A learning rate may also be a function of θ that
returns an optax schedule (count -> value). θ is unconstrained, and transforms map it to the allowed range, as in
`adam(exp("learning_rate"), b1=sigmoid("b1", 0, 0.999))`. The structure of the optimiser's state never depends on θ.
Your own functions `theta -> optax.GradientTransformation` can be used as well. Hyperparameters and the state of the
optimiser are in float32 or wider, also for parameters and θ in bfloat16 or float16.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metalearn import trees
from metalearn.inner.checks import check_number
from metalearn.inner.training.float32_optimizers import widened
from metalearn.inner.training.hyperparameters import Hyperparameter, resolve
from metalearn.types import Theta

Optimizer = Callable[[Theta], optax.GradientTransformation]


def sgd(learning_rate: Hyperparameter, momentum: Hyperparameter | None = None, nesterov: bool = False) -> Optimizer:
    """Return gradient descent: m ← μ m + g, w ← w − η m, or w ← w − η (g + μ m) with Nesterov momentum.

    Args:
      learning_rate: η, a number, a function of θ that returns a number, or one that returns an optax schedule.
      momentum: μ, a number or a function of θ. None omits m from the state; this cannot depend on θ, because it changes
        the structure of the state.
      nesterov: whether to use Nesterov momentum.

    Raises:
      TypeError: a hyperparameter is neither a number nor a function of θ.
      ValueError: a number is out of range, or `nesterov` is True without a momentum.

    References:
      Sutskever, Martens, Dahl & Hinton, On the importance of initialization and momentum in deep learning, 2013.
    """
    _check("learning_rate", learning_rate, 0)
    if momentum is None and nesterov:
        raise ValueError(
            "nesterov needs a momentum, and momentum is None; give a momentum such as 0.9 or leave nesterov False."
        )
    if momentum is not None:
        _check("momentum", momentum, 0)

    def optimizer(theta):
        decay = None if momentum is None else _number("momentum", momentum, theta)
        return widened(optax.sgd(_schedule(learning_rate, theta), decay, nesterov))

    return optimizer


def adam(
    learning_rate: Hyperparameter,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-8,
    eps_root: Hyperparameter = 1e-12,
) -> Optimizer:
    """Return Adam: w ← w − η m̂ / (√(v̂ + ε_root) + ε), with m̂ and v̂ the bias-corrected means of g and g².

    With ε_root > 0, the derivative of the root is finite at a gradient of exactly zero, such as that of the weights of
    a constant pixel in the first step. With optax's default of 0, backpropagation through training returns NaN there.
    The default affects gradients below √ε_root = 1e-6.

    Args:
      learning_rate: η, as in `sgd`.
      b1, b2: the decay rates of the means of g and g², in [0, 1).
      eps, eps_root: ε and ε_root.

    Raises:
      TypeError: a hyperparameter is neither a number nor a function of θ.
      ValueError: a number is out of range.

    References:
      Kingma & Ba, Adam: a method for stochastic optimization, 2015, arXiv 1412.6980.
    """
    settings = _check_adam(learning_rate, b1, b2, eps, eps_root)

    def optimizer(theta):
        return widened(optax.adam(_schedule(learning_rate, theta), **_numbers(settings, theta)))

    return optimizer


def adamw(
    learning_rate: Hyperparameter,
    b1: Hyperparameter = 0.9,
    b2: Hyperparameter = 0.999,
    eps: Hyperparameter = 1e-8,
    eps_root: Hyperparameter = 1e-12,
    weight_decay: Hyperparameter = 1e-4,
) -> Optimizer:
    """Return Adam with decoupled weight decay λ: w ← w − η (m̂ / (√(v̂ + ε_root) + ε) + λ w).

    Args:
      learning_rate, b1, b2, eps, eps_root: as in `adam`.
      weight_decay: λ, for all parameters. Use `per_layer` for a different λ in every layer.

    Raises:
      TypeError: a hyperparameter is neither a number nor a function of θ.
      ValueError: a number is out of range.

    References:
      Loshchilov & Hutter, Decoupled weight decay regularization, 2019, arXiv 1711.05101.
    """
    settings = _check_adam(learning_rate, b1, b2, eps, eps_root)
    _check("weight_decay", weight_decay, 0)
    settings["weight_decay"] = weight_decay

    def optimizer(theta):
        return widened(optax.adamw(_schedule(learning_rate, theta), **_numbers(settings, theta)))

    return optimizer


def clipped(optimizer: Optimizer, max_norm: Hyperparameter) -> Optimizer:
    """Clip gradients to a maximal norm before they reach an optimiser: g ← g · min(1, c / ‖g‖).

    The norm is taken over all parameters. Unlike optax's clipping, this is differentiable at a gradient of zero, and
    exact for finite gradients whose squares overflow.

    Args:
      optimizer: a function of θ.
      max_norm: c > 0, a number or a function of θ.

    Raises:
      TypeError: `optimizer` is not a function of θ, or `max_norm` is neither a number nor a function of θ.
      ValueError: `max_norm` is not positive.
    """
    check_optimizer(optimizer)
    _check("max_norm", max_norm, 0, open_low=True)

    def combined(theta):
        limit = _number("max_norm", max_norm, theta)

        def update(updates, state, params=None):
            return _clip(updates, limit), state

        return optax.chain(optax.GradientTransformation(optax.init_empty_state, update), optimizer(theta))

    return combined


def _clip(updates, limit):
    leaves = [leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) for leaf in jax.tree.leaves(updates)]
    peak = jax.lax.stop_gradient(jnp.max(jnp.stack([jnp.max(jnp.abs(leaf), initial=0) for leaf in leaves])))
    # The norm is homogeneous, so neither the result nor its derivative depends on the unit.
    unit = jnp.where(peak > 0, peak, 1)
    squared = sum((jnp.sum((leaf / unit) ** 2) for leaf in leaves), start=jnp.zeros(()))
    too_long = unit * jnp.sqrt(jax.lax.stop_gradient(squared)) > limit
    factor = jnp.where(too_long, limit / unit / jnp.sqrt(jnp.where(too_long, squared, 1)), 1)
    return trees.scale(factor, updates)


def per_layer(optimizers: Mapping[str, Optimizer], label_function: Callable[[Any], Any] | None = None) -> Optimizer:
    """Return a different optimiser for every group of parameters, through `optax.partition`.

    Args:
      optimizers: label -> optimiser, each a function of the same θ.
      label_function: `params -> labels`, a tree of labels (or a prefix of one) for the parameters. By default the label
        of a parameter is its key on the first level: "layer_0", "layer_1" … for the networks of this package.

    Raises:
      TypeError: an optimiser is not a function of θ.
      ValueError: there are no optimisers. When the state is initialised, it is also raised if the labels of the
        optimisers and of the parameters differ.
    """
    if not optimizers:
        raise ValueError(
            "per_layer needs at least one optimiser; give a mapping such as {'layer_0': sgd(0.1), 'layer_1': sgd(1.0)}."
        )
    for optimizer in optimizers.values():
        check_optimizer(optimizer)
    label = label_function or _first_keys

    def labels(params):
        tree = label(params)
        found = {str(name) for name in jax.tree.leaves(tree)}
        given = {str(name) for name in optimizers}
        if found != given:
            raise ValueError(
                f"per_layer was given optimisers for {', '.join(sorted(given))}; "
                f"the parameters are labelled {', '.join(sorted(found))}. "
                "Give one optimiser for each label of the parameters."
            )
        return tree

    return lambda theta: optax.partition({name: optimizer(theta) for name, optimizer in optimizers.items()}, labels)


def _first_keys(params):
    return jax.tree_util.tree_map_with_path(lambda path, _: jax.tree_util.keystr(path[:1], simple=True), params)


def check_optimizer(optimizer) -> None:
    """Check that an optimiser is a function of θ.

    Raises:
      TypeError: `optimizer` cannot be called, for instance because it is an optax transformation.
    """
    if not callable(optimizer):
        raise TypeError(
            f"An optimiser must be a function of theta that returns an optax.GradientTransformation; "
            f"a {type(optimizer).__name__} was given. "
            "Use a factory of metalearn such as ml.adam, or write lambda theta: optax.adam(1e-3)."
        )


def _check(name, hyperparameter, low=None, high=None, *, open_low=False, open_high=False):
    if not callable(hyperparameter):
        check_number(name, hyperparameter, low, high, open_low=open_low, open_high=open_high)


def _check_adam(learning_rate, b1, b2, eps, eps_root):
    _check("learning_rate", learning_rate, 0)
    for name, rate in (("b1", b1), ("b2", b2)):
        _check(name, rate, 0, 1, open_high=True)
    for name, epsilon in (("eps", eps), ("eps_root", eps_root)):
        _check(name, epsilon, 0)
    return {"b1": b1, "b2": b2, "eps": eps, "eps_root": eps_root}


def _schedule(learning_rate, theta) -> Any:
    """Return the learning rate as a schedule, also if it is a number: only schedules add a counter to the state."""
    rate = resolve(learning_rate, trees.wide(theta))
    if callable(rate):
        return rate
    check_number("learning_rate", rate)
    return lambda count: rate


def _number(name, hyperparameter, theta):
    number = resolve(hyperparameter, trees.wide(theta))  # in float16 a small ε is rounded to 0, in bfloat16 0.999 to 1
    if callable(number):
        raise TypeError(
            f"{name} must be a number or a function of theta returning one; it returned a {type(number).__name__}. "
            "Only learning_rate may be a schedule."
        )
    check_number(name, number)
    return number


def _numbers(settings, theta):
    return {name: _number(name, hyperparameter, theta) for name, hyperparameter in settings.items()}
