"""Search without gradients: random, on a grid, by CMA-ES or a genetic algorithm. Baselines of `meta_train`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner.checks import check_choice, check_count, check_number
from metalearn.inner.problem import Key, Scalar, Theta, check_key, check_theta
from metalearn.outer.held_out import check_evaluate
from metalearn.outer.kept import kept
from metalearn.outer.sampling import Progress

Evaluate = Callable[[Theta, Key], Scalar]
ALGORITHMS = {"cma_es": "CMA_ES", "genetic": "SimpleGA"}


class Trials(NamedTuple):
    """What a search tried, in order.

    Attributes:
      theta: `[num_trials, ...]`.
      loss: `[num_trials]`, NaN or infinite where a trial diverged.
      best: the index of the smallest finite loss, −1 where there is none. Chosen as the smallest of many noisy numbers, its
        loss is too small on average: judge it on fresh episodes.
    """

    theta: Theta
    loss: np.ndarray
    best: int


def random_search(
    evaluate: Evaluate,
    sample: Callable[[Key], Theta],
    key: Key,
    num_trials: int,
    *,
    chunk_size: int = 16,
    progress: Progress | None = None,
) -> tuple[Theta, Trials]:
    """Independent draws of θ, the best of them.

    Trial i draws θ and its episodes from fold_in(key, i), so that more trials go on where fewer ended.

    Args:
      evaluate: `(theta, key) -> scalar`, such as `ml.held_out_loss(problem, horizon, 1)`, which costs `horizon` inner steps.
      sample: `key -> theta`, such as `ml.uniform(low, high)`.
      key: a typed key.
      num_trials: draws, at least 1.
      chunk_size: trials in one program.
      progress: called as `progress("random search", done, num_trials)`.

    Returns:
      `(theta, trials)`.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
      FloatingPointError: no trial had a finite loss.

    References:
      Bergstra & Bengio 2012, Random search for hyper-parameter optimization, JMLR 13.
    """
    check_key(key)
    check_count("num_trials", num_trials)
    if not callable(sample):
        raise TypeError(f"sample must be a function key -> theta, such as ml.uniform(low, high); {sample!r} was given.")
    keys = jax.vmap(lambda index: jax.random.split(jax.random.fold_in(key, index)))(jnp.arange(num_trials))
    thetas = jax.vmap(sample)(keys[:, 0])
    return _try("random search", evaluate, thetas, keys[:, 1], chunk_size, progress)


def grid_search(
    evaluate: Evaluate, axes: Any, key: Key, *, chunk_size: int = 16, progress: Progress | None = None
) -> tuple[Theta, Trials]:
    """Every combination of the values along the axes, the best of them. All are read with the same key.

    Args:
      evaluate: `(theta, key) -> scalar`.
      axes: a tree like θ, whose leaves are scalars there and here the values `[points]` to try; the last varies fastest.
      key: a typed key.
      chunk_size, progress: as in `random_search`.

    Returns:
      `(theta, trials)`.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
      FloatingPointError: no trial had a finite loss.
    """
    check_key(key)
    check_theta(axes)
    leaves, structure = jax.tree.flatten(axes)
    if any(jnp.ndim(leaf) != 1 or not jnp.size(leaf) for leaf in leaves):
        shapes = [jnp.shape(leaf) for leaf in leaves]
        raise ValueError(f"Every leaf of axes must be the values [points] of one number; shapes {shapes} were given.")
    thetas = jax.tree.unflatten(structure, [mesh.ravel() for mesh in jnp.meshgrid(*leaves, indexing="ij")])
    keys = jnp.broadcast_to(key, (len(jax.tree.leaves(thetas)[0]),))
    return _try("grid search", evaluate, thetas, keys, chunk_size, progress)


def evolve(
    evaluate: Evaluate,
    algorithm: str,
    theta: Theta,
    key: Key,
    num_generations: int,
    *,
    population_size: int = 16,
    sigma: float = 0.3,
    progress: Progress | None = None,
) -> tuple[Theta, Trials]:
    """CMA-ES, or a genetic algorithm (the better half has children, by mutation), of evosax.

    Args:
      evaluate: `(theta, key) -> scalar`; one key a generation, which its members share.
      algorithm: "cma_es" or "genetic".
      theta: the mean of the first generation, whose standard deviation is sigma.
      key: a typed key.
      num_generations: at least 1.
      population_size: members of a generation.
      sigma: the first step size of CMA-ES; the size of all mutations of the genetic algorithm.
      progress: called as `progress(algorithm, done, num_generations)`.

    Returns:
      `(theta, trials)`: the last mean of CMA-ES, the best member of all of the genetic algorithm; trials `[num_generations ·
      population_size]`.

    Raises:
      ImportError: evosax is missing: `pip install 'metalearn[search]'`.
      TypeError, ValueError: a sentence that names the argument.
      FloatingPointError: no trial had a finite loss.

    References:
      Hansen & Ostermeier 2001, Completely derandomized self-adaptation in evolution strategies; Such et al. 2017, Deep
      neuroevolution (arXiv 1712.06567).
    """
    check_choice("algorithm", algorithm, ALGORITHMS)
    check_theta(theta)
    check_key(key)
    for name, count in (("num_generations", num_generations), ("population_size", population_size)):
        check_count(name, count, 2 if name == "population_size" else 1)
    check_number("sigma", sigma, 0, open_low=True)
    check_evaluate(evaluate, theta, key)
    theta = trees.strong(theta)
    leaves, structure = jax.tree.flatten(jax.eval_shape(lambda: theta))
    strategy, params = _strategy(algorithm, population_size, tuple(leaves), structure, float(sigma))
    state, measure = _first_state(strategy, params, theta, key, population_size), _measure(evaluate)
    populations, losses = [], []
    for generation in range(num_generations):
        ask, read, tell = jax.random.split(jax.random.fold_in(key, generation), 3)
        population, state = strategy.ask(ask, state, params)
        population = _like(population, theta)
        loss = measure(population, jnp.broadcast_to(read, (population_size,)))
        worst = jnp.where(jnp.isfinite(loss), loss, jnp.finfo(loss.dtype).max)  # ranks are all that either uses
        state, _ = strategy.tell(tell, population, worst, state, params)
        populations.append(population)
        losses.append(loss)
        if progress is not None:
            progress(algorithm, generation + 1, num_generations)
    trials = _trials(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *populations), jnp.concatenate(losses))
    if trials.best < 0:
        raise FloatingPointError(
            f"None of the {len(trials.loss)} trials of {algorithm} had a finite loss; begin elsewhere."
        )
    end = _like(strategy.get_mean(state), theta) if algorithm == "cma_es" else _at(trials.theta, trials.best)
    return end, trials


def uniform(low: Theta, high: Theta) -> Callable[[Key], Theta]:
    """`key -> θ`, uniform in the box between two θ of one structure.

    Raises:
      TypeError, ValueError: the two do not fit, or `low` is above `high` somewhere.
    """
    check_theta(low)
    check_theta(high)
    if jax.tree.structure(low) != jax.tree.structure(high):
        raise ValueError(
            f"low and high must have one structure; {jax.tree.structure(low)} and {jax.tree.structure(high)} were given."
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


@kept
def _measure(evaluate) -> Any:
    return jax.jit(jax.vmap(evaluate))


def _try(name, evaluate, thetas, keys, chunk_size, progress) -> tuple[Theta, Trials]:
    """Read all θ in chunks of one size, the last filled up."""
    check_count("chunk_size", chunk_size)
    check_evaluate(evaluate, _at(thetas, 0), keys[0])
    count, measure, losses = len(keys), _measure(evaluate), []
    size = min(chunk_size, count)
    for begin in range(0, count, size):
        chosen = np.minimum(np.arange(begin, begin + size), count - 1)
        losses.append(measure(_at(thetas, chosen), keys[chosen])[: count - begin])
        if progress is not None:
            progress(name, min(begin + size, count), count)
    trials = _trials(thetas, jnp.concatenate(losses))
    if trials.best < 0:
        raise FloatingPointError(f"None of the {count} trials of the {name} had a finite loss; search in another box.")
    return _at(thetas, trials.best), trials


def _trials(thetas, losses) -> Trials:
    loss = np.asarray(losses)
    finite = np.isfinite(loss)
    return Trials(thetas, loss, int(np.argmin(np.where(finite, loss, np.inf))) if finite.any() else -1)


def _at(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _like(population, theta):
    """Members in the dtypes of θ, which evosax flattens to one."""
    return jax.tree.map(lambda members, leaf: members.astype(leaf.dtype), population, theta)


@kept
def _strategy(algorithm, population_size, leaves, structure, sigma) -> Any:
    """The strategy and its parameters; evosax compiles anew for every strategy it is given."""
    try:
        from evosax import algorithms
    except ImportError:
        raise ImportError(
            "CMA-ES and the genetic algorithm come from evosax: pip install 'metalearn[search]'."
        ) from None
    make, theta = getattr(algorithms, ALGORITHMS[algorithm]), trees.zeros_of(jax.tree.unflatten(structure, leaves))
    if algorithm == "genetic":
        strategy = make(population_size, theta, std_schedule=lambda generation: jnp.asarray(sigma))
        return strategy, strategy.default_params
    strategy = make(population_size, theta)
    return strategy, strategy.default_params.replace(std_init=sigma)


def _first_state(strategy, params, theta, key, population_size):
    """CMA-ES begins at a mean; the genetic algorithm at members, all θ, whose children are the first generation."""
    start = jax.random.fold_in(key, 2**31)
    if hasattr(strategy, "get_mean"):
        return strategy.init(start, theta, params)
    return strategy.init(start, trees.broadcast(theta, population_size), jnp.full(population_size, jnp.inf), params)
