"""The spectral radius of a linear map that is known by its products alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metalearn.types import Key

POWERS, DIRECTIONS, SQUARES = 12, 12, 20


def estimate_spectral_radius(product: Callable[[jax.Array], jax.Array], like: jax.Array, key: Key) -> jax.Array:
    """Return the largest modulus of an eigenvalue, from 12 steps of a power iteration and 12 directions of Arnoldi.

    A power iteration alone has no limit if the largest eigenvalues are a complex pair. The Hessenberg matrix H of
    the directions that follow contains the pair. Its spectral radius is the limit of ‖H^n‖^(1/n), at n = 2²⁰. It is
    exact if the directions span the space of the dominant eigenvectors, and otherwise an estimate.

    Args:
      product: `v -> A v` for vectors.
      like: a vector of the size and the precision of v.
      key: the key of the random vector at the start.
    """
    vector = jax.random.normal(key, like.shape, like.dtype)
    vector = jax.lax.fori_loop(0, POWERS, lambda _, v: product(_unit(v)), vector)
    size = min(DIRECTIONS, like.size)
    basis = jnp.zeros((size + 1, like.size), like.dtype).at[0].set(_unit(vector))

    def extend(index, carry):
        basis, matrix = carry
        moved = product(basis[index])
        first = basis @ moved
        rest = moved - first @ basis
        second = basis @ rest  # again, so that rounding leaves no component
        rest = rest - second @ basis
        length = jnp.linalg.norm(rest)
        length = jnp.where(length > 10 * jnp.finfo(like.dtype).eps * jnp.linalg.norm(moved), length, 0)
        basis = basis.at[index + 1].set(jnp.where(length > 0, rest / jnp.where(length > 0, length, 1), 0))
        return basis, matrix.at[:, index].set(first + second).at[index + 1, index].set(length)

    _, matrix = jax.lax.fori_loop(0, size, extend, (basis, jnp.zeros((size + 1, size), like.dtype)))
    return _gelfand(matrix[:size])


def _gelfand(matrix):
    """Return ‖H^n‖^(1/n) by repeated squares."""

    def square(index, carry):
        power, logarithm = carry
        unit = _unit(power)
        return unit @ unit, logarithm + jnp.log(jnp.linalg.norm(power)) / 2.0**index

    return jnp.exp(jax.lax.fori_loop(0, SQUARES, square, (matrix, jnp.zeros((), matrix.dtype)))[1])


def _unit(array):
    length = jnp.linalg.norm(array)
    return array / jnp.where(length > 0, length, 1)
