"""The perturbations of evolution strategies: the kinds of directions, and a length for each coordinate of θ."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.inner.checks import check_choice, is_known
from metalearn.types import Key, Theta

DIRECTIONS = ("gaussian", "orthogonal", "sphere", "rademacher")


class Directions(NamedTuple):
    """How a method draws its perturbations ε = σ z, where z has mean zero and the covariance I.

    Attributes:
      draw: `(theta, key, count) -> [count, ...]`, for `Method.draw`, if the directions of the particles depend on one
        another; None if each particle draws its own.
      perturb: `(key, theta) -> ε`, where `key` is the one that a window of the method receives.
      law: `(key, theta) -> z`, for `Description.perturbation`; None if each z alone is N(0, I).
    """

    draw: Callable[[Theta, Key, int], Any] | None
    perturb: Callable[[Any, Theta], Theta]
    law: Callable[[Key, Theta], Theta] | None


def choose_directions(directions: str, sigma: float | Theta) -> Directions:
    """Return how perturbations with these directions and standard deviations are drawn.

    * "gaussian": z ~ N(0, I), independent for all pairs.
    * "orthogonal": each z is N(0, I), and those that are drawn together are orthogonal in blocks of d pairs.
    * "sphere": z is uniform on the sphere of radius √d.
    * "rademacher": every coordinate of z is ±1.

    Raises:
      TypeError, ValueError: `sigma` is not positive and finite (see `check_sigmas`), or `directions` is another name.
    """
    check_sigmas(sigma)
    check_choice("directions", directions, DIRECTIONS)
    if directions == "orthogonal":
        return Directions(draw_orthogonal, lambda drawn, theta: trees.like(stretch(sigma, drawn), theta), None)
    if directions == "gaussian" and is_one_number(sigma):
        return Directions(None, lambda key, theta: trees.normal_like(key, theta, sigma), None)
    law = {"gaussian": draw_normal, "sphere": draw_on_sphere, "rademacher": draw_signs}[directions]
    perturb = lambda key, theta: trees.like(stretch(sigma, law(key, theta)), theta)
    return Directions(None, perturb, None if directions == "gaussian" else law)


def draw_normal(key: Key, theta: Theta) -> Theta:
    """Draw z ~ N(0, I) in the structure of θ, in float32 or wider."""
    return trees.normal_like(key, trees.wide(theta))


def draw_on_sphere(key: Key, theta: Theta) -> Theta:
    """Draw z uniformly on the sphere of radius √d, so that its covariance is I."""
    drawn = draw_normal(key, theta)
    return trees.scale(trees.size(drawn) ** 0.5 / trees.norm(drawn), drawn)


def draw_signs(key: Key, theta: Theta) -> Theta:
    """Draw z with independent coordinates ±1."""
    return jax.tree.map(lambda leaf: jnp.where(leaf < 0, -1, 1).astype(leaf.dtype), draw_normal(key, theta))


def draw_orthogonal(theta: Theta, key: Key, count: int) -> Theta:
    """Draw `count` vectors z, each N(0, I), which are orthogonal to one another in blocks of up to d vectors.

    The Gram-Schmidt vectors of a Gaussian matrix depend on the directions of its columns only. They are therefore
    independent of the columns' lengths, and each of them times the length of its column is N(0, I).
    """
    flat, unravel = ravel_pytree(trees.wide(theta))
    size = min(count, flat.size)
    columns = jax.random.normal(key, (-(-count // size), flat.size, size), flat.dtype)
    basis, triangle = jnp.linalg.qr(columns)
    signs = jnp.sign(jnp.diagonal(triangle, axis1=-2, axis2=-1))  # of a decomposition with a positive diagonal
    vectors = basis * (signs * jnp.linalg.norm(columns, axis=-2))[:, None, :]
    return jax.vmap(unravel)(jnp.swapaxes(vectors, -1, -2).reshape(-1, flat.size)[:count])


def is_one_number(sigma: Any) -> bool:
    """Return whether σ is one number for all coordinates of θ, and not a tree or an array."""
    return jax.tree.structure(sigma).num_nodes == 1 and jnp.shape(sigma) == ()


def known_sigma(sigma: float | Theta) -> Any:
    """Return σ as a value that can be compared and hashed."""
    if is_one_number(sigma):
        return float(sigma)
    return str(jax.tree.structure(sigma)), tuple(tuple(np.ravel(leaf).tolist()) for leaf in jax.tree.leaves(sigma))


def stretch(sigma: float | Theta, tree: Theta) -> Theta:
    """Return σ z, with each leaf in its own dtype."""
    return jax.tree.map(lambda size, leaf: jnp.asarray(size * leaf, leaf.dtype), _leaves_like(sigma, tree), tree)


def over_variance(number: jax.Array, sigma: float | Theta, credit: Theta, count: int) -> Theta:
    """Return ξ · number / (count σ²), in the dtypes of ξ."""
    divide = lambda size, leaf: jnp.asarray(number / (count * trees.wide(size) ** 2) * leaf, leaf.dtype)
    return jax.tree.map(divide, _leaves_like(sigma, credit), credit)


def _leaves_like(sigma, tree):
    return jax.tree.map(lambda leaf: sigma, tree) if is_one_number(sigma) else sigma


def check_sigmas(sigma: float | Theta) -> None:
    """Check that σ is a positive and finite number, or a tree of them. Traced numbers pass.

    Raises:
      TypeError: `sigma` is neither a number nor a tree of numbers.
      ValueError: a number is not positive and finite.
    """
    leaves = jax.tree.leaves(sigma)
    if not leaves or not all(map(_is_numeric, leaves)):
        raise TypeError(
            "sigma must be one number, the standard deviation of the perturbation, or numbers in the structure of "
            f"theta; {sigma!r} was given."
        )
    numbers = [np.asarray(leaf, np.float64) for leaf in leaves if is_known(leaf)]
    if not all(np.all((leaf > 0) & np.isfinite(leaf)) for leaf in numbers):
        raise ValueError(
            "sigma must be positive and finite, the standard deviation of the perturbation in the space of theta; "
            f"{sigma} was given."
        )


def check_sigma_fits(sigma: float | Theta, theta: Theta) -> None:
    """Check that σ is one number, or has the structure of θ with a number or an array like the leaf for each leaf.

    Raises:
      ValueError: `sigma` has another structure or shape.
    """
    shapes = lambda tree: jax.tree.map(jnp.shape, tree)
    fits = lambda: all(
        jnp.shape(size) in ((), jnp.shape(leaf)) for size, leaf in zip(jax.tree.leaves(sigma), jax.tree.leaves(theta))
    )
    if not is_one_number(sigma) and not (jax.tree.structure(sigma) == jax.tree.structure(theta) and fits()):
        raise ValueError(
            "sigma must be one number, or have the structure of theta with one number, or an array of the leaf's shape, "
            f"for each leaf; theta has the shapes {shapes(theta)}, sigma has {shapes(sigma)}."
        )


def _is_numeric(value) -> bool:
    if isinstance(value, bool | str):
        return False
    try:
        kind = value.dtype if isinstance(value, Tracer) else jnp.result_type(value)
    except (TypeError, ValueError):
        return False
    return bool(jnp.issubdtype(kind, jnp.floating) or jnp.issubdtype(kind, jnp.integer))
