"""An agent that visits places in a hidden order, next to a guide that may or may not know the order."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem
from metalearn.types import Key, Theta

GUIDES = ("right", "absent", "random", "wrong")
RIGHT, ABSENT, RANDOM, WRONG = range(4)
SEEN = 5  # numbers
MOVES = np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])


class Walk(NamedTuple):
    """The state of an episode.

    Attributes:
      agent, guide: cells, `[2]` whole numbers each.
      places: cells in their hidden order, `[places, 2]`.
      needed, heading: the place that the agent has to visit next, and that the guide walks to.
      kind: the index of the guide's kind in `GUIDES`.
      memory: the state of the agent's network, `[hidden]`.
      reward: the reward of the last step.
      total: the sum of the rewards.
    """

    agent: jax.Array
    guide: jax.Array
    places: jax.Array
    needed: jax.Array
    heading: jax.Array
    kind: jax.Array
    memory: jax.Array
    reward: jax.Array
    total: jax.Array


def guided_walk(
    guides: str | Mapping[str, Any] = "right", *, size: int = 5, places: int = 3, hidden: int = 8, penalty: float = 0.3
) -> InnerProblem:
    """Return an agent with a small recurrent network that visits places in an order unknown to it.

    The world is a grid of `size` × `size` cells. When the agent enters the place that is next in the hidden order, the
    reward is 1 and the following place is next, the first again after the last. When it enters another place, the
    reward is −penalty. Standing still has the reward 0. The loss of a step is −reward. It is piecewise constant in θ,
    so backprop returns a zero gradient.

    A guide starts in the cell of the agent and takes one step at a time. The right guide walks the hidden order. The
    wrong guide walks the same places backwards and leaves out the first, which the agent must visit first. The random
    guide walks at random. The absent guide is invisible.

    The agent sees the direction to the guide (the signs of both differences), whether the guide is present, whether the
    agent itself stands on a place, and its last reward. With these numbers x and the memory m,

        m ← tanh(A x + B m + c),   move ~ softmax(D m + E x).

    Args:
      guides: the kind of the guide, "right", "absent", "random" or "wrong"; or the fraction of episodes with each kind,
        such as {"right": 0.95, "wrong": 0.05}. The fractions may be traced.
      size: the side of the grid.
      places: the number of places.
      hidden: the number of units of the network.
      penalty: the cost of entering a wrong place.

    Returns:
      A problem with θ as `walker_weights` draws it, and state `Walk`.

    Raises:
      TypeError: a count is not a whole number, `penalty` is not a real number, or `guides` is neither a string nor a
        mapping.
      ValueError: `size` or `places` is below 2, the places do not fit the grid, a kind is unknown, `penalty` is
        negative, or the shares are negative or do not sum to 1. The functions of the problem raise it if θ has the
        wrong shapes.
    """
    check_count("size", size, 2)
    check_count("places", places, 2)
    check_count("hidden", hidden)
    check_number("penalty", penalty, 0)
    if places + 1 > size**2:
        raise ValueError(f"places must be fewer than the {size**2} cells of the grid; {places} were given.")
    shares = check_guides(guides)
    wanted = weight_shapes(hidden)

    def init(theta, key):
        _check_weights(theta, wanted)
        cells, kinds = jax.random.split(key)
        drawn = _distinct(cells, size**2, places + 1)
        where = jnp.stack([drawn // size, drawn % size], axis=1).astype(jnp.int32)
        kind = jnp.sum(jax.random.uniform(kinds) >= jnp.cumsum(shares)[:-1]).astype(jnp.int32)
        zero, none = jnp.zeros((), jnp.int32), jnp.zeros(())
        heading = jnp.where(kind == WRONG, places - 1, 0).astype(jnp.int32)
        start = Walk(where[0], where[0], where[1:], zero, heading, kind, jnp.zeros(hidden), none, none)
        return jax.tree.map(jnp.asarray, start)

    def step(state, theta, key):
        seen = _seen(state)
        memory = jnp.tanh(theta["input"] @ seen + theta["recurrent"] @ state.memory + theta["bias"])
        chance, walk = jax.random.split(key)
        scores = theta["output"] @ memory + theta["reflex"] @ seen
        move = jnp.asarray(MOVES, jnp.int32)[jnp.argmax(scores + jax.random.gumbel(chance, scores.shape))]
        agent = jnp.clip(state.agent + move, 0, size - 1)
        on = jnp.all(state.places == agent[None], axis=1)
        entered = jnp.any(on) & jnp.any(agent != state.agent)
        right = entered & on[state.needed]
        reward = jnp.where(right, 1.0, jnp.where(entered, -penalty, 0.0))
        guide, heading = _guided(state, walk, size)
        needed = jnp.where(right, (state.needed + 1) % places, state.needed)
        return state._replace(
            agent=agent, guide=guide, needed=needed, heading=heading, memory=memory, reward=reward,
            total=state.total + reward,
        )  # fmt: skip

    return InnerProblem(init, step, lambda state, theta, key: -state.reward)


def walker_weights(key: Key, hidden: int = 8) -> dict[str, jax.Array]:
    """Draw the weights of an agent, θ of `guided_walk`, from N(0, 1/inputs), and divide those of the moves by 10.

    Args:
      key: the random key.
      hidden: as in `guided_walk`.
    """
    shapes = weight_shapes(hidden)
    keys = dict(zip(shapes, jax.random.split(key, len(shapes))))
    scale = lambda name, shape: (0.1 if name in ("output", "reflex") else 1.0) / shape[-1] ** 0.5
    return {name: scale(name, shape) * jax.random.normal(keys[name], shape) for name, shape in shapes.items()}


def weight_shapes(hidden: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the agent's weights by name."""
    return {
        "input": (hidden, SEEN),
        "recurrent": (hidden, hidden),
        "bias": (hidden,),
        "output": (len(MOVES), hidden),
        "reflex": (len(MOVES), SEEN),
    }


def check_guides(guides: str | Mapping[str, Any]) -> jax.Array:
    """Return the shares of the kinds of guides in the order of `GUIDES`.

    Raises:
      TypeError: `guides` is neither a string nor a mapping to numbers.
      ValueError: a kind is unknown, a share is not in [0, 1], or the shares do not sum to 1.
    """
    if isinstance(guides, str):
        guides = {guides: 1.0}
    if not isinstance(guides, Mapping):
        raise TypeError(f'guides must be a kind such as "right", or shares by kind; {guides!r} was given.')
    for name, share in guides.items():
        if name not in GUIDES:
            raise ValueError(f"Every guide must be one of {', '.join(GUIDES)}; {name!r} was given.")
        check_number(f"The share of the guide {name!r}", share, 0, 1)
    shares = [guides.get(name, 0.0) for name in GUIDES]
    if not any(isinstance(share, Tracer) for share in shares) and abs(float(sum(shares)) - 1) > 1e-6:
        raise ValueError(f"The shares of the guides must sum to 1; they sum to {float(sum(shares)):g}.")
    return jnp.stack([jnp.asarray(share, jnp.float32) for share in shares])


def _check_weights(theta: Theta, wanted: Mapping[str, tuple[int, ...]]) -> None:
    given = (
        {name: jnp.shape(leaf) for name, leaf in theta.items()} if isinstance(theta, Mapping) else type(theta).__name__
    )
    if given != dict(wanted):
        raise ValueError(
            f"theta must be the weights of the agent, arrays of the shapes {dict(wanted)}, as ml.problems.walker_weights "
            f"draws them; {given} was given."
        )


def _distinct(key: Key, count: int, number: int) -> jax.Array:
    """Draw different numbers below `count`, in random order; much faster to compile than a permutation."""
    scores, drawn = jax.random.uniform(key, (count,)), []
    for _ in range(number):
        drawn.append(jnp.argmax(scores))
        scores = scores.at[drawn[-1]].set(-1.0)
    return jnp.stack(drawn).astype(jnp.int32)


def _seen(state: Walk) -> jax.Array:
    """Return the inputs of the agent."""
    there = jnp.where(state.kind == ABSENT, 0.0, 1.0)
    guide = there * jnp.sign(state.guide - state.agent)
    standing = jnp.any(jnp.all(state.places == state.agent[None], axis=1)).astype(jnp.float32)
    return jnp.concatenate([guide, jnp.stack([there, standing, state.reward])]).astype(jnp.float32)


def _guided(state: Walk, key: Key, size: int) -> tuple[jax.Array, jax.Array]:
    """Return the next cell of the guide, and the place that it walks to."""
    places = len(state.places)
    away = state.places[state.heading] - state.guide
    first = jnp.stack([jnp.sign(away[0]), 0 * away[1]])
    along = jnp.where(away[0] != 0, first, jnp.stack([0 * away[0], jnp.sign(away[1])]))
    wander = jnp.asarray(MOVES, jnp.int32)[jax.random.randint(key, (), 1, len(MOVES))]
    guide = jnp.clip(state.guide + jnp.where(state.kind == RANDOM, wander, along), 0, size - 1).astype(jnp.int32)
    arrived = jnp.all(guide == state.places[state.heading])
    backwards = jnp.where(state.heading <= 1, places - 1, state.heading - 1)
    following = jnp.where(state.kind == WRONG, backwards, (state.heading + 1) % places)
    return guide, jnp.where(arrived, following, state.heading).astype(jnp.int32)
