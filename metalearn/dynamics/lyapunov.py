"""Lyapunov exponents of training: the rates at which nearby runs separate or converge."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import debugging, trees
from metalearn.dynamics import tangent
from metalearn.dynamics.exponents import Lyapunov
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem
from metalearn.intervals import student
from metalearn.types import Key, Theta

BATCHES = 20
BOUNDED = np.array([-0.2, -0.15, -0.1, -0.05, 0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 100, 300, 1000])  # values of κ


class _Orbit(NamedTuple):
    state: tuple
    basis: jax.Array
    logs: jax.Array
    lost: jax.Array
    counts: jax.Array
    flips: jax.Array
    determinant: jax.Array
    moved: jax.Array
    escape: jax.Array
    broken: jax.Array


def lyapunov(
    problem: InnerProblem,
    theta: Theta,
    key: Key,
    *,
    num_steps: int,
    num_exponents: int = 1,
    transient: int = 0,
    bound: float = 1e8,
) -> Lyapunov:
    """Return finite-time Lyapunov exponents, from Jacobians along an orbit and a QR decomposition at every step.

        s_{t+1} = F(s_t, θ; k_t),   Q_{t+1} R_{t+1} = J_t Q_t,   λ_j = 1/(T − T_0) Σ_{t ≥ T_0} ln |R_jj|,

    with J_t = ∂F/∂s at s_t and a random Q_0. The orbit and its tangents use the same minibatches, so the exponents are
    those of the random map with common noise. Training is not stationary, so they describe the steps over which they
    are averaged. The function works under `jit` and `vmap`; the state may contain integers and keys.

    Args:
      problem: the inner problem.
      theta: the meta-parameters.
      key: the key of the episode; s_0 and the steps are those of `meta_loss`.
      num_steps: T.
      num_exponents: the number of exponents, largest first; at most the number of floating-point entries of the state.
      transient: T_0, the number of first steps, which align Q and are not averaged.
      bound: the largest allowed absolute value of the state's entries; an orbit that exceeds it is frozen.

    Raises:
      TypeError: `num_steps`, `num_exponents` or `transient` is not a whole number, `bound` is not a real number, or the
        step has no derivative in forward mode with respect to the state.
      ValueError: `num_steps` or `num_exponents` is below 1, `transient` is negative or not below `num_steps`,
        `num_exponents` exceeds the number of floating-point entries of the state, or `bound` is not positive.

    References:
      Benettin et al. 1980; Geist, Parlitz & Lauterborn 1990 (their method of QR decomposition at every step).
    """
    check_count("num_steps", num_steps)
    check_count("num_exponents", num_exponents)
    check_count("transient", transient, 0)
    check_number("bound", bound, 0, open_low=True)
    if transient >= num_steps:
        raise ValueError(f"transient must be below num_steps = {num_steps}; {transient} was given.")
    first, steps = tangent.start(problem, theta, key)
    tangent.check_step("lyapunov", problem, first, theta, steps)
    size = len(tangent.flatten_state(first))
    if num_exponents > size:
        raise ValueError(f"num_exponents must be at most {size}, the entries of the state; {num_exponents} was given.")
    counted = num_steps - transient
    batches = min(BATCHES, counted)
    starts = np.array([-(-batch * counted // batches) for batch in range(batches)])  # Python integers

    def body(orbit, index):
        alive, before = orbit.escape < 0, tangent.flatten_state(orbit.state)
        state, push = tangent.step_and_push(problem, orbit.state, theta, jax.random.fold_in(steps, index))
        pushed = trees.wide(push(orbit.basis.astype(before.dtype)))
        basis, sizes = _orthonormal(pushed, orbit.basis)
        batch = jnp.maximum(jnp.sum(index - transient >= starts) - 1, 0)
        counts = (index >= transient).astype(jnp.int32)
        growth = jnp.where(index >= transient, debugging.log(sizes), 0.0)
        flipped = jnp.where(jnp.sum(pushed[:, 0] * orbit.basis[:, 0]) < 0, counts, 0)
        determinant = _log_determinant(push, size, before.dtype) if num_exponents == size else debugging.unknown()
        moved = trees.wide(jnp.max(jnp.abs(tangent.flatten_state(state) - before)))
        lost = tangent.outside(state, bound) | ~jnp.all(debugging.finite(pushed))
        logs, rounding = _add(orbit.logs[batch], orbit.lost[batch], growth)
        new = _Orbit(
            state,
            basis,
            orbit.logs.at[batch].set(logs),
            orbit.lost.at[batch].set(rounding),
            orbit.counts.at[batch].add(counts),
            orbit.flips + flipped,
            orbit.determinant + jnp.where(index >= transient, determinant, 0.0),
            moved,
            orbit.escape,
            orbit.broken,
        )
        kept = tangent.keep_where(alive & ~lost, new, orbit)
        broken = orbit.broken | alive & lost & ~tangent.is_finite(state)
        return kept._replace(escape=jnp.where(alive & lost, index + 1, orbit.escape), broken=broken), None

    begun = _begin(first, jax.random.fold_in(steps, 2**32 - 1), num_exponents, batches, bound)
    return _report(jax.lax.scan(body, begun, jnp.arange(num_steps))[0])


def lyapunov_exponents(
    problem: InnerProblem, theta: Theta, key: Key, *, num_steps: int, num_exponents: int = 1, transient: int = 0
) -> jax.Array:
    """Return the exponents of `lyapunov`, per step, `[num_exponents]`.

    Args:
      problem, theta, key, num_steps, num_exponents, transient: as in `lyapunov`.

    Raises:
      TypeError, ValueError: as for `lyapunov`.
    """
    settings = {"num_steps": num_steps, "num_exponents": num_exponents, "transient": transient}
    return lyapunov(problem, theta, key, **settings).exponents


def _begin(state, key, num_exponents, batches, bound):
    """Return the orbit before its first step, with random tangents."""
    vector = tangent.flatten_state(state)
    kind = trees.wide(vector).dtype  # sums of logarithms and QR use float32 or wider
    basis = jnp.linalg.qr(jax.random.normal(key, (len(vector), num_exponents), kind))[0]
    zero, none = jnp.zeros((), kind), jnp.zeros((), jnp.int32)
    logs, counts = jnp.zeros((batches, num_exponents), kind), jnp.zeros(batches, jnp.int32)
    escape = jnp.where(tangent.outside(state, bound), 0, -1)
    return _Orbit(state, basis, logs, logs, counts, none, zero, zero, escape, ~tangent.is_finite(state))


def _log_determinant(push, size, dtype):
    return jnp.linalg.slogdet(trees.wide(push(jnp.eye(size, dtype=dtype))))[1]


def _add(total, lost, new):
    """Return a compensated sum (Kahan) and its rounding error, because errors of many float32 additions accumulate."""
    new = new - lost
    both = total + new
    return both, jnp.where(jnp.isfinite(both), (both - total) - new, 0)


def _orthonormal(pushed, before):
    """Return Q and |R_jj| of a QR decomposition; a single column that is zero keeps its previous direction."""
    if pushed.shape[1] > 1:
        basis, triangle = jnp.linalg.qr(pushed)
        return basis, jnp.abs(jnp.diagonal(triangle))
    largest = jnp.max(jnp.abs(pushed))
    scale = jnp.where(largest > 0, largest, 1)
    norm = jnp.linalg.norm(pushed / scale)
    return jnp.where(largest > 0, pushed / scale / jnp.where(norm > 0, norm, 1), before), (largest * norm)[None]


def _report(orbit):
    steps = jnp.sum(orbit.counts)
    counted = jnp.maximum(steps, 1).astype(orbit.logs.dtype)
    exponents = jnp.where(steps > 0, jnp.sum(orbit.logs, axis=0) / counted, debugging.unknown())
    errors = _errors(orbit) + jnp.finfo(exponents.dtype).eps * (1 + jnp.abs(exponents))
    lost = jnp.isinf(exponents) & (exponents < 0)
    vector = tangent.flatten_state(orbit.state)
    still = orbit.moved <= 100 * jnp.finfo(vector.dtype).eps * (1 + jnp.max(jnp.abs(vector)))
    escaped = orbit.escape >= 0
    status = jnp.where(jnp.any(lost), 4, jnp.where(escaped, jnp.where(orbit.broken, 3, 2), jnp.where(still, 0, 1)))
    return Lyapunov(
        exponents,
        jnp.where(lost, 0.0, errors),
        orbit.flips.astype(counted.dtype) / counted,
        orbit.determinant / counted,
        status,
        steps,
        orbit.escape,
    )


def _errors(orbit):
    """Return standard errors: by likelihood if all `BATCHES` blocks have steps, else from the spread of the blocks."""
    counts = orbit.counts.astype(orbit.logs.dtype)
    full = (counts > 0)[:, None]
    number = jnp.sum(full, dtype=counts.dtype)
    means = jnp.where(full, orbit.logs / jnp.maximum(counts, 1)[:, None], 0.0)
    spread = jnp.where(full, jnp.square(means - jnp.sum(means, axis=0, keepdims=True) / jnp.maximum(number, 1)), 0.0)
    errors = jnp.sqrt(jnp.sum(spread, axis=0) / jnp.maximum((number - 1) * number, 1))
    errors = jnp.where(number > 1, errors, debugging.unknown(jnp.inf))
    if len(means) < BATCHES:
        return errors * student(len(means) - 1) if len(means) > 1 else errors
    return jnp.where(number == BATCHES, _likely_errors(means) * student(BATCHES - 1), errors)


def _likely_errors(means):
    """Return the standard error of the mean of blocks whose sums are a random walk plus changes of a bounded quantity.

    The covariance of the blocks is q (1 + κ T), where T is tridiagonal with entries 2 and −1. κ is 0 for independent
    blocks, large if the sum is bounded, as for maps conjugate to a map of constant slope, and negative if neighbouring
    blocks are positively correlated. The variance of the mean, q (n + 2κ) / n², is averaged over κ with the restricted
    likelihood. A sine transform diagonalises T.
    """
    count = len(means)
    index = np.arange(1, count + 1)
    sines = np.sqrt(2 / (count + 1)) * np.sin(np.pi * np.outer(index, index) / (count + 1))
    scales = 1 + BOUNDED[:, None] * (2 - 2 * np.cos(np.pi * index / (count + 1)))
    inverse = sines @ (sines / scales[:, :, None])
    sums = inverse.sum(axis=1)
    information = sums.sum(axis=1)
    away = inverse - sums[:, :, None] * sums[:, None, :] / information[:, None, None]
    constant = -0.5 * (np.sum(np.log(scales), axis=1) + np.log(information))
    ratio = (1 + 2 * BOUNDED / count) / (count * (count - 1))
    means = means - jnp.mean(means, axis=0, keepdims=True)
    rest = jnp.einsum("ik,gij,jk->gk", means, jnp.asarray(away, means.dtype), means)
    rest = jnp.maximum(rest, jnp.finfo(means.dtype).tiny)
    share = jax.nn.softmax(constant[:, None] - 0.5 * (count - 1) * jnp.log(rest), axis=0)
    return jnp.sqrt(jnp.sum(share * rest * ratio[:, None], axis=0)).astype(means.dtype)
