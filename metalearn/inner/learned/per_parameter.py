"""A perceptron applied to every parameter, which computes the update itself or a correction of Adam."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metalearn.inner.checks import check_number
from metalearn.inner.learned import base

DECAYS, SQUARE = (0.5, 0.9, 0.99), 0.999
BOUND = 5.0  # of every feature
EPS = 1e-8


class Moments(NamedTuple):
    """The state of a per-parameter optimiser. All tensors are concatenated, so that it has few large arrays.

    Attributes:
      count: the number of steps taken.
      means: running means of g, `[decays, parameters]`.
      square: the running mean of g² with decay 0.999, `[parameters]`.
    """

    count: jax.Array
    means: jax.Array
    square: jax.Array


def mlp_optimizer(
    hidden: Sequence[int] = (32, 32), *, decays: Sequence[float] = DECAYS, step_size: float = 0.01
) -> base.LearnedOptimizer:
    """Return a perceptron that maps the features of one parameter to its update.

        u = −c a exp(0.1 b),   (a, b) = MLP(features, time), |b| ≤ 60

    The features, each clipped to ±5, are the gradient g, its running means m_β and the parameter p, divided by their
    root mean square in the tensor, and g and m_β divided by √v, with v the running mean of g² with decay 0.999. Running
    means have Adam's bias correction. Seven features of time, tanh(t/τ − 1) with τ from 3 to 3000 steps, are added to
    the first bias through further weights. With `hidden=(32, 32)` there are 1666 weights.

    Args:
      hidden: widths of the hidden layers, which have ReLU activations.
      decays: the decay rates β of the running means.
      step_size: c.

    Raises:
      TypeError: `hidden` is not a sequence of whole numbers, `decays` is not a sequence of numbers, or `step_size` is
        not a real number.
      ValueError: `hidden` or `decays` is empty, a width is below 1, a decay is outside of [0, 1), or `step_size` is not
        positive.

    References:
      Metz et al. 2020, Tasks, stability, architecture, and compute (arXiv 2009.11243), the per-parameter rule of its
      comparison; Metz et al. 2022, Practical tradeoffs between memory, compute, and performance in learned optimizers
      (arXiv 2203.11860).
    """
    widths, rates = base.check_widths(hidden), base.check_decays(decays)
    check_number("step_size", step_size, 0, open_low=True)

    def optimizer(theta):
        def rule(outputs, adam):
            return -step_size * outputs[0] * jnp.exp(jnp.clip(0.1 * outputs[1], -6, 6))

        return _per_parameter(theta, rates, rule)

    named = {"name": "mlp_optimizer", "hidden": list(widths), "decays": list(rates), "step_size": float(step_size)}
    return base.LearnedOptimizer(lambda key: {"network": _network(key, widths, rates)}, optimizer, named)


def nominal_optimizer(
    hidden: Sequence[int] = (8, 8), *, learning_rate: float = 0.03, decays: Sequence[float] = DECAYS
) -> base.LearnedOptimizer:
    """Return Adam with a correction from a perceptron for every parameter.

        u = −η (m̂_0.9 / (√v̂ + 1e-8) · exp(clip(b, −6, 3)) + a),   (a, b) = MLP(features, time),   η = exp(θ_η)

    The last layer of the perceptron starts at zero, so that meta-training starts at Adam. Features and time are those
    of `mlp_optimizer`, and m and v those of Adam, with decays 0.9 and 0.999. With `hidden=(8, 8)` there are 227
    weights, including the logarithm of the learning rate.

    Args:
      hidden: widths of the hidden layers, which have ReLU activations.
      learning_rate: the initial η, which is learned as well.
      decays: the decay rates β of the running means; 0.9 must be among them.

    Raises:
      TypeError: `hidden` is not a sequence of whole numbers, `decays` is not a sequence of numbers, or `learning_rate`
        is not a real number.
      ValueError: `hidden` or `decays` is empty, a width is below 1, a decay is outside of [0, 1), 0.9 is not among
        them, or `learning_rate` is not positive.

    References:
      Kingma & Ba 2015 for Adam; Premont-Schwarz et al. 2022, A simple guard for learned optimizers (arXiv 2201.12426)
      and Harrison, Metz & Sohl-Dickstein 2022, A closer look at learned optimization: stability, robustness, and
      inductive biases (arXiv 2209.11208) for corrections of a nominal rule.
    """
    widths, rates = base.check_widths(hidden), base.check_decays(decays)
    check_number("learning_rate", learning_rate, 0, open_low=True)
    if 0.9 not in rates:
        raise ValueError(f"decays must contain 0.9, the momentum of Adam; {rates} was given.")

    def init(key):
        rate = jnp.log(jnp.asarray(learning_rate, jnp.result_type(float)))
        return {"log_learning_rate": rate, "network": _network(key, widths, rates, zero_last=True)}

    def optimizer(theta):
        def rule(outputs, adam):
            rate = jnp.exp(theta["log_learning_rate"])
            return -rate * (adam * jnp.exp(jnp.clip(outputs[1], -6, 3)) + outputs[0])

        return _per_parameter(theta, rates, rule)

    named = {
        "name": "nominal_optimizer",
        "hidden": list(widths),
        "learning_rate": float(learning_rate),
        "decays": list(rates),
    }
    return base.LearnedOptimizer(init, optimizer, named)


def _network(key, widths, decays, *, zero_last=False):
    inputs = 3 + 2 * len(decays)
    return base.dense(key, (inputs, *widths, 2), num_times=len(base.TIMES), zero_last=zero_last)


def _per_parameter(theta, decays, rule):
    """Return a transformation with updates from `rule(outputs [2, parameters], adam [parameters]) -> [parameters]`.

    `outputs` are those of the network, and `adam` is m̂_0.9 / (√v̂ + 1e-8), or None if 0.9 is not among `decays`.
    """

    def begin(params):
        flat = base.side_by_side(base.zeros(params))
        return Moments(jnp.zeros((), jnp.int32), jnp.zeros((len(decays), *flat.shape), flat.dtype), flat)

    def advance(grads, state, params):
        count, gradient = state.count + 1, base.side_by_side(grads)
        kept = jnp.asarray(decays, gradient.dtype)[:, None]
        means = kept * state.means + (1 - kept) * gradient[None]
        square = base.decayed(state.square, jnp.square(gradient), SQUARE)
        after = Moments(count, means, square)
        if not jax.tree.leaves(grads):
            return grads, after
        unbiased = base.unbiased(means, kept, count)
        scale = 1 / (base.safe_root(base.unbiased(square, SQUARE, count)) + EPS)
        steps = jnp.concatenate([gradient[None], unbiased])
        rows = jnp.concatenate([steps, base.side_by_side(params)[None]])
        sizes = [leaf.size for leaf in jax.tree.leaves(grads)]
        features = jnp.concatenate([base.unit_by_tensor(rows, sizes), steps * scale[None]])
        bounded = jnp.clip(features, -BOUND, BOUND)
        outputs = base.forward(theta["network"], bounded, base.time_features(state.count))
        adam = unbiased[decays.index(0.9)] * scale if 0.9 in decays else None
        return base.apart(rule(outputs, adam), grads), after

    return base.transformation(begin, advance)
