"""Common parts of the learned optimisers: a network that maps features of every parameter or tensor to an update.

θ holds the weights of the network. Features are computed from one flattened tensor at a time, so that any shapes work.
The parameters of all tensors then pass through the network together, as columns of one matrix.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.inner.checks import check_count, check_number
from metalearn.types import Key, Theta

TIMES = tuple(3.0 * 1000 ** (k / 6) for k in range(7))  # from 3 to 3000 steps
TINY = 1e-20  # mean squares below it are treated as zero, because the derivatives of their roots overflow in float32


@brief_help
class LearnedOptimizer(NamedTuple):
    """An optimiser with weights. Like all optimisers of metalearn, it is a function of θ and returns a transformation.

    Attributes:
      init: `key -> theta`, random weights as a start for meta-training.
      optimizer: `theta -> optax.GradientTransformationExtraArgs`.
      architecture: the name of the factory and its arguments, which are stored in saved files.
    """

    init: Callable[[Key], Theta]
    optimizer: Callable[[Theta], optax.GradientTransformationExtraArgs]
    architecture: dict[str, Any]

    def __call__(self, theta: Theta) -> optax.GradientTransformationExtraArgs:
        self.check(theta)
        return self.optimizer(theta)

    def check(self, theta: Theta, name: str = "theta") -> None:
        """Check that weights fit the architecture.

        Args:
          theta: the weights.
          name: the name of the weights in the error message.

        Raises:
          ValueError: the structure or a shape of the weights differs.
        """
        if not trees.alike(theta, jax.eval_shape(self.init, jax.random.key(0))):
            raise ValueError(f"The weights of {name} do not fit the architecture {self.architecture}.")


def dense(key: Key, widths: Sequence[int], *, num_times: int = 0, zero_last: bool = False) -> dict[str, Any]:
    """Draw the weights `(out, in)` of a perceptron from N(0, 1/in), with zero biases.

    Args:
      key: the random key.
      widths: inputs, hidden widths …, outputs.
      num_times: the number of time features, which are added to the first bias through further weights.
      zero_last: whether the weights of the last layer are zero.
    """
    layers = {}
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        last = index == len(widths) - 2
        scale = 0.0 if last and zero_last else 1 / math.sqrt(before)
        weight = scale * jax.random.normal(jax.random.fold_in(key, index), (after, before))
        layers[f"layer_{index}"] = {"weight": weight, "bias": jnp.zeros(after)}
    if num_times:
        drawn = jax.random.normal(jax.random.fold_in(key, len(widths)), (widths[1], num_times))
        layers["layer_0"]["time"] = drawn / math.sqrt(num_times)
    return layers


def forward(layers, columns: jax.Array, times: jax.Array | None = None) -> jax.Array:
    """Return W_n relu(… relu(W_0 x + b_0 + V τ) …) + b_n for every column x."""
    for index in range(len(layers)):
        layer = layers[f"layer_{index}"]
        bias = layer["bias"] if times is None or index else layer["bias"] + layer["time"] @ times
        columns = layer["weight"] @ (columns if not index else jax.nn.relu(columns)) + bias[:, None]
    return columns


def time_features(count: jax.Array) -> jax.Array:
    """Return tanh(t/τ − 1) for τ from 3 to 3000 steps, `[7]`; t starts at 0."""
    return jnp.tanh(count / jnp.asarray(TIMES) - 1)


def unit(values: jax.Array) -> jax.Array:
    """Divide values by their root mean square; return zeros if it is below 1e-10."""
    return values * inverse_root(jnp.mean(jnp.square(values)))


def inverse_root(values: jax.Array) -> jax.Array:
    """Return 1/√v, or zero with a derivative of zero if v is at most 1e-20."""
    large = values > TINY
    return jnp.where(large, jax.lax.rsqrt(jnp.where(large, values, 1)), 0)


def safe_root(values: jax.Array) -> jax.Array:
    """Return √v, with a derivative of zero at v = 0."""
    return jnp.where(values > 0, jnp.sqrt(jnp.where(values > 0, values, 1)), 0)


def decayed(old: Any, new: Any, decay: float) -> Any:
    """Update the running means of a tree: β old + (1 − β) new."""
    return jax.tree.map(lambda before, after: decay * before + (1 - decay) * after, old, new)


def unbiased(mean: jax.Array, decay: Any, count: jax.Array) -> jax.Array:
    """Correct the bias of a running mean that started at zero, `count` steps ago, by dividing it by 1 − β^count."""
    return mean / (1 - decay**count)


def zeros(params: Any) -> Any:
    return jax.tree.map(jnp.zeros_like, trees.wide(params))


def transformation(
    begin: Callable[[Any], Any], advance: Callable[[Any, Any, Any], tuple[Any, Any]]
) -> optax.GradientTransformationExtraArgs:
    """Return an optax transformation made of two functions that compute in float32 or wider.

    The functions are `begin(params) -> state` and `advance(grads, state, params) -> (updates, state)`. The updates of
    the transformation have the dtypes of the parameters.
    """

    def init(params):
        return begin(params)

    def update(updates, state, params=None, **extra):
        if params is None:
            raise ValueError("A learned optimiser reads the parameters; call update(grads, state, params).")
        moved, state = advance(trees.wide(updates), state, trees.wide(params))
        return trees.like(moved, params), state

    return optax.GradientTransformationExtraArgs(init, update)


def side_by_side(tree: Any) -> jax.Array:
    """Concatenate all numbers of a tree, one tensor after the other, to an array `[parameters]`."""
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    return jnp.concatenate(leaves) if leaves else jnp.zeros(0)


def apart(values: jax.Array, tree: Any) -> Any:
    """Invert `side_by_side`: split an array `[parameters]` into tensors with the shapes of a tree."""
    leaves, structure = jax.tree.flatten(tree)
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))
    parts = [values[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(leaves, ends)]
    return jax.tree.unflatten(structure, parts)


def unit_by_tensor(rows: jax.Array, sizes: Sequence[int]) -> jax.Array:
    """Divide rows of `[rows, parameters]` by their root mean square in each tensor; zeros where it is below 1e-10."""
    ends = list(itertools.accumulate(sizes))
    squares = jnp.square(rows)
    means = [jnp.mean(squares[:, end - size : end], axis=1, keepdims=True) for size, end in zip(sizes, ends)]
    scales = inverse_root(jnp.concatenate(means, axis=1))
    spread = [jnp.broadcast_to(scales[:, i : i + 1], (len(rows), size)) for i, size in enumerate(sizes)]
    return rows * jnp.concatenate(spread, axis=1)


def by_columns(network: Callable[[jax.Array], jax.Array], features: Sequence[jax.Array]) -> list[jax.Array]:
    """Apply a function of columns to several matrices `[features, size]` at once, and split the result."""
    sizes = [matrix.shape[1] for matrix in features]
    whole = network(jnp.concatenate(features, axis=1))
    edges = [sum(sizes[: index + 1]) for index in range(len(sizes) - 1)]
    return jnp.split(whole, edges, axis=1)


def check_widths(hidden: Sequence[int]) -> tuple[int, ...]:
    """Check hidden widths and return them as a tuple of whole numbers.

    Raises:
      TypeError: `hidden` is a number, or a width is not a whole number.
      ValueError: a width is below 1, or there is none.
    """
    if isinstance(hidden, int):
        raise TypeError(f"hidden must be a sequence of widths, such as ({hidden},); {hidden} was given.")
    widths = tuple(int(width) if hasattr(width, "__index__") else width for width in hidden)
    if not widths:
        raise ValueError("hidden must have at least one width, such as (32, 32); none was given.")
    for width in widths:
        check_count("Every one of hidden", width)
    return widths


def check_decays(decays: Sequence[float]) -> tuple[float, ...]:
    """Check decay rates and return them as a tuple of numbers in [0, 1).

    Raises:
      TypeError: `decays` is not a sequence, or a rate is not a real number.
      ValueError: a rate is outside of [0, 1), or there is none.
    """
    if not isinstance(decays, Iterable):
        raise TypeError(f"decays must be a sequence of rates, such as ({decays},); {decays} was given.")
    rates = tuple(decays)
    if not rates:
        raise ValueError("decays must have at least one rate, such as (0.9,); none was given.")
    for rate in rates:
        check_number("Every one of decays", rate, 0, 1, open_high=True)
    return tuple(float(rate) for rate in rates)
