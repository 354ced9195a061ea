"""Random search and grid search, as baselines of `meta_train`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner.checks import check_count
from metalearn.inner.problem import check_key, check_theta
from metalearn.outer.held_out import Evaluate, check_evaluate
from metalearn.outer.search.trials import Trials, at, measured, select_best
from metalearn.types import Key, Progress, Theta


def random_search(
    evaluate: Evaluate,
    sample: Callable[[Key], Theta],
    key: Key,
    num_trials: int,
    *,
    chunk_size: int = 16,
    progress: Progress | None = None,
) -> tuple[Theta, Trials]:
    """Draw θ independently `num_trials` times, and return the best.

    Trial i draws θ and its episodes from fold_in(key, i), so that a search with more trials continues a shorter one.

    Args:
      evaluate: `(theta, key) -> scalar`, such as `ml.held_out_loss(problem, horizon, 1)`, which costs `horizon` inner
        steps.
      sample: `key -> theta`, such as `ml.search.uniform(low, high)`.
      key: a typed key.
      num_trials: the number of draws, at least 1.
      chunk_size: trials in one program.
      progress: called as `progress("random search", done, num_trials)`.

    Returns:
      `(theta, trials)`.

    Raises:
      TypeError: `evaluate` is not a function of θ and a key that returns one floating-point number, `sample` is not a
        function, `key` is not a typed key, or a count is not a whole number.
      ValueError: `num_trials` or `chunk_size` is below 1.
      FloatingPointError: no trial had a finite loss.

    References:
      Bergstra & Bengio 2012, Random search for hyper-parameter optimization, JMLR 13.
    """
    check_key(key)
    check_count("num_trials", num_trials)
    if not callable(sample):
        raise TypeError(
            f"sample must be a function key -> theta, such as ml.search.uniform(low, high); {sample!r} was given."
        )
    keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(key, index)))(jnp.arange(num_trials))
    thetas = jax.vmap(sample)(keys[:, 0])
    return _try("random search", evaluate, thetas, keys[:, 1], chunk_size, progress)


def grid_search(
    evaluate: Evaluate, axes: Any, key: Key, *, chunk_size: int = 16, progress: Progress | None = None
) -> tuple[Theta, Trials]:
    """Evaluate every combination of the values along the axes with the same key, and return the best.

    Args:
      evaluate: `(theta, key) -> scalar`.
      axes: a pytree with the structure of θ. Its leaves are the values `[points]` to try for the scalar leaf of θ; the
        last leaf varies fastest.
      key: a typed key.
      chunk_size, progress: as in `random_search`.

    Returns:
      `(theta, trials)`.

    Raises:
      TypeError: `evaluate` is not a function of θ and a key that returns one floating-point number, a leaf of `axes` is
        not floating point, `key` is not a typed key, or `chunk_size` is not a whole number.
      ValueError: `axes` is empty or has a leaf that is not a row of at least one value, or `chunk_size` is below 1.
      FloatingPointError: no trial had a finite loss.
    """
    check_key(key)
    check_theta(axes)
    leaves, structure = jax.tree.flatten(axes)
    if any(jnp.ndim(leaf) != 1 or not jnp.size(leaf) for leaf in leaves):
        shapes = [jnp.shape(leaf) for leaf in leaves]
        raise ValueError(f"Every leaf of axes must be a 1-D array of values [points]; shapes {shapes} were given.")
    thetas = jax.tree.unflatten(structure, [mesh.ravel() for mesh in jnp.meshgrid(*leaves, indexing="ij")])
    keys = jnp.broadcast_to(key, (len(jax.tree.leaves(thetas)[0]),))
    return _try("grid search", evaluate, thetas, keys, chunk_size, progress)


def uniform(low: Theta, high: Theta) -> Callable[[Key], Theta]:
    """Return a function `key -> θ` that draws uniformly from the box with the corners `low` and `high`.

    Args:
      low, high: the corners of the box, in the structure of θ.

    Raises:
      TypeError: `low` or `high` has a leaf that is not floating point.
      ValueError: `low` and `high` differ in structure, shapes or dtypes, are not finite, or `low` is above `high`
        somewhere.
    """
    check_theta(low)
    check_theta(high)
    if jax.tree.structure(low) != jax.tree.structure(high):
        raise ValueError(
            f"low and high must have the same structure; {jax.tree.structure(low)} and {jax.tree.structure(high)} were given."
        )
    pairs = [(jnp.asarray(a), jnp.asarray(b)) for a, b in zip(jax.tree.leaves(low), jax.tree.leaves(high))]
    if any((a.shape, a.dtype) != (b.shape, b.dtype) or not bool(jnp.all(a <= b)) for a, b in pairs):
        raise ValueError("low and high must have the same shapes and dtypes, and low must nowhere be above high.")
    if not bool(trees.all_finite((low, high))):
        raise ValueError(f"low and high must be finite; {low} and {high} were given.")

    def sample(key):
        keys = jax.random.split(key, len(pairs))
        drawn = [jax.random.uniform(one, a.shape, a.dtype, a, b) for one, (a, b) in zip(keys, pairs)]
        return jax.tree.unflatten(jax.tree.structure(low), drawn)

    return sample


def _try(name, evaluate, thetas, keys, chunk_size, progress) -> tuple[Theta, Trials]:
    """Evaluate all θ in chunks of one size; the last chunk is padded."""
    check_count("chunk_size", chunk_size)
    check_evaluate(evaluate, at(thetas, 0), keys[0])
    count, measure, losses = len(keys), measured(evaluate), []
    size = min(chunk_size, count)
    for begin in range(0, count, size):
        chosen = np.minimum(np.arange(begin, begin + size), count - 1)
        losses.append(measure(at(thetas, chosen), keys[chosen])[: count - begin])
        if progress is not None:
            progress(name, min(begin + size, count), count)
    return select_best(f"the {name}", thetas, jnp.concatenate(losses))
