"""A recurrent network for every tensor, which sets Adam's learning rate for the tensor at every step."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.learned import base

MOMENTUM, SQUARE, EPS = 0.9, 0.999, 1e-8
NUM_INPUTS = 6


class RecurrentState(NamedTuple):
    """The state of the optimiser.

    Attributes:
      count: the number of steps taken.
      mean, square: Adam's running means of g and g².
      hidden: a vector for every tensor, in the structure of the parameters.
    """

    count: jax.Array
    mean: Any
    square: Any
    hidden: Any


def recurrent_optimizer(hidden: int = 16, *, learning_rate: float = 0.03) -> base.LearnedOptimizer:
    """Return Adam with a learning rate that a gated recurrent unit sets for every tensor at every step.

        u = −η exp(clip(o, −6, 3)) m̂ / (√v̂ + 1e-8),   h ← GRU(x, h),   o = w · h + c,   η = exp(θ_η)

    Every tensor has its own h, and all tensors share the weights. The input x consists of the logarithms of the root
    mean squares of the gradient g, of m̂ and of the parameters p, divided by 10, the cosine of g and m̂, the fraction
    of entries for which g and m̂ have the same sign, and tanh(t/1000 − 1). w and c start at zero, so that meta-training
    starts at Adam. The additional cost per parameter is negligible.

    Args:
      hidden: the width of h.
      learning_rate: the initial η, which is learned as well.

    Raises:
      TypeError: `hidden` is not a whole number, or `learning_rate` is not a real number.
      ValueError: `hidden` is below 1, or `learning_rate` is not positive.

    References:
      Wichrowska et al. 2017, Learned optimizers that scale and generalize (arXiv 1703.04813), for recurrence per
      tensor; Cho et al. 2014 (arXiv 1406.1078) for the unit.
    """
    check_count("hidden", hidden)
    check_number("learning_rate", learning_rate, 0, open_low=True)

    def init(key):
        return {
            "log_learning_rate": jnp.log(jnp.asarray(learning_rate, jnp.result_type(float))),
            "gates": jax.random.normal(key, (3, hidden, NUM_INPUTS + hidden)) / math.sqrt(NUM_INPUTS + hidden),
            "gate_bias": jnp.zeros((3, hidden)),
            "output": {"weight": jnp.zeros(hidden), "bias": jnp.zeros(())},
        }

    def begin(params):
        blank = jax.tree.map(lambda leaf: jnp.zeros(hidden, leaf.dtype), trees.wide(params))
        return RecurrentState(jnp.zeros((), jnp.int32), base.zeros(params), base.zeros(params), blank)

    def optimizer(theta):
        def advance(grads, state, params):
            count = state.count + 1
            mean = base.decayed(state.mean, grads, MOMENTUM)
            square = base.decayed(state.square, jax.tree.map(jnp.square, grads), SQUARE)
            leaves, structure = jax.tree.flatten(grads)
            moves, memories = [], []
            for g, m, v, h, p in zip(leaves, *map(jax.tree.leaves, (mean, square, state.hidden, params))):
                m, v = base.unbiased(m, MOMENTUM, count), base.unbiased(v, SQUARE, count)
                h = _gated(theta, _inputs(g, m, p, state.count), h).astype(h.dtype)
                out = theta["output"]["weight"] @ h + theta["output"]["bias"]
                rate = jnp.exp(theta["log_learning_rate"] + jnp.clip(out, -6, 3))
                moves.append(-rate * m / (base.safe_root(v) + EPS))
                memories.append(h)
            unflatten = lambda found: jax.tree.unflatten(structure, found)
            return unflatten(moves), RecurrentState(count, mean, square, unflatten(memories))

        return base.transformation(begin, advance)

    named = {"name": "recurrent_optimizer", "hidden": int(hidden), "learning_rate": float(learning_rate)}
    return base.LearnedOptimizer(init, optimizer, named)


def _inputs(gradient, mean, param, count):
    size = lambda values: 0.05 * jnp.log(jnp.mean(jnp.square(values)) + base.TINY)
    cosine = jnp.mean(base.unit(gradient) * base.unit(mean))
    agree = jnp.mean((gradient * mean > 0).astype(gradient.dtype))
    time = jnp.tanh(count / 1000 - 1).astype(gradient.dtype)
    return jnp.stack([size(gradient), size(mean), size(param), cosine, agree, time])


def _gated(theta, inputs, hidden):
    """Return the new h = (1 − z) h + z tanh(W [x, r h] + b), with the gates z and r."""
    seen = jnp.concatenate([inputs, hidden])
    update, reset = (jax.nn.sigmoid(theta["gates"][gate] @ seen + theta["gate_bias"][gate]) for gate in (0, 1))
    proposal = jnp.tanh(theta["gates"][2] @ jnp.concatenate([inputs, reset * hidden]) + theta["gate_bias"][2])
    return (1 - update) * hidden + update * proposal
