"""The forward meta-gradient with its size carried as a logarithm: how strongly s_t, and the meta-loss, depend on θ."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import debugging, trees
from metalearn.dynamics import tangent
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.differentiable import FORWARD, check_derivative
from metalearn.inner.problem import InnerProblem, check_horizon, split_episode, take_step
from metalearn.inner.unroll import meta_loss
from metalearn.types import Key, Theta


class MetaGradient(NamedTuple):
    """∇L(θ) of one episode, whatever its size.

    Attributes:
      loss: L(θ), the mean loss over the episode, as `meta_loss` reads it, and `losses`, `[T]`, whose mean it is.
      log_length: ln ‖∇L‖; −∞ where it is zero.
      direction: ∇L / ‖∇L‖ in the structure of θ; zero where the gradient is.
      log_growth: ln ‖ds_T/dθ‖ at the end, or where the orbit escaped.
      escape: the first step whose state is outside the bound or not finite, −1 for none. Tangents stop there, and
        losses from there on count as constants.
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
    """What lies ahead of a state: the next one and the loss at this one, and both of their tangents over e^log_scale."""

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
    """ln ‖ds_t/dθ‖ for t = 1 … num_steps, as a number even where the derivative itself overflows.

        m_{t+1} = J_t m_t + b_t,   J_t = ∂F/∂s,   b_t = ∂F/∂θ,   m_0 = ds_0/dθ,

    carried as e^a m̂ with m̂ of size one, so that e^700 is 700 here and not infinite. It grows with max(λ_1, 0) per
    step generically, and falls with λ_1 where the fixed point does not depend on θ, as for a learning rate.

    Args:
      problem: the inner problem.
      theta: the meta-parameters, real numbers.
      key: of the episode; s_0 and the steps are those of `meta_loss`.
      num_steps: T.
      direction: a vector of the structure of θ: m is then ds_t/dθ · direction. By default m is the whole Jacobian, in
        the Frobenius norm, at the cost of as many tangents as θ has entries.
      bound: of the size of the state's entries; after an orbit has left it the growth is NaN.

    Returns:
      `[num_steps]`; −∞ while nothing depends on θ, or by less than the smallest float.

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
    """The exact gradient of the meta-loss by forward mode, as a logarithm and a direction.

        ∇L = (1/T) Σ_t (m_tᵀ ∂ℓ/∂s_t + ∂ℓ/∂θ),   m_t = ds_t/dθ as in `gradient_growth`.

    It is what backpropagation computes where that is finite, and a number where that overflows. A function of θ that
    can be mapped over a plane by `ml.landscape.render`.

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
        counted = tangent.keep_where(index > 0, add(sums, carry, ahead), sums)  # losses are read from s_1 on
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
    """Refuse a problem without derivatives in forward mode, in a sentence."""

    def derivative(theta, key):
        begun, look, _ = _recursion(problem, theta, key, _identity(theta), bound)
        return look(begun, 0)

    plain = functools.partial(meta_loss, problem, horizon=problem.horizon or 2)
    check_derivative(name, FORWARD, derivative, plain, theta, key)


def _recursion(problem, theta, key, columns, bound):
    """The start of m along some columns of θ-space, a look ahead from a state, and the move; escaped orbits keep their m."""
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
    """Tangents of size one and the logarithm taken out; none is taken out that e^−a could not bring back."""
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
