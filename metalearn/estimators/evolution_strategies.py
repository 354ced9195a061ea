"""Evolution strategies over whole episodes, and truncated evolution strategies."""

import functools

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.directions import check_sigma_fits, choose_directions, over_variance
from metalearn.estimators.fitness import choose_fitness
from metalearn.estimators.generalized_persistent_es import pair_gradient, run_members
from metalearn.estimators.memory import state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.inner.checks import LARGEST_BATCH, check_bool, check_count
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.types import Theta


@kept_estimator
def evolution_strategies(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    sigma: float | Theta,
    num_pairs: int,
    antithetic: bool = True,
    directions: str = "gaussian",
    fitness: str = "raw",
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator by finite differences along Gaussian directions, within one window.

        g = ε (L(θ+ε) − L(θ−ε)) / (2σ²),   ε ~ N(0, σ²I).

    Full (length == horizon): the estimate is unbiased for ∇L_σ. The variance per pair is (d+1)‖∇L‖² on linear losses,
    and is bounded in chaos (docs/theory.md §4.6). A pair takes 2·length inner steps and memory 2S + d.

    Truncated: both members start each window at the state of an unperturbed trajectory, which then advances with θ. The
    difference does not contain perturbations of earlier windows, so this is a smoothed truncated backpropagation with
    the same bias (docs/theory.md §2.6). A pair takes 3·length inner steps and memory 3S + d.

    One-sided (antithetic=False, for teaching): g = ε L(θ+ε)/σ². It has the same mean and a variance of order L²/σ².

    Where a run diverges with positive probability, the smoothed meta-loss of a problem without a cap is infinite, and
    estimates are dominated by those runs: see `saturate`.

    Args:
      problem: the inner problem; it need not be differentiable.
      truncation: horizon and window.
      num_pairs: number of pairs ±ε (one-sided: number of single members).
      antithetic: whether to use both members of a pair.
      sigma, directions, fitness, chunk_size: as in `persistent_es`.

    Raises:
      TypeError, ValueError: as `persistent_es`; or `antithetic` is not a bool.

    References:
      Salimans et al. 2017 (arXiv 1703.03864); Metz et al. 2018 (arXiv 1810.10180) for truncated unrolls.
    """
    check_common(problem, truncation, chunk_size)
    drawing, shaping = choose_directions(directions, sigma), choose_fitness(fitness)
    check_count("num_pairs", num_pairs, high=LARGEST_BATCH)
    check_bool("antithetic", antithetic)
    whole = truncation.num_windows == 1

    def window(run, theta, state, clock, key):
        noise = drawing.perturb(key, theta)
        signs = ([1.0, -1.0] if antithetic else [1.0]) + ([] if whole else [0.0])  # the last member advances the state
        readings, states = run_members(run, theta, noise, jnp.array(signs), trees.broadcast(state, len(signs)))
        after = state if whole else jax.tree.map(lambda leaf: leaf[-1], states)
        if antithetic:
            pair = jax.tree.map(lambda leaf: leaf[:2], readings)
            return pair_gradient(noise, shaping.read(pair.loss), sigma), after, pair
        one = jax.tree.map(lambda leaf: leaf[0], readings)
        return over_variance(shaping.read(one.loss), sigma, trees.wide(noise), 1), after, one

    def memory(theta):
        return num_pairs * ((2 if antithetic else 1) + (not whole)) * state_bytes(
            problem, theta
        ) + num_pairs * trees.num_bytes(theta)

    num_unrolls = (2 if antithetic else 1) + (not whole)
    fits = functools.partial(check_sigma_fits, sigma)
    method = Method(
        lambda theta, state: state, window, num_unrolls, draw=drawing.draw, check=fits, finish=shaping.finish
    )
    name = "full ES" if whole else "truncated ES"
    description = Description(problem, truncation, num_pairs, memory, sigma, name=name, perturbation=drawing.law)
    return from_method(method, problem, truncation, num_pairs, chunk_size, description)
