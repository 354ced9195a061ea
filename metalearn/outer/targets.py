"""What an estimator ought to estimate, computed another way.

Each estimator has its own target: the gradient of the meta-loss as it smooths it. A target is measured by a
full-horizon estimator that has no accumulator and no window, so that an error in those shows as a bias.
"""

import dataclasses

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators import Description, GradientEstimator, backprop, evolution_strategies
from metalearn.inner.derived import in_windows
from metalearn.inner.unroll import Truncation


def unsmoothed_target(description: Description) -> GradientEstimator:
    """∇L by backprop through whole episodes."""
    problem, whole = description.problem, _whole(description.truncation)
    return backprop(problem, whole, num_particles=1, rematerialise=True)


def smoothed_target(description: Description, num_pairs: int) -> GradientEstimator:
    """The gradient of the smoothed meta-loss of an estimator, by full-horizon antithetic ES.

    One perturbation per episode: ES on θ. One per block of K steps: ES on the n = ⌈T/K⌉ copies of θ that the blocks
      use, whose gradients
    add up, Σ_b ∂/∂θ_b E L(θ_1 + ε_1, …, θ_n + ε_n).
    """
    problem, whole = description.problem, _whole(description.truncation)
    if description.sigma == 0:
        return unsmoothed_target(description)
    period = description.noise_period or whole.horizon
    if period >= whole.horizon:
        return evolution_strategies(problem, whole, sigma=description.sigma, num_pairs=num_pairs)
    copies = -(-whole.horizon // period)
    apart = evolution_strategies(in_windows(problem, period), whole, sigma=description.sigma, num_pairs=num_pairs)

    def estimate(theta, state, key):
        gradient, state, metrics = apart.estimate(trees.broadcast(theta, copies), state, key)
        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), gradient), state, metrics

    about = dataclasses.replace(description, truncation=whole, num_particles=num_pairs)
    return GradientEstimator(lambda theta, key: apart.init(trees.broadcast(theta, copies), key), estimate, about)


def _whole(truncation: Truncation) -> Truncation:
    return Truncation(truncation.horizon, truncation.horizon, key=truncation.key)
