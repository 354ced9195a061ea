"""Solvers of Aᵀ v = b with A = I − ∂F/∂s, by products with A and Aᵀ alone.

Each is a function `(across, along, right, key, num_terms) -> v`, where `across(v)` is Aᵀ v, `along(v)` is A v and
`right` is b.
"""

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg, gmres


def neumann(across, along, right, key, num_terms):
    """Return Σ_{k<K} (I − Aᵀ)^k b, by Horner's rule: v ← b + (I − Aᵀ) v."""
    return jax.lax.fori_loop(1, num_terms, lambda _, v: right + v - across(v), right)


def conjugate_gradients(across, along, right, key, num_terms):
    """Solve A Aᵀ v = A b."""
    return cg(lambda v: along(across(v)), along(right), tol=_tolerance(right), maxiter=num_terms)[0]


def generalised_minimal_residual(across, along, right, key, num_terms):
    """Minimise ‖Aᵀ v − b‖ over K directions."""
    return gmres(across, right, tol=_tolerance(right), restart=num_terms, maxiter=1)[0]


def nystrom(across, along, right, key, num_terms):
    """Return the pseudo-inverse of C W⁺ Cᵀ times A b, with C random columns of A Aᵀ and W their square part."""
    size = right.size
    places = jax.random.permutation(key, size)[: min(num_terms, size)]
    ends = jnp.zeros((len(places), size), right.dtype).at[jnp.arange(len(places)), places].set(1)
    columns = jax.vmap(lambda v: along(across(v)))(ends)
    values, vectors = jnp.linalg.eigh(columns[:, places])
    kept = values > size * jnp.finfo(right.dtype).eps * jnp.max(values)
    root = vectors * jnp.where(kept, jnp.where(kept, values, 1) ** -0.5, 0)[None]
    basis, lengths, _ = jnp.linalg.svd(columns.T @ root, full_matrices=False)
    kept = lengths > size * jnp.finfo(right.dtype).eps * jnp.max(lengths)
    weights = jnp.where(kept, 1 / jnp.square(jnp.where(kept, lengths, 1)), 0)
    return basis @ (weights * (basis.T @ along(right)))


def _tolerance(right):
    return 10 * float(jnp.finfo(right.dtype).eps)


SOLVERS = {
    "neumann": neumann,
    "cg": conjugate_gradients,
    "gmres": generalised_minimal_residual,
    "nystrom": nystrom,
}
