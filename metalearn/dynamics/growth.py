"""The growth of the forward meta-gradient: how strongly the state at step t depends on θ."""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.dynamics import tangent
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem, Key, Theta


def gradient_growth(
    problem: InnerProblem,
    theta: Theta,
    key: Key,
    *,
    num_steps: int,
    direction: Theta | None = None,
    bound: float = 1e8,
) -> jax.Array:
    """ln ‖ds_t/dθ‖ for t = 1 … num_steps, as a number even where the derivative itself overflows.

        m_{t+1} = J_t m_t + b_t,   J_t = ∂F/∂s,   b_t = ∂F/∂θ,   m_0 = ds_0/dθ,

    carried as e^a m̂ with m̂ of size one, so that e^700 is 700 here and not infinite. It grows with max(λ_1, 0) per step
    generically, and falls with λ_1 where the fixed point does not depend on θ, as for a learning rate.

    Args:
      problem: the inner problem.
      theta: the meta-parameters, real numbers.
      key: of the episode; s_0 and the steps are those of `meta_loss`.
      num_steps: T.
      direction: a vector of the structure of θ: m is then ds_t/dθ · direction. By default m is the whole Jacobian, in the
        Frobenius norm, at the cost of as many tangents as θ has entries.
      bound: of the size of the state's entries; after an orbit has left it the growth is NaN.

    Returns:
      `[num_steps]`; −∞ while nothing depends on θ.

    Raises:
      TypeError, ValueError: a sentence that names the argument.
    """
    check_count("num_steps", num_steps)
    check_number("bound", bound, 0, open_low=True)
    theta = trees.strong(theta)
    point, unravel = ravel_pytree(theta)
    columns = jnp.eye(len(point), dtype=point.dtype) if direction is None else _column(theta, direction)[:, None]
    _, steps = jax.random.split(key)

    def begin(point):
        state = tangent.start(problem, unravel(point), key).state
        return tangent.vector_of(state), state

    _, push, state = jax.linearize(begin, point, has_aux=True)
    tangents, log_scale = _rescaled(jax.vmap(push, in_axes=1, out_axes=1)(columns), jnp.zeros((), point.dtype))

    def body(carry, index):
        state, tangents, log_scale, alive = carry
        here = jax.random.fold_in(steps, index)
        moved, along_state = tangent.step_and_push(problem, state, theta, here)
        frozen = lambda point: tangent.vector_of(problem.step(state, unravel(point), here))
        along_theta = jax.vmap(jax.linearize(frozen, point)[1], in_axes=1, out_axes=1)(columns)
        sum_of_both = along_state(tangents) + along_theta * jnp.exp(-log_scale)
        new, new_scale = _rescaled(sum_of_both, log_scale)
        alive = alive & ~tangent.outside(moved, bound) & jnp.all(jnp.isfinite(sum_of_both))
        carry = tangent.keep_where(alive, (moved, new, new_scale), (state, tangents, log_scale))
        norm = jnp.log(jnp.linalg.norm(new)) + new_scale
        return (*carry, alive), jnp.where(alive, norm, jnp.nan)

    alive = ~tangent.outside(state, bound)
    return jax.lax.scan(body, (state, tangents, log_scale, alive), jnp.arange(num_steps))[1]


def _rescaled(tangents, log_scale):
    """Tangents of size one and the logarithm taken out; none is taken out that e^−a could not bring back."""
    floor = 0.5 * jnp.log(jnp.finfo(tangents.dtype).tiny)
    largest = jnp.max(jnp.abs(tangents))
    new = jnp.maximum(log_scale + jnp.log(jnp.where(largest > 0, largest, 1)), floor)
    return tangents * jnp.exp(log_scale - new), new


def _column(theta, direction):
    vector, _ = ravel_pytree(trees.strong(direction))
    if jax.tree.structure(direction) != jax.tree.structure(theta) or vector.shape != ravel_pytree(theta)[0].shape:
        raise ValueError("direction must have the structure and shapes of theta.")
    return vector.astype(ravel_pytree(theta)[0].dtype)
