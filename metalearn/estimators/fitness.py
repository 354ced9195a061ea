"""Fitness shaping: losses of all pairs are replaced by their ranks or by numbers of unit variance. It adds a bias."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn.inner.checks import check_choice
from metalearn.inner.divergence import Reading

FITNESS = ("raw", "ranks", "normalised")


class Fitness(NamedTuple):
    """How a method of evolution strategies reads the losses of a window.

    Attributes:
      read: `losses -> losses`, used in the window of one particle. With shaping, the difference of a pair is then 1.
      finish: `(gradients, readings) -> gradients` of all particles, for `Method.finish`.
    """

    read: Callable[[jax.Array], jax.Array]
    finish: Callable[[Any, Reading], Any]


def choose_fitness(fitness: str) -> Fitness:
    """Return the reading of the losses: "raw", or "ranks" or "normalised" over all members of all pairs.

    Raises:
      ValueError: the name is unknown.
    """
    check_choice("fitness", fitness, FITNESS)
    if fitness == "raw":
        return Fitness(lambda losses: losses, lambda gradients, readings: gradients)
    shape = {"ranks": centred_ranks, "normalised": normalised}[fitness]

    def finish(gradients, readings):
        shaped = shape(readings.loss)
        weights = shaped[:, 0] - shaped[:, 1] if shaped.ndim == 2 else shaped
        return jax.tree.map(
            lambda leaf: weights.reshape(-1, *[1] * (leaf.ndim - 1)).astype(leaf.dtype) * leaf, gradients
        )

    return Fitness(
        lambda losses: jnp.ones_like(losses) if losses.ndim == 0 else jnp.array([1, 0], losses.dtype), finish
    )


def centred_ranks(losses: jax.Array) -> jax.Array:
    """Return ranks from −½, the lowest loss, to ½, the highest. Equal losses have their mean rank."""
    numbers = losses.ravel()
    places = jnp.sort(numbers)
    rank = (jnp.searchsorted(places, numbers) + jnp.searchsorted(places, numbers, side="right") - 1) / 2
    return (rank / max(numbers.size - 1, 1) - (numbers.size > 1) / 2).reshape(losses.shape)


def normalised(losses: jax.Array) -> jax.Array:
    """Return (ℓ − mean)/standard deviation; zeros if all losses are equal."""
    above = losses - jnp.min(losses)  # equal losses give zeros, and a large common part adds no rounding errors
    largest = jnp.max(above)
    scaled = above / jnp.where(largest > 0, largest, 1)  # so that squares do not overflow
    spread = jnp.std(scaled)
    return (scaled - jnp.mean(scaled)) / jnp.where(spread > 0, spread, 1)
