"""Search by evolution, as a baseline of `meta_train`: CMA-ES or a genetic algorithm."""

from typing import Any

import jax
import jax.numpy as jnp

from metalearn import debugging, trees
from metalearn.inner.checks import check_choice, check_count, check_number, is_known
from metalearn.inner.problem import check_key, check_theta
from metalearn.memoization import memoize
from metalearn.outer.held_out import Evaluate, check_evaluate
from metalearn.outer.search.trials import Trials, measured, select_best
from metalearn.types import Key, Progress, Theta

ALGORITHMS = {"cma_es": "CMA_ES", "genetic": "SimpleGA"}


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
    """Minimise the meta-loss with CMA-ES, or with a genetic algorithm (truncation selection and mutation), of evosax.

    `evolve` works under `jit` and `vmap`, over starts and keys, if `progress` is None.

    Args:
      evaluate: `(theta, key) -> scalar`. All members of a generation share one key.
      algorithm: "cma_es" or "genetic".
      theta: the mean of the first generation, whose standard deviation is `sigma`.
      key: a typed key.
      num_generations: the number of generations, at least 1.
      population_size: members of a generation.
      sigma: the initial step size of CMA-ES; the size of all mutations of the genetic algorithm.
      progress: called as `progress(algorithm, done, num_generations)`.

    Returns:
      `(theta, trials)`: the last mean of CMA-ES, or the best of all members of the genetic algorithm; the fields of
      `trials` have the leading axis `[num_generations · population_size]`.

    Raises:
      ImportError: evosax is missing: `pip install 'metalearn[search]'`.
      TypeError: `evaluate` is not a function of θ and a key that returns one floating-point number, θ has a leaf that
        is not floating point, `key` is not a typed key, a count is not a whole number, or `sigma` is not a real number.
      ValueError: `algorithm` is unknown, θ is empty, `num_generations` is below 1, `population_size` is below 2, or
        `sigma` is not positive.
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
    with debugging.unwatched():
        state, measure = _first_state(strategy, params, theta, key, population_size), measured(evaluate)

    def generation(state, index):
        ask, read, tell = jax.random.split(jax.random.fold_in(key, index), 3)
        with debugging.unwatched():
            population, state = strategy.ask(ask, state, params)
        population = _like(population, theta)
        loss = measure(population, jnp.broadcast_to(read, (population_size,)))
        worst = jnp.where(jnp.isfinite(loss), loss, jnp.finfo(loss.dtype).max)  # both algorithms use only the ranks
        with debugging.unwatched():
            state, _ = strategy.tell(tell, population, worst, state, params)
        return state, (population, loss)

    if is_known((theta, jax.random.key_data(key))):
        found = []
        for index in range(num_generations):
            state, one = generation(state, index)
            found.append(one)
            if progress is not None:
                progress(algorithm, index + 1, num_generations)
        thetas, losses = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *found)
    else:
        state, found = jax.lax.scan(generation, state, jnp.arange(num_generations))
        thetas, losses = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), found)
    best, trials = select_best(algorithm, thetas, losses)
    return (_like(strategy.get_mean(state), theta) if algorithm == "cma_es" else best), trials


def _like(population, theta):
    """Cast the members to the dtypes of θ, because evosax flattens θ to one array."""
    return jax.tree.map(lambda members, leaf: members.astype(leaf.dtype), population, theta)


@memoize
def _strategy(algorithm, population_size, leaves, structure, sigma) -> Any:
    """Build the strategy and its parameters once, because evosax compiles again for every new strategy."""
    try:
        from evosax import algorithms
    except ImportError:
        raise ImportError(
            "CMA-ES and the genetic algorithm come from evosax: pip install 'metalearn[search]'."
        ) from None
    make = getattr(algorithms, ALGORITHMS[algorithm])
    with jax.ensure_compile_time_eval():  # the strategy outlives the program in which it is first made
        theta = trees.zeros_from_shapes(jax.tree.unflatten(structure, leaves))
        if algorithm == "genetic":
            strategy = make(population_size, theta, std_schedule=lambda generation: jnp.asarray(sigma))
            return strategy, strategy.default_params
        strategy = make(population_size, theta)
    params = jax.jit(lambda: strategy.default_params)()  # one program in place of forty
    if not is_known(params):
        with jax.ensure_compile_time_eval():
            params = strategy.default_params
    return strategy, params.replace(std_init=sigma)


def _first_state(strategy, params, theta, key, population_size):
    """Return the first state. CMA-ES starts from a mean; the genetic algorithm starts from members that all equal θ."""
    start = jax.random.fold_in(key, 2**31)
    if hasattr(strategy, "get_mean"):
        return strategy.init(start, theta, params)
    return strategy.init(start, trees.broadcast(theta, population_size), jnp.full(population_size, jnp.inf), params)
