"""Random directions through θ-space, scaled to the norms of the weights."""

from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner.checks import check_choice
from metalearn.inner.problem import check_key, check_theta
from metalearn.types import Key, Theta

FLAX = ("kernel",)  # leaves whose last axis is that of the outputs


def random_directions(
    theta: Theta, key: Key, normalise: Literal["filter", "layer", "none"] = "filter", filter_axis: int | None = None
) -> tuple[Theta, Theta]:
    """Return two normal random directions, for `plane_through(theta, x, y, *random_directions(theta, key))`.

    "filter": each filter of a direction has the norm of the same filter of θ, d ← d ‖w‖/‖d‖, so that a step of 1
    changes every filter by its own norm, regardless of the scale of the weights. A filter contains the weights of one
    output of a layer: a row of a matrix (out, in), or an output channel of a convolution. As in the publication, the
    direction is zero for biases and all other vectors and scalars. "layer": the same for whole leaves. "none": normal
    numbers without scaling, also for vectors and scalars.

    Args:
      theta: weights, any pytree.
      key: a typed key.
      normalise: "filter", "layer" or "none".
      filter_axis: the axis of the outputs in every leaf. By default the last one of leaves named "kernel", as in Flax,
        and the first of all others, as in the networks and learned optimisers here.

    Raises:
      TypeError: θ has a leaf that is not floating point, or `key` is not a typed key.
      ValueError: `normalise` is unknown, a leaf has no such axis, or all leaves of θ are vectors or scalars, which
        have no filters.

    References:
      Li, Xu, Taylor, Studer & Goldstein, Visualizing the loss landscape of neural nets, 2018, arXiv 1712.09913.
    """
    check_theta(theta)
    check_key(key)
    check_choice("normalise", normalise, ("filter", "layer", "none"))
    drawn = [trees.normal_like(one, theta) for one in jax.random.split(key)]
    if normalise == "none":
        return drawn[0], drawn[1]
    if not any(jnp.ndim(leaf) > 1 and np.any(leaf) for leaf in jax.tree.leaves(theta)):
        raise ValueError(
            'theta has no matrix with a nonzero weight, and only matrices have filters: use normalise="none", '
            "or your own directions."
        )
    scaled = lambda path, w, d: _scaled(path, w, d, normalise, filter_axis)
    first, second = (jax.tree_util.tree_map_with_path(scaled, theta, one) for one in drawn)
    return first, second


def _scaled(path, weight, direction, normalise, filter_axis):
    """Return the direction of a leaf, scaled to the norms of its weights."""
    if jnp.ndim(weight) < 2:
        return jnp.zeros_like(direction)
    name = jax.tree_util.keystr(path[-1:], simple=True)
    axis = filter_axis if filter_axis is not None else -1 if name in FLAX else 0
    if not -weight.ndim <= axis < weight.ndim:
        raise ValueError(f"filter_axis is {axis}, and {name or 'theta'} has the shape {weight.shape}.")
    within = None if normalise == "layer" else tuple(set(range(weight.ndim)) - {axis % weight.ndim})
    size = lambda leaf: jnp.sqrt(jnp.sum(jnp.square(trees.wide(leaf)), axis=within, keepdims=True))
    return trees.like(direction * (size(weight) / size(direction)), direction)
