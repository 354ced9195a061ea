"""The derivative of a mean over choices that have no derivative themselves."""

import jax
import jax.numpy as jnp


def score_function(costs: jax.Array, log_probabilities: jax.Array) -> jax.Array:
    """Return the mean of costs, with the score-function estimate of its derivative (REINFORCE, policy gradient).

        value: mean_k c_k,   derivative: mean_k [(c_k − b_k) ∇ ln π(a_k) + ∇c_k],   b_k = Σ_{j ≠ k} c_j / (K − 1),

    where a_1 … a_K are independent choices of one distribution π. The baseline b_k does not contain c_k, so the
    estimate is unbiased for the derivative of the mean cost E c. `ml.backprop` can differentiate a loss that is built
    in this way, even if the choices are discrete. A choice that is computed from θ, such as a normal number with mean
    θ, must be wrapped in `jax.lax.stop_gradient` before its cost and its logarithm are computed.

    Args:
      costs: c, `[K, ...]`, K ≥ 2; further axes are independent choices whose costs are averaged.
      log_probabilities: ln π(a), `[K, ...]`, differentiable with respect to θ.

    Returns:
      A scalar.

    Raises:
      ValueError: the shapes differ, or K is below 2.

    References:
      Williams, "Simple statistical gradient-following algorithms", 1992; Kool, van Hoof and Welling, "Buy 4 REINFORCE
        samples, get a baseline for free!", 2019; Foerster et al., "DiCE", 2018, arXiv:1802.05098.
    """
    if jnp.shape(costs) != jnp.shape(log_probabilities) or not jnp.shape(costs) or jnp.shape(costs)[0] < 2:
        raise ValueError(
            "costs and log_probabilities must have the same shape [K, ...] with K of at least 2 choices; shapes "
            f"{jnp.shape(costs)} and {jnp.shape(log_probabilities)} were given."
        )
    known = jax.lax.stop_gradient(costs)
    baseline = (jnp.sum(known, axis=0, keepdims=True) - known) / (len(known) - 1)
    zero = log_probabilities - jax.lax.stop_gradient(log_probabilities)
    return jnp.mean(costs + (known - baseline) * zero)
