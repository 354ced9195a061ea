"""A world that reacts to a prediction with a discrete choice, and the exact target of each family of estimators.

An agent at x acts if the prediction θ is close enough: a = 1 if θ − x < B, and a = 0 otherwise. The loss of a step is
h a − k θ. The derivative of the choice is zero, so backpropagation returns −k everywhere, although the mean loss
decreases by h where θ passes x + B.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from metalearn.inner.checks import check_count, check_number, is_known
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import as_scalar


class World(NamedTuple):
    """The state: the position of the agent, and its last choice, 0 or 1."""

    position: jax.Array
    action: jax.Array


def performative(
    position: float = 0.0, threshold: float = 1.0, harm: float = 1.0, slope: float = -0.2, *, move: float = 0.0
) -> InnerProblem:
    """Return an agent that reacts to the prediction θ: a_t = [θ − x_t < B], x_{t+1} = x_t + m a_t, ℓ_t = h a_t − k θ.

    With m = 0 and one step this is the single-shot problem, whose smoothed gradient is `performative_gradient`. With
    another m the agent's choices change its later choices, and `performative_targets` returns the mean of each
    estimator. The derivative of the loss is −k everywhere.

    Args:
      position: x_0, the position of the agent at the start.
      threshold: B, the distance below which the agent acts.
      harm: h, the loss of an action.
      slope: k; the loss decreases by k per unit of θ.
      move: m, the distance by which an action moves the agent.

    Returns:
      A problem with θ: scalar, state: `World`.

    Raises:
      TypeError, ValueError: an argument is not one finite number.

    References:
      Perdomo, Zrnic, Mendler-Dünner and Hardt, "Performative prediction", 2020, arXiv:2002.06673.
    """
    _check(position, threshold, harm, slope, move)

    like = lambda value, theta: jnp.asarray(value, as_scalar(theta).dtype)  # a NumPy number would change the dtype

    def choice(theta, place):
        return like(as_scalar(theta) - place < like(threshold, theta), theta)

    def init(theta, key):
        place = jnp.full_like(as_scalar(theta), position)
        return World(place, choice(theta, place))

    def step(state, theta, key):
        action = choice(theta, state.position)
        return World(state.position + like(move, theta) * action, action)

    def loss(state, theta, key):
        return like(harm, theta) * state.action - like(slope, theta) * as_scalar(theta)

    return InnerProblem(init, step, loss)


def performative_gradient(
    theta, sigma, position: float = 0.0, threshold: float = 1.0, harm: float = 1.0, slope: float = -0.2
):
    """Return the smoothed gradient of the single-shot problem: −(h/σ) φ((x + B − θ)/σ) − k, φ the normal density.

    Args:
      theta: θ, a finite number or an array of any shape.
      sigma: σ > 0, the standard deviation of the perturbation of θ.
      position, threshold, harm, slope: as in `performative`.

    Raises:
      TypeError, ValueError: sigma is not one positive number, θ is not an array of finite real numbers, or another
        argument is not one finite number.
    """
    check_number("sigma", sigma, 0, open_low=True)
    _check(position, threshold, harm, slope, 0.0)
    _check_places(theta)
    traced = any(isinstance(one, jax.Array) for one in (theta, sigma, position, threshold, harm, slope))
    library: Any = jnp if traced else np
    with np.errstate(over="ignore", under="ignore"):  # far from the jump the density is 0
        distance = (position + threshold - library.asarray(theta, float if library is np else None)) / sigma
        density = library.exp(-(distance**2) / 2) / (np.sqrt(2 * np.pi) * sigma)
        return -harm * density - slope


def performative_targets(
    theta: float,
    sigma: float,
    horizon: int,
    length: int,
    position: float = 0.0,
    threshold: float = 1.0,
    harm: float = 1.0,
    slope: float = -0.2,
    *,
    move: float = 0.0,
) -> dict[str, float]:
    """Return the exact mean of backprop, truncated ES, PES and NRES over the windows of an episode of `performative`.

    The agent visits only the places x_0 + j m. The number of actions in a window is therefore piecewise constant in θ,
    and its smoothed derivative is a sum of normal densities. NRES, like full ES, uses one perturbation for the whole
    episode. PES draws a new perturbation for every window; its target is the derivative of a recursion for the
    probabilities of all j. Truncated ES starts each window at the position of the unperturbed agent. The targets refer
    to the mean of the losses over the horizon; for their sum, multiply them by `horizon`.

    Args:
      theta: θ, one number that is not exactly at a jump.
      sigma: σ > 0.
      horizon, length: T and W, a divisor of T.
      position, threshold, harm, slope, move: as in `performative`.

    Returns:
      The means by name: "backprop", "truncated ES", "PES", "NRES".

    Raises:
      TypeError, ValueError: an argument is not one finite number, sigma is not positive, or length does not divide
        horizon.
    """
    if not is_known((theta, sigma, position, threshold, harm, slope, move)):
        raise TypeError("performative_targets needs known numbers; it cannot be used inside jit, vmap or grad.")
    check_number("theta", theta)
    check_number("sigma", sigma, 0, open_low=True)
    check_count("horizon", horizon)
    check_count("length", length)
    if horizon % length:
        raise ValueError(f"length must divide horizon; length {length} and horizon {horizon} were given.")
    _check(position, threshold, harm, slope, move)
    theta, sigma, position, threshold, harm, slope, move = map(
        float, (theta, sigma, position, threshold, harm, slope, move)
    )
    agent = lambda j, steps: _levels(position + threshold + move * j, move, steps)
    found = {
        "truncated ES": _truncated(theta, sigma, agent, horizon, length, position + threshold, move),
        "PES": _persistent(theta, sigma, agent, horizon, length),
        "NRES": _mean_actions(theta, sigma, agent(0, horizon))[2],
    }
    return {"backprop": -float(slope)} | {name: float(harm * one / horizon - slope) for name, one in found.items()}


def _check(position, threshold, harm, slope, move) -> None:
    for name, value in (
        ("position", position),
        ("threshold", threshold),
        ("harm", harm),
        ("slope", slope),
        ("move", move),
    ):
        check_number(name, value)


def _check_places(theta) -> None:
    """Check that θ consists of finite real numbers, as far as they are known."""
    try:
        dtype = jnp.result_type(theta) if hasattr(theta, "dtype") else np.asarray(theta).dtype
    except (TypeError, ValueError):
        dtype = np.dtype(object)
    if not (jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)):
        raise TypeError(f"theta must be a real number or an array of real numbers; {theta!r} was given.")
    if is_known(theta) and not np.all(np.isfinite(np.asarray(theta, float))):
        raise ValueError("theta must be finite; it contains NaN or infinity.")


def _count(theta, edge, move, steps):
    """Return the number of actions of an agent that acts if θ < edge; each action moves the edge."""
    count = np.zeros(np.shape(theta), int)
    for _ in range(steps):
        count = count + (theta < edge + move * count)
    return count


def _levels(edge, move, steps):
    """Return the sorted values of θ at which the number of actions may jump, and the numbers between them."""
    points = np.unique(edge + move * np.arange(steps))
    between = np.concatenate([[points[0] - 1], (points[1:] + points[:-1]) / 2, [points[-1] + 1]])
    return points, _count(between, edge, move, steps)


def _mean_actions(theta, sigma, levels):
    """Return the probability of each level at θ + N(0, σ²), its derivative, and the derivative of the mean number."""
    points, counts = levels
    with np.errstate(over="ignore", under="ignore"):
        scaled = (points - theta) / sigma
        density = np.exp(-(scaled**2) / 2) / np.sqrt(2 * np.pi) / sigma
    probability = np.diff(np.concatenate([[0.0], ndtr(scaled), [1.0]]))
    change = np.diff(np.concatenate([[0.0], -density, [0.0]]))
    return probability, change, change @ counts


def _truncated(theta, sigma, agent, horizon, length, edge, move):
    """Return the sum over windows that start at the position of the unperturbed agent."""
    starts = [int(_count(theta, edge, move, steps)) for steps in range(0, horizon, length)]
    return sum(_mean_actions(theta, sigma, agent(j, length))[2] for j in starts)


def _persistent(theta, sigma, agent, horizon, length):
    """Return the derivative of the mean number of actions, from a recursion over the number of actions so far."""
    chance, change = np.zeros(horizon + 1), np.zeros(horizon + 1)
    chance[0], derivative = 1.0, 0.0
    for _ in range(horizon // length):
        chance_after, change_after = np.zeros_like(chance), np.zeros_like(change)
        for j in np.flatnonzero((chance > 0) | (change != 0)):
            levels = agent(j, length)
            counts = levels[1]
            here, slope, mean_slope = _mean_actions(theta, sigma, levels)
            derivative += change[j] * (here @ counts) + chance[j] * mean_slope
            np.add.at(chance_after, j + counts, chance[j] * here)
            np.add.at(change_after, j + counts, change[j] * here + chance[j] * slope)
        chance, change = chance_after, change_after
    return derivative
