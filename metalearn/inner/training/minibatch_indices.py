"""The indices of minibatches: independent draws, or shuffled epochs that need no stored permutation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn.types import Key

ROUNDS = 6
GOLDEN, FACTOR = 0x9E3779B9, 0x85EBCA6B  # odd numbers that spread the bits of a counter
SEED = 2**31  # folded into the key of a start to get the seed of its epochs


class Position(NamedTuple):
    """The position of an episode in its epochs.

    Attributes:
      seed: `[2]`, unsigned, which determines the order of every epoch.
      epoch: the number of whole epochs that were drawn.
      offset: the number of examples that were drawn in this epoch.
    """

    seed: jax.Array
    epoch: jax.Array
    offset: jax.Array


class Shuffled(NamedTuple):
    """The state of a task that draws shuffled epochs.

    Attributes:
      position: the position of the episode in its epochs.
      network_state: the state of the network, or None.
    """

    position: Position
    network_state: Any


def read_network_state(state: Any) -> Any:
    """Return the state of the network in the state of a task."""
    return state.network_state if isinstance(state, Shuffled) else state


def draw_indices(key: Key, size: int, count: jax.Array) -> jax.Array:
    """Draw independent uniform indices below `count`."""
    # randint draws bits twice, which takes half the time of a small step. Here the bias is below count / 2³².
    return (jax.random.bits(key, (size,), jnp.uint32) % count).astype(jnp.int32)


def first_position(key: Key) -> Position:
    """Return the position at the start of an episode."""
    seed = jax.random.bits(jax.random.fold_in(key, SEED), (2,), jnp.uint32)
    return Position(seed, jnp.zeros((), jnp.uint32), jnp.zeros((), jnp.uint32))


def next_indices(position: Position, size: int, count: jax.Array) -> tuple[jax.Array, Position]:
    """Return the next `size` indices of an episode, and the position after them.

    Every epoch is a permutation of 0 … count − 1. A minibatch may contain the end of an epoch and the start of the
    next.
    """
    places = position.offset + jnp.arange(size, dtype=jnp.uint32)
    epochs, places = position.epoch + places // count, places % count
    indices = permute(places, count, _mix(position.seed[0] ^ _mix(position.seed[1] + epochs)))
    drawn = position.offset + jnp.uint32(size)
    after = Position(position.seed, position.epoch + drawn // count, drawn % count)
    return indices.astype(jnp.int32), after


def permute(places: jax.Array, count: jax.Array, seeds: jax.Array) -> jax.Array:
    """Return the images of indices below `count` under permutations of 0 … count − 1 that the seeds determine.

    A Feistel network permutes the cells of a rectangle with at least `count` cells. The permutation is applied again
    until the result is below `count`. This needs a few numbers per index, and no array of `count` numbers.

    Args:
      places: the indices, unsigned integers.
      count: unsigned, at least 1.
      seeds: one unsigned integer for each index.

    References:
      Black & Rogaway, Ciphers with arbitrary finite domains, 2002.
    """
    width = jnp.sqrt(count.astype(jnp.float32)).astype(jnp.uint32) + 1
    height = (count + width - 1) // width
    keys = [_mix(seeds + jnp.uint32(GOLDEN * (number + 1) % 2**32)) for number in range(2 * ROUNDS)]

    def move(carry):
        place, pending = carry
        left, right = place // height, place % height
        for number in range(ROUNDS):
            left = (left + _mix(right * jnp.uint32(FACTOR) + keys[2 * number]) % width) % width
            right = (right + _mix(left * jnp.uint32(FACTOR) + keys[2 * number + 1]) % height) % height
        place = jnp.where(pending, left * height + right, place)
        return place, place >= count

    return jax.lax.while_loop(lambda carry: jnp.any(carry[1]), move, (places, jnp.ones(places.shape, bool)))[0]


def _mix(bits: jax.Array) -> jax.Array:
    """Return a bijection of 32-bit integers whose output bits each depend on all input bits."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
