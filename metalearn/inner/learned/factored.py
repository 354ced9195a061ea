"""A perceptron applied to every parameter, with second moments of rows and columns, as in Adafactor, as features."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn.inner.checks import check_number
from metalearn.inner.learned import base

MEANS, SQUARES = (0.1, 0.5, 0.9, 0.99, 0.999), (0.9, 0.99, 0.999)
BOUND = 5.0  # of every feature


class FactoredMoments(NamedTuple):
    """The state of the optimiser.

    Attributes:
      count: the number of steps taken.
      means: running means of g, one tree for each of five decays.
      square: the running mean of g², with decay 0.999.
      rows, columns: running means of g² averaged over the last axis and over the second to last, one tree for each of
        three decays. For tensors with fewer than two axes both are running means of g² itself.
    """

    count: jax.Array
    means: tuple[Any, ...]
    square: Any
    rows: tuple[Any, ...]
    columns: tuple[Any, ...]


def factored_optimizer(hidden: Sequence[int] = (4, 4), *, step_size: float = 0.01) -> base.LearnedOptimizer:
    """Return a narrow perceptron with many features, among them gradients scaled by factored second moments.

        u = −c a exp(0.1 b),   (a, b) = MLP(features, time)

    g is the gradient, p the parameter, and v the running mean of g² with decay 0.999. r and s are running means of g²
    averaged over the columns and over the rows of a matrix (the last two axes of a tensor). Adafactor multiplies the
    gradient by √(mean r / r s). The 25 features, each clipped to ±5, are

    - g, p and the running means m of g with five decays (0.1 … 0.999), divided by their root mean square in the tensor;
    - g and the five m, divided by √v;
    - g and the five m, multiplied by Adafactor's factor with decay 0.999;
    - g multiplied by Adafactor's factors with decays 0.9 and 0.99;
    - 1/√v and 1/√r for three decays, divided by their root mean square in the tensor.

    Running means have Adam's bias correction. Seven features of time are added to the first bias through further
    weights. With `hidden=(4, 4)` there are 162 weights.

    Args:
      hidden: widths of the hidden layers, which have ReLU activations.
      step_size: c.

    Raises:
      TypeError: `hidden` is not a sequence of whole numbers, or `step_size` is not a real number.
      ValueError: `hidden` is empty or has a width below 1, or `step_size` is not positive.

    References:
      Metz et al. 2022, Practical tradeoffs between memory, compute, and performance in learned optimizers (arXiv
      2203.11860); Shazeer & Stern 2018, Adafactor (arXiv 1804.04235).
    """
    widths = base.check_widths(hidden)
    check_number("step_size", step_size, 0, open_low=True)

    def init(key):
        return {"network": base.dense(key, (NUM_FEATURES, *widths, 2), num_times=len(base.TIMES))}

    def begin(params):
        row, column = (_means(base.zeros(params), axis) for axis in (-1, -2))
        many = len(SQUARES)
        return FactoredMoments(
            jnp.zeros((), jnp.int32),
            (base.zeros(params),) * len(MEANS),
            base.zeros(params),
            (row,) * many,
            (column,) * many,
        )

    def optimizer(theta):
        def advance(grads, state, params):
            state = _moved(state, grads)
            leaves, structure = jax.tree.flatten(grads)
            if not leaves:
                return grads, state
            parts = zip(
                leaves,
                jax.tree.leaves(params),
                *map(jax.tree.leaves, (*state.means, state.square, *state.rows, *state.columns)),
            )
            features = [_features(state.count, *part) for part in parts]
            times = base.time_features(state.count - 1)
            outputs = base.by_columns(lambda columns: base.forward(theta["network"], columns, times), features)
            moves = [
                (-step_size * out[0] * jnp.exp(jnp.clip(0.1 * out[1], -6, 6))).reshape(leaf.shape)
                for out, leaf in zip(outputs, leaves)
            ]
            return jax.tree.unflatten(structure, moves), state

        return base.transformation(begin, advance)

    named = {"name": "factored_optimizer", "hidden": list(widths), "step_size": float(step_size)}
    return base.LearnedOptimizer(init, optimizer, named)


NUM_FEATURES = 2 + len(MEANS) + 2 * (1 + len(MEANS)) + 2 + 1 + len(SQUARES)


def _moved(state, grads):
    squares = jax.tree.map(jnp.square, grads)
    rows, columns = (_means(squares, axis) for axis in (-1, -2))
    return FactoredMoments(
        state.count + 1,
        tuple(base.decayed(mean, grads, decay) for mean, decay in zip(state.means, MEANS)),
        base.decayed(state.square, squares, SQUARES[-1]),
        tuple(base.decayed(mean, rows, decay) for mean, decay in zip(state.rows, SQUARES)),
        tuple(base.decayed(mean, columns, decay) for mean, decay in zip(state.columns, SQUARES)),
    )


def _means(tree, axis):
    """Average tensors with two or more axes over an axis; return other tensors unchanged."""
    return jax.tree.map(lambda leaf: jnp.mean(leaf, axis=axis, keepdims=True) if leaf.ndim > 1 else leaf, tree)


def _features(count, gradient, param, *moments):
    """Return the features `[25, size]` of one tensor."""
    means, square = moments[: len(MEANS)], moments[len(MEANS)]
    rows, columns = moments[len(MEANS) + 1 :][: len(SQUARES)], moments[-len(SQUARES) :]
    means = [base.unbiased(mean, decay, count) for mean, decay in zip(means, MEANS)]
    inverse = base.inverse_root(base.unbiased(square, SQUARES[-1], count))
    rows = [base.unbiased(mean, decay, count) for mean, decay in zip(rows, SQUARES)]
    columns = [base.unbiased(mean, decay, count) for mean, decay in zip(columns, SQUARES)]
    factors = [_factor(row, column) for row, column in zip(rows, columns)]
    steps = [gradient, *means]
    found = [base.unit(one) for one in (*steps, param)] + [one * inverse for one in steps]
    found += [one * factors[-1] for one in steps] + [gradient * factor for factor in factors[:-1]]
    spread = [jnp.broadcast_to(base.inverse_root(row), gradient.shape) for row in rows]
    found += [base.unit(one) for one in (inverse, *spread)]
    return jnp.clip(jnp.stack([jnp.ravel(one) for one in found]), -BOUND, BOUND)


def _factor(row, column):
    """Return √(mean r / (r s)), or 1/√r for a vector; zero where r or s is treated as zero."""
    if row.ndim < 2:
        return base.inverse_root(row)
    mean = jnp.mean(row, axis=-2, keepdims=True)
    large = (row > base.TINY) & (column > base.TINY)
    logarithm = lambda values: jnp.log(
        jnp.where(values > base.TINY, values, 1)
    )  # products of roots overflow in reverse mode
    return jnp.where(large, jnp.exp(0.5 * (logarithm(mean) - logarithm(row) - logarithm(column))), 0)
