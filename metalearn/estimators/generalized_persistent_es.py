"""Generalised persistent evolution strategies: the online ES family, from persistent ES to noise reuse."""

import functools

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators.accumulator import reset_accumulator
from metalearn.estimators.base import Description, Family, GradientEstimator
from metalearn.estimators.devices import kept_estimator, on_these_devices
from metalearn.estimators.directions import check_sigma_fits, choose_directions, is_one_number, over_variance
from metalearn.estimators.fitness import choose_fitness
from metalearn.estimators.memory import state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.inner.checks import LARGEST_BATCH, check_count
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.types import Theta


@kept_estimator
def generalized_persistent_es(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    sigma: float | Theta,
    num_pairs: int,
    noise_period: int,
    directions: str = "gaussian",
    fitness: str = "raw",
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator by online evolution strategies with a new perturbation every K steps.

    Both members of a pair keep their own states through the episode. Each block b of K steps draws ε_b ~ N(0, σ²I).
    Window t, in block b(t), runs at θ ± ε_{b(t)}, and its losses are credited to all perturbations of the episode:

        g_t = ξ_t (L_t⁺ − L_t⁻) / (2σ²),   ξ_t = Σ_{b ≤ b(t)} ε_b.

    With θ frozen, the mean over an episode is unbiased for the gradient of the meta-loss smoothed with noise that is
    independent between blocks (docs/theory.md §2.7). K = length is persistent ES and K ≥ horizon is noise-reuse ES, bit
    for bit. The variance is not monotone in K (docs/theory.md §4.3). Memory per pair: 2S + 2d.

    Where a run diverges with positive probability, the smoothed meta-loss of a problem without a cap is infinite, and
    estimates are dominated by those runs: see `saturate`.

    Args:
      problem: the inner problem; it need not be differentiable.
      truncation: horizon T and window W.
      sigma: σ, the standard deviation of the perturbation in the space of θ: one number, or the structure of θ with a
        number or an array of the leaf's shape for each leaf.
      num_pairs: number of pairs ±ε; each takes 2·W inner steps per estimate.
      noise_period: K, the number of inner steps for which one ε is kept; a multiple of W, or at least T.
      directions: "gaussian"; "orthogonal", the same distribution with pairs that are orthogonal in blocks of d, for
        less variance; "sphere" or "rademacher", which smooth L by another distribution (docs/theory.md §2.11).
      fitness: "raw" for the losses; "ranks" or "normalised", which replace them by their centred ranks, or by
        (ℓ − mean)/standard deviation, over all members of an estimate. Both add a bias (docs/theory.md §2.14).
      chunk_size: pairs advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, `sigma` is not a number or
        numbers, or `num_pairs`, `noise_period` or `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, `sigma` is not positive and finite, `noise_period` is shorter
        than the horizon and not a multiple of the window, `directions` or `fitness` is another name, or `num_pairs`,
        `noise_period` or `chunk_size` is below 1. `init` raises it if `sigma` does not fit θ.

    References:
      Li et al. 2023, Variance-reduced gradient estimation via noise-reuse in online evolution strategies (arXiv
      2304.12180); Vicol, Metz, Sohl-Dickstein 2021 (arXiv 2112.13835).
    """
    check_common(problem, truncation, chunk_size)
    law = choose_directions(directions, sigma).law
    choose_fitness(fitness)
    check_count("num_pairs", num_pairs, high=LARGEST_BATCH)
    check_count("noise_period", noise_period)
    if noise_period % truncation.length and noise_period < truncation.horizon:
        raise ValueError(
            f"noise_period must be a multiple of the window length {truncation.length}, so that a perturbation changes between windows; "
            f"{noise_period} was given."
        )
    make = _family(problem, truncation, num_pairs, (directions, fitness), chunk_size)
    period = min(noise_period, truncation.horizon)
    windows_per_block = -(-period // truncation.length)
    names = {truncation.horizon: "noise-reuse ES", truncation.length: "persistent ES"}

    def memory(theta):
        return num_pairs * 2 * (state_bytes(problem, theta) + trees.num_bytes(theta))

    name, numbers = names.get(period, "generalised persistent ES"), (sigma, windows_per_block)
    description = Description(problem, truncation, num_pairs, memory, sigma, period, name, perturbation=law)
    estimator = _estimator(problem, truncation, num_pairs, (directions, fitness), chunk_size, numbers, description)
    if is_one_number(sigma):
        estimator.estimate.family = Family(make, numbers, estimator.init)
    return estimator


@kept_estimator
def _family(problem, truncation, num_pairs, kinds, chunk_size):
    """Return the function `(σ, windows per block) -> estimator`."""
    description = Description(problem, truncation, num_pairs, lambda theta: 0)
    make = lambda numbers: _estimator(problem, truncation, num_pairs, kinds, chunk_size, numbers, description)
    return on_these_devices(make)


def _estimator(problem, truncation, num_pairs, kinds, chunk_size, numbers, description):
    sigma, windows_per_block = numbers
    drawing, shaping = choose_directions(kinds[0], sigma), choose_fitness(kinds[1])

    def start(theta, state):
        still = jax.tree.map(jnp.zeros_like, theta)
        return trees.broadcast(state, 2), still, trees.wide(still)

    def window(run, theta, memory, clock, key):
        states, noise, accumulated = memory
        fresh = drawing.perturb(key, theta)
        so_far = reset_accumulator(clock, accumulated)
        if isinstance(windows_per_block, int) and windows_per_block == 1:
            noise, accumulated = fresh, trees.add(so_far, trees.wide(fresh))
        else:
            new_block = clock % windows_per_block == 0
            noise = trees.where(new_block, fresh, noise)
            accumulated = trees.where(new_block, trees.add(so_far, trees.wide(noise)), so_far)
        readings, states = run_pair(run, theta, noise, states)
        return pair_gradient(accumulated, shaping.read(readings.loss), sigma), (states, noise, accumulated), readings

    fits = functools.partial(check_sigma_fits, sigma)
    method = Method(start, window, num_unrolls=2, draw=drawing.draw, check=fits, finish=shaping.finish)
    return from_method(method, problem, truncation, num_pairs, chunk_size, description)


def run_pair(run, theta, noise, states):
    """Advance the members θ + ε and θ − ε with common random numbers; return readings `[2]` and states `[2, ...]`."""
    return run_members(run, theta, noise, jnp.array([1.0, -1.0]), states)


def run_members(run, theta, noise, signs, states):
    """Advance the members θ + sign · ε with common random numbers; return a reading and a state for each sign."""
    member = lambda sign, state: run(trees.add(theta, trees.scale(sign, noise)), state)
    return jax.vmap(member)(signs, states)


def pair_gradient(credit, losses, sigma):
    """Return ξ (L⁺ − L⁻) / (2σ²) for the accumulated perturbation ξ, in float32 or wider."""
    return over_variance(losses[0] - losses[1], sigma, trees.wide(credit), 2)
