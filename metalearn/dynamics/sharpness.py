"""The largest and the most negative curvature of a loss, and the spectral radius of a training step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.dynamics import tangent
from metalearn.inner.checks import check_count
from metalearn.inner.differentiable import BOTH, check_derivative
from metalearn.inner.problem import InnerProblem
from metalearn.types import Key, State, Theta


@brief_help
class Sharpness(NamedTuple):
    """The largest and the smallest eigenvalue of A = P^½ H P^½, with the Hessian H and the learning rates P.

    Attributes:
      largest, smallest: the eigenvalues; with P = 1 the sharpness and the most negative curvature. Gradient descent is
        linearly unstable at a minimum if `largest` is above 2.
      largest_residual, smallest_residual: the residual ‖A u − h u‖ of each. An eigenvalue of A lies within this
        distance of the reported value. If the iteration missed the end of the spectrum, the error of `largest` or
        `smallest` is larger.
    """

    largest: jax.Array
    smallest: jax.Array
    largest_residual: jax.Array
    smallest_residual: jax.Array


@brief_help
class SpectralRadius(NamedTuple):
    """The largest absolute value of the eigenvalues of the Jacobian of a step.

    Attributes:
      radius: max |μ|; a fixed point is unstable if it is above 1.
      residual: ‖J u − μ u‖ of that eigenvalue. The error of μ can be larger, because J is not symmetric.
      real, imaginary: the parts of μ. If μ is near −1, training oscillates with period two; a complex pair rotates.
    """

    radius: jax.Array
    residual: jax.Array
    real: jax.Array
    imaginary: jax.Array


def sharpness(
    loss: Callable[[Theta], jax.Array],
    params: Theta,
    key: Key,
    *,
    learning_rate: Theta = 1.0,
    num_iterations: int = 30,
) -> Sharpness:
    """Return the largest and the smallest eigenvalue of the Hessian times the learning rates.

        A = P^½ H P^½,   H = ∂²ℓ/∂w²,   P = diag(η).

    The eigenvalues h of A are those of P H: a step of gradient descent multiplies an eigenvector by 1 − h. They are
    computed by Lanczos iteration with full orthogonalisation. The function works under `jit` and `vmap`, and can be
    drawn with `ml.landscape.render` as a function of θ.

    Args:
      loss: `params -> scalar`, twice differentiable.
      params: the point at which to compute the Hessian; any pytree of real numbers.
      key: the key of the first direction.
      learning_rate: one positive number, or a pytree that is a prefix of `params` with a number or an array per leaf.
      num_iterations: the number of Hessian-vector products; the residuals show whether they suffice.

    Raises:
      TypeError: `num_iterations` is not a whole number, or `loss` has no second derivatives.
      ValueError: `num_iterations` is below 1, or `learning_rate` does not fit the structure of `params`.

    References:
      Lanczos 1950; Ghorbani, Krishnan & Xiao, An investigation into neural net optimization via Hessian eigenvalue
      density, 2019, arXiv 1901.10159.
    """
    check_count("num_iterations", num_iterations)
    params = trees.strong(params)
    point, unravel = ravel_pytree(params)
    try:
        rates = jax.tree.broadcast(learning_rate, params)
    except ValueError:
        raise ValueError(
            "learning_rate must be one number or a tree with one number for each part of params; "
            f"{jax.tree.structure(learning_rate)} was given for {jax.tree.structure(params)}."
        ) from None
    spread = jax.tree.map(lambda rate, leaf: jnp.broadcast_to(jnp.asarray(rate, leaf.dtype), leaf.shape), rates, params)
    root = jnp.sqrt(ravel_pytree(spread)[0])
    plain = lambda w: loss(unravel(w))
    check_derivative("sharpness", BOTH, lambda w: jax.jvp(jax.grad(plain), (w,), (w,)), plain, point)
    product = jax.linearize(jax.grad(plain), point)[1]
    matrix, last = _krylov(lambda v: root * product(root * v), point, key, num_iterations)
    values, vectors = jnp.linalg.eigh((matrix + matrix.T) / 2)
    residuals = jnp.abs(last * vectors[-1])
    return Sharpness(values[-1], values[0], residuals[-1], residuals[0])


def spectral_radius(
    problem: InnerProblem, state: State, theta: Theta, key: Key, *, num_iterations: int = 30
) -> SpectralRadius:
    """Return the eigenvalue of J = ∂F/∂s with the largest absolute value, by Arnoldi iteration.

    The state includes the momenta of the optimiser, so the stability criterion, radius above 1, holds for every
    optimiser. A radius above 1 at every step does not imply a positive Lyapunov exponent, because the exponent depends
    on products of different Jacobians.

    Args:
      problem: the inner problem.
      state: s, for instance the last state of `ml.unroll`.
      theta: the meta-parameters.
      key: the key of the step, as `ml.unroll` passes it to `problem.step`.
      num_iterations: the number of Jacobian-vector products; at most the number of entries of the state.

    Raises:
      TypeError: `num_iterations` is not a whole number, or the step has no derivative in forward mode with respect to
        the state.
      ValueError: `num_iterations` is below 1, or the state has no floating-point entries.

    References:
      Arnoldi 1951.
    """
    check_count("num_iterations", num_iterations)
    state = trees.strong(state)
    tangent.check_step("spectral_radius", problem, state, theta, key)
    _, push = tangent.step_and_push(problem, state, theta, key)
    vector = tangent.flatten_state(state)
    if not vector.size:
        raise ValueError("The state has no floating-point numbers, so the step has no Jacobian.")
    product = lambda v: push(v[:, None])[:, 0]
    matrix, last = _krylov(product, vector, jax.random.fold_in(key, 2**32 - 1), num_iterations)
    values, vectors = jnp.linalg.eig(matrix)
    first = jnp.argmax(jnp.abs(values))
    residual = jnp.abs(last) * jnp.abs(vectors[-1, first])
    return SpectralRadius(jnp.abs(values[first]), residual, values[first].real, values[first].imag)


def _krylov(product, vector, key, num_iterations):
    """Return A in an orthonormal basis of the Krylov space, `[k, k]`, and the norm of the last remainder.

    If the space is exhausted early, the iteration continues from a new random direction, which avoids spurious
    eigenvalues.
    """
    count, kind = min(num_iterations, vector.size), trees.wide(vector).dtype
    noise = 100 * jnp.finfo(vector.dtype).eps
    draw = lambda index: jax.random.normal(jax.random.fold_in(key, index), vector.shape, kind)
    first = draw(0)
    basis = jnp.zeros((count + 1, vector.size), kind).at[0].set(first / jnp.linalg.norm(first))

    def body(basis, index):
        new = trees.wide(product(basis[index].astype(vector.dtype)))
        along, rest, norm = _orthogonal(new, basis, noise)
        kept = norm > 0
        _, other, other_norm = _orthogonal(draw(index + 1), basis, noise)
        follower = jnp.where(kept, rest, other) / jnp.where(kept, norm, jnp.where(other_norm > 0, other_norm, 1))
        return basis.at[index + 1].set(follower), along.at[index + 1].add(norm)

    matrix = jax.lax.scan(body, basis, jnp.arange(count))[1].T
    return matrix[:count], matrix[count, count - 1]


def _orthogonal(vector, basis, noise):
    """Return the coefficients of a vector in a basis, the orthogonal remainder, and the norm of the remainder.

    A remainder of relative size below `noise` is rounding and is replaced by zero.
    """
    along = basis @ vector
    rest = vector - along @ basis
    again = basis @ rest
    rest = rest - again @ basis
    norm = jnp.linalg.norm(rest)
    kept = ~(norm <= noise * jnp.linalg.norm(vector))
    return along + again, jnp.where(kept, rest, 0), jnp.where(kept, norm, 0)
