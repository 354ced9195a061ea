"""The growth of ds_t/dθ and the meta-gradient in forward mode, with the logarithm of the size kept separately."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import debugging, trees
from metalearn.brief import brief_help
from metalearn.dynamics import tangent
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.differentiable import FORWARD, check_derivative
from metalearn.inner.problem import InnerProblem, check_horizon, split_episode, take_step
from metalearn.inner.unroll import meta_loss
from metalearn.types import Key, Theta


@brief_help
class MetaGradient(NamedTuple):
    """The gradient ∇L(θ) of one episode as a logarithm and a direction, which cannot overflow.

    Attributes:
      loss: L(θ), the mean of `losses`, as in `meta_loss`.
      losses: the loss after each step, `[T]`.
      log_length: ln ‖∇L‖; −∞ if the gradient is zero.
      direction: ∇L / ‖∇L‖ in the structure of θ; zero if the gradient is zero.
      log_growth: ln ‖ds_T/dθ‖ at the end, or just before the escape of the orbit.
      escape: the index of the first state that exceeds the bound or is not finite, or whose tangents are not finite;
        −1 if there is none. Tangents are not updated and losses do not contribute to the gradient from there on.
    """

    loss: jax.Array
    losses: jax.Array
    log_length: jax.Array
    direction: Theta
    log_growth: jax.Array
    escape: jax.Array


class _Carry(NamedTuple):
    state: tangent.State
    tangents: jax.Array
    log_scale: jax.Array
    escape: jax.Array
    step: jax.Array


class _Ahead(NamedTuple):
    """The next state, the loss at the present state, and the tangents of both divided by e^log_scale."""

    state: tangent.State
    tangents: jax.Array
    loss: jax.Array
    slopes: jax.Array


def gradient_growth(
    problem: InnerProblem,
    theta: Theta,
    key: Key,
    *,
    num_steps: int,
    direction: Theta | None = None,
    bound: float = 1e8,
) -> jax.Array:
    """Return ln ‖ds_t/dθ‖ for t = 1 … num_steps, also where the derivative itself would overflow.

        m_{t+1} = J_t m_t + b_t,   J_t = ∂F/∂s,   b_t = ∂F/∂θ,   m_0 = ds_0/dθ.

    m is stored as e^a m̂ with m̂ of size one, so that e^700 does not overflow. Generically the logarithm grows by
    max(λ_1, 0) per step. It decreases at the rate λ_1 if the fixed point does not depend on θ, as for a learning rate.

    Args:
      problem: the inner problem.
      theta: the meta-parameters, real numbers.
      key: the key of the episode; s_0 and the steps are those of `meta_loss`.
      num_steps: T.
      direction: a vector with the structure of θ; m is then ds_t/dθ · direction. By default m is the whole Jacobian in
        the Frobenius norm, which needs as many tangents as θ has entries.
      bound: the largest allowed absolute value of the state's entries; after the orbit exceeds it the growth is NaN.

    Returns:
      An array `[num_steps]`. Entries are −∞ if the state does not depend on θ, or if the derivative underflows.

    Raises:
      TypeError: `num_steps` is not a whole number, `bound` is not a real number, or the map or the loss has no
        derivative in forward mode.
      ValueError: `num_steps` is below 1, `bound` is not positive, or `direction` does not have the structure and shapes
        of θ.
    """
    check_count("num_steps", num_steps)
    check_number("bound", bound, 0, open_low=True)
    theta = trees.strong(theta)
    _check("gradient_growth", problem, theta, key, bound)
    columns = _identity(theta) if direction is None else _column(theta, direction)
    begun, look, move = _recursion(problem, theta, key, columns, bound)

    def body(carry, index):
        carry = move(carry, look(carry, index))
        return carry, jnp.where(carry.escape < 0, _log_norm(carry), jnp.nan)

    return jax.lax.scan(body, begun, jnp.arange(num_steps))[1]


def meta_gradient(problem: InnerProblem, theta: Theta, key: Key, *, num_steps: int, bound: float = 1e8) -> MetaGradient:
    """Return the exact gradient of the meta-loss by forward mode, as a logarithm and a direction.

        ∇L = (1/T) Σ_t (m_tᵀ ∂ℓ/∂s_t + ∂ℓ/∂θ),   m_t = ds_t/dθ as in `gradient_growth`.

    The result equals that of backpropagation, and remains known where backpropagation overflows. As a function of θ it
    can be drawn on a plane with `ml.landscape.render`.

    Args:
      problem, theta, key, num_steps, bound: as in `gradient_growth`.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `num_steps` is not a whole number, `bound` is not a real number, or
        the map or the loss has no derivative in forward mode.
      ValueError: `num_steps` is below 1, `bound` is not positive, or `problem` is made for another horizon.
    """
    check_count("num_steps", num_steps)
    check_number("bound", bound, 0, open_low=True)
    check_horizon(problem, num_steps)
    theta = trees.strong(theta)
    _check("meta_gradient", problem, theta, key, bound)
    point, unravel = ravel_pytree(theta)
    begun, look, move = _recursion(problem, theta, key, _identity(theta), bound)

    def add(sums, carry, ahead):
        gradient, scale = sums
        new_scale = jnp.maximum(scale, carry.log_scale)
        new = gradient * jnp.exp(scale - new_scale) + ahead.slopes * jnp.exp(carry.log_scale - new_scale)
        found = _rescaled(new.astype(gradient.dtype), new_scale.astype(scale.dtype))
        return tangent.keep_where(carry.escape < 0, found, (gradient, scale))

    def body(both, index):
        carry, sums = both
        ahead = look(carry, index)
        counted = tangent.keep_where(index > 0, add(sums, carry, ahead), sums)  # the first loss is that of s_1
        return (move(carry, ahead), counted), ahead.loss

    sums = (jnp.zeros_like(trees.wide(point)), begun.log_scale)
    (carry, sums), losses = jax.lax.scan(body, (begun, sums), jnp.arange(num_steps))
    last = look(carry, num_steps)
    gradient, scale = add(sums, carry, last)
    losses = jnp.append(losses[1:], last.loss)
    length = jnp.linalg.norm(gradient)
    return MetaGradient(
        loss=jnp.mean(losses),
        losses=losses,
        log_length=debugging.log(length) + scale - jnp.log(jnp.asarray(num_steps, trees.wide(point).dtype)),
        direction=unravel((gradient / jnp.where(length > 0, length, 1)).astype(point.dtype)),
        log_growth=_log_norm(carry),
        escape=carry.escape,
    )


def _check(name, problem, theta, key, bound):
    """Check that the problem has derivatives in forward mode."""

    def derivative(theta, key):
        begun, look, _ = _recursion(problem, theta, key, _identity(theta), bound)
        return look(begun, 0)

    plain = functools.partial(meta_loss, problem, horizon=problem.horizon or 2)
    check_derivative(name, FORWARD, derivative, plain, theta, key)


def _recursion(problem, theta, key, columns, bound):
    """Return the first carry, the function that computes a step, and the function that takes it.

    `columns` are directions in θ-space. An orbit that escapes keeps the tangents that it had before.
    """
    point, unravel = ravel_pytree(theta)
    _, steps = split_episode(key)

    def begin(point):
        state = tangent.start(problem, unravel(point), key).state
        return tangent.flatten_state(state), state

    def look(carry, index):
        here = jax.random.fold_in(steps, index)
        inexact, rest = trees.split_inexact(carry.state)
        vector, restore = ravel_pytree(inexact)

        def both(vector, point):
            state, theta = trees.merge_inexact(restore(vector), rest), unravel(point)
            moved = take_step(problem, state, theta, here)
            loss = problem.loss(state, theta, here).astype(trees.wide(point).dtype)
            return (tangent.flatten_state(moved), loss), (moved, loss)

        _, push, (moved, loss) = jax.linearize(both, vector, point, has_aux=True)
        push = jax.vmap(push, in_axes=1, out_axes=-1)
        tangents, slopes = push(carry.tangents, (columns * jnp.exp(-carry.log_scale)).astype(columns.dtype))
        return _Ahead(moved, tangents, loss, trees.wide(slopes))

    def move(carry, ahead):
        lost = tangent.outside(ahead.state, bound) | ~jnp.all(debugging.finite(ahead.tangents))
        escape = jnp.where((carry.escape < 0) & lost, carry.step + 1, carry.escape)
        rescaled = _rescaled(ahead.tangents, carry.log_scale)
        tangents, log_scale = tangent.keep_where(escape < 0, rescaled, (carry.tangents, carry.log_scale))
        return _Carry(ahead.state, tangents, log_scale, escape, carry.step + 1)

    _, push, state = jax.linearize(begin, point, has_aux=True)
    tangents, log_scale = _rescaled(
        jax.vmap(push, in_axes=1, out_axes=1)(columns), jnp.zeros((), trees.wide(point).dtype)
    )
    escape = jnp.where(tangent.outside(state, bound), 0, -1)
    return _Carry(state, tangents, log_scale, escape, jnp.zeros((), escape.dtype)), look, move


def _log_norm(carry):
    return debugging.log(jnp.linalg.norm(trees.wide(carry.tangents))) + carry.log_scale


def _rescaled(tangents, log_scale):
    """Scale tangents to size one and return the log of the scale, bounded below so that its exponential is not lost."""
    floor = 0.5 * jnp.log(jnp.finfo(tangents.dtype).tiny)
    largest = trees.wide(jnp.max(jnp.abs(tangents)))
    new = jnp.maximum(log_scale + jnp.log(jnp.where(largest > 0, largest, 1)), floor)
    return (tangents * jnp.exp(log_scale - new)).astype(tangents.dtype), new.astype(log_scale.dtype)


def _identity(theta):
    point, _ = ravel_pytree(theta)
    return jnp.eye(len(point), dtype=point.dtype)


def _column(theta, direction):
    vector, _ = ravel_pytree(trees.strong(direction))
    if not trees.alike(direction, theta):
        raise ValueError("direction must have the structure and shapes of theta.")
    return vector.astype(ravel_pytree(theta)[0].dtype)[:, None]
