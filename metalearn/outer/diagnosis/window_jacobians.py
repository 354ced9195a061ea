"""The Jacobians of the windows' losses with respect to each window's θ, and what they predict for each estimator."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.inner.differentiable import REVERSE, check_derivative
from metalearn.inner.problem import InnerProblem, check_horizon, split_episode
from metalearn.inner.unroll import Truncation, unroll
from metalearn.types import Key, Theta


@brief_help
class Spectrum(NamedTuple):
    """The gradient of truncated backprop for every truncation length in whole windows; K = n is the full gradient.

    Attributes:
      lengths: K · W inner steps, `[n]`.
      gradients: Σ_t Σ_{τ > t−K} g_{t,τ} / n, `[n, d]`.
      plateau: the shortest truncation length, in inner steps, from which the gradient changes by at most 10 % over at
        least three windows and a doubling of the length; None if there is no plateau.
    """

    lengths: np.ndarray
    gradients: np.ndarray
    plateau: int | None


def window_jacobians(problem: InnerProblem, theta: Theta, truncation: Truncation, key: Key) -> jax.Array:
    """Compute g_{t,τ} = ∂L_t/∂θ_τ: the derivative of the loss of window t with respect to the θ of window τ.

    Each window takes one reverse pass through all windows before it.

    Args:
      problem: the inner problem; it must be differentiable in reverse mode.
      theta: the meta-parameters.
      truncation: n windows.
      key: the random key of the episode.

    Returns:
      `[n, n, d]`; zero for τ > t. The initial state s_0 uses the θ of window 0.
    """
    check_horizon(problem, truncation.horizon)
    point, unravel = ravel_pytree(trees.strong(theta))
    count, length = truncation.num_windows, truncation.length
    first, steps = split_episode(key)

    def losses(copies):
        state = problem.init(unravel(copies[0]), first)

        def window(state, index):
            state, part = unroll(problem, state, unravel(copies[index]), steps, length, start=index * length)
            return state, jnp.mean(part)

        return jax.lax.scan(window, trees.strong(state), jnp.arange(count))[1]

    copies = jnp.broadcast_to(point, (count, len(point)))
    check_derivative("window_jacobians", REVERSE, jax.jacrev(losses), losses, copies)
    return jax.jacrev(losses)(copies)


def predicted_variance(jacobians, noise_period_in_windows: int) -> tuple[float, float]:
    """Predict the squared mean and the variance of one antithetic pair, if the loss is linear in the copies of θ.

        G_{t,j} = Σ_{τ in block j, τ ≤ t} g_{t,τ},   m_ij = Σ_{t: b(t) ≥ max(i,j)} G_{t,j},
        tr Cov of the sum over an episode = d Σ_ij ‖m_ij‖² + Σ_ij m_ij·m_ji.

    The windows of a block share one perturbation. A block has 1 window for persistent ES, and n windows for noise-reuse
    and full ES. If training is chaotic, the loss is linear only over a range much smaller than σ, and the result is an
    upper bound that is far too large.

    Args:
      jacobians: g, `[n, n, d]`, as returned by `window_jacobians`.
      noise_period_in_windows: K / W.

    Returns:
      (‖∇L‖², tr Cov) of the mean over an episode's windows.
    """
    g = np.asarray(jacobians, np.float64)
    count, _, size = g.shape
    block = np.arange(count) // noise_period_in_windows
    blocks = block[-1] + 1
    grouped = np.stack([g[:, block == j].sum(axis=1) for j in range(blocks)], axis=1)  # [t, j, d]
    later = np.stack([grouped[block >= i].sum(axis=0) for i in range(blocks)])  # [i, j, d]: windows in blocks ≥ i
    index = np.maximum.outer(np.arange(blocks), np.arange(blocks))
    m = later[index, np.arange(blocks)[None, :]]
    with np.errstate(over="ignore", invalid="ignore"):
        variance = size * np.sum(m**2) + np.einsum("ijd,jid->", m, m)
        mean = np.einsum("iid->d", m)
        return float(np.sum(mean**2) / count**2), float(variance / count**2)


def truncation_spectrum(jacobians, truncation: Truncation) -> Spectrum:
    """Compute the gradient of truncated backprop for truncations of 1, 2, … n windows from one set of Jacobians.

    A truncation on a plateau is safe. If there is no plateau, no truncation is safe.

    Args:
      jacobians: `[n, n, d]`, as returned by `window_jacobians`.
      truncation: the truncation with which they were computed.
    """
    g = np.asarray(jacobians, np.float64)
    count = g.shape[0]
    lag = np.subtract.outer(np.arange(count), np.arange(count))
    with np.errstate(over="ignore", invalid="ignore"):
        parts = np.stack([g[lag == k].sum(axis=0) for k in range(count)])
        gradients = np.cumsum(parts, axis=0) / count
    return Spectrum(truncation.length * np.arange(1, count + 1), gradients, _plateau(gradients, truncation.length))


def _plateau(gradients, length):
    count = len(gradients)
    for first in range(count):
        reach = max(first + 3, 2 * (first + 1))
        if reach > count or not np.all(np.isfinite(gradients[first:reach])):
            continue
        part = gradients[first:reach] / max(np.abs(gradients[first:reach]).max(), 1e-300)  # squares do not overflow
        size = np.linalg.norm(part[0])
        away = np.linalg.norm(part - part[0], axis=1)
        if size > 0 and np.all(away <= 0.1 * size):
            return (first + 1) * length
    return None
