"""Guided evolution strategies: perturbations that are longer along surrogate gradients."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.estimators.accumulator import reset_accumulator
from metalearn.estimators.backprop import differentiate_window
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.directions import check_sigma_fits, check_sigmas, stretch
from metalearn.estimators.generalized_persistent_es import pair_gradient, run_pair
from metalearn.estimators.memory import residual_bytes, state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.inner.checks import LARGEST_BATCH, check_choice, check_count, check_number
from metalearn.inner.differentiable import REVERSE
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.types import Key, Theta

FORMS = ("noise_reuse", "persistent", "truncated")
DEPENDENT = 1e-3  # the sine of the angle to the earlier gradients below which a gradient adds no direction


@kept_estimator
def guided_es(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    sigma: float | Theta,
    num_pairs: int,
    alpha: float,
    rank: int,
    surrogate: Callable[[Theta, Key], Any] | None = None,
    form: str = "noise_reuse",
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator by evolution strategies whose perturbations are longer along k surrogate gradients.

        g = ε (L(θ+ε) − L(θ−ε)) / (2σ²),   ε ~ N(0, σ²Σ),   Σ = (α/d) I + ((1−α)/k) U Uᵀ,

    where the columns of U are an orthonormal basis of the surrogates. The trace of Σ is 1. The mean is Σ ∇L, smoothed
    by N(0, σ²Σ): a descent direction, but not ∇L. With α = 1 it is ∇L/d. On linear losses the variance of a pair is
    pᵀΣp + pᵀΣ²p with p = ∇L, which is smallest if the surrogates contain p. This is the published estimator with its
    factor β equal to 1. `compare` measures it against ∇L_σ, so consider its cosine and not its bias.

    In windows it has three forms, and with length == horizon all of them are full guided ES (docs/theory.md §2.12):

    * "noise_reuse": one ε for an episode; the mean over an episode is that of full guided ES.
    * "persistent": a new ε in each window and the accumulator ξ of `persistent_es`, with one U for an episode. The mean
      is Σ times the target of persistent ES for N(0, σ²Σ). A U that changes within an episode would weight the copies
      of θ differently and would depend on the perturbations, so U is kept.
    * "truncated": every window starts at an unperturbed trajectory, as in truncated ES, and may have its own U. The
      mean is Σ times smoothed truncated backpropagation.

    Without `surrogate`, each particle keeps its last k gradients by truncated backpropagation: for "truncated" along
    the unperturbed trajectory, otherwise the means over its pair. Gradients of one episode are used in the next. If
    fewer than k of them are independent, as in the first episode, random directions replace the missing ones.

    Args:
      problem: the inner problem; without `surrogate` it must be differentiable in reverse mode.
      truncation: horizon and window.
      sigma: σ, one number, or the structure of θ with a number or an array of the leaf's shape for each leaf. A tree D
        replaces σΣσ by DΣD, U by a basis of D times the gradients, and the mean by D⁻¹ΣD ∇L.
      num_pairs: number of pairs ±ε; each takes 2·length inner steps (truncated: 3·length) and, without `surrogate`, a
        backward pass.
      alpha: α, from 0 (the surrogates alone) to 1 (no guidance).
      rank: k, the number of surrogate gradients, at most the number of parameters.
      surrogate: `(theta, key) -> gradients`, a list of k gradients in the structure of θ, or one tree of leaves
        `[k, ...]`. It is called by each particle at the start of an episode (truncated: of a window). Its inner steps
        are not counted.
      form: "noise_reuse", "persistent" or "truncated".
      chunk_size: pairs advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, `sigma` or `alpha` is not a
        number, `num_pairs`, `rank` or `chunk_size` is not a whole number, or `surrogate` is not a function.
      ValueError: `problem` is made for another horizon, `sigma` is not positive and finite, `alpha` is outside of 0 …
        1, `form` is another name, or a count is below 1. `init` raises it if `rank` is larger than the number of
        parameters, or `sigma` or the result of `surrogate` does not fit θ.

    References:
      Maheswaranathan, Metz, Tucker, Choi, Sohl-Dickstein 2019, Guided evolutionary strategies: augmenting random search
      with surrogate gradients (arXiv 1806.10230).
    """
    check_common(problem, truncation, chunk_size)
    check_sigmas(sigma)
    check_count("num_pairs", num_pairs, high=LARGEST_BATCH)
    check_count("rank", rank)
    check_number("alpha", alpha, 0, 1)
    check_choice("form", form, FORMS)
    if surrogate is not None and not callable(surrogate):
        raise TypeError(f"surrogate must be a function (theta, key) -> gradients, or None; {surrogate!r} was given.")
    cut = form == "truncated" and truncation.num_windows > 1
    basis, draw = functools.partial(_basis, sigma, rank, surrogate), functools.partial(_draw, sigma, alpha, rank)
    own = surrogate is None
    window = _truncated(basis, draw, sigma, own) if cut else _paired(basis, draw, sigma, own, form == "persistent")

    def start(theta, state):
        still, vectors = (
            jax.tree.map(jnp.zeros_like, theta),
            jnp.zeros((rank, trees.size(theta)), ravel_pytree(trees.wide(theta))[0].dtype),
        )
        return (state, vectors) if cut else (trees.broadcast(state, 2), still, trees.wide(still), vectors, vectors)

    def memory(theta):
        tape = (1 if cut else 2) * truncation.length * residual_bytes(problem, theta) if own else 0
        return num_pairs * (2 * state_bytes(problem, theta) + (2 + 2 * rank) * trees.num_bytes(theta) + tape)

    derivatives = REVERSE if own else None
    check = functools.partial(_check, sigma, rank, surrogate)
    method = Method(start, window, 3 if cut else 2, derivatives, check=check)
    period = truncation.length if form == "persistent" else None
    about = Description(
        problem, truncation, num_pairs, memory, sigma, period, name="guided ES", adapts=own and "perturbations"
    )
    return from_method(method, problem, truncation, num_pairs, chunk_size, about)


def _paired(choose, draw, sigma, own, persistent):
    """Return the window of a pair whose members keep their own states, with one basis for an episode."""

    def window(run, theta, memory, clock, key):
        states, noise, accumulated, basis, recent = memory
        key_basis, key_noise = jax.random.split(key)
        basis = jax.lax.cond(clock == 0, lambda: choose(theta, recent, key_basis), lambda: basis)
        so_far, new = reset_accumulator(clock, accumulated), (clock == 0) | persistent
        noise = trees.where(new, draw(theta, basis, key_noise), noise)
        accumulated = trees.where(new, trees.add(so_far, trees.wide(noise)), so_far)
        if own:
            member = lambda sign, state: differentiate_window(run, trees.add(theta, trees.scale(sign, noise)), state)
            gradients, states, readings = jax.vmap(member)(jnp.array([1.0, -1.0]), states)
            recent = _remember(recent, jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), trees.wide(gradients)))
        else:
            readings, states = run_pair(run, theta, noise, states)
        return pair_gradient(accumulated, readings.loss, sigma), (states, noise, accumulated, basis, recent), readings

    return window


def _truncated(choose, draw, sigma, own):
    """Return the window of a pair that starts at the state of an unperturbed trajectory."""

    def window(run, theta, memory, clock, key):
        state, recent = memory
        key_basis, key_noise = jax.random.split(key)
        noise = draw(theta, choose(theta, recent, key_basis), key_noise)
        readings, _ = run_pair(run, theta, noise, trees.broadcast(state, 2))
        if own:
            gradient, state, _ = differentiate_window(run, theta, state)
            recent = _remember(recent, trees.wide(gradient))
        else:
            state = run(theta, state)[1]
        return pair_gradient(noise, readings.loss, sigma), (state, recent), readings

    return window


def _remember(recent, gradient):
    """Put a gradient before the earlier ones, unless it is not finite."""
    latest = ravel_pytree(gradient)[0].astype(recent.dtype)
    return jnp.where(jnp.all(jnp.isfinite(latest)), jnp.concatenate([latest[None], recent[:-1]]), recent)


def _basis(sigma, rank, surrogate, theta, recent, key):
    """Return the orthonormal rows `[k, d]` that span the surrogates, in the units of σ."""
    key_surrogate, key_random = jax.random.split(key)
    unravel = ravel_pytree(trees.wide(theta))[1]
    rows = jax.vmap(unravel)(recent) if surrogate is None else _stacked(surrogate(theta, key_surrogate), rank, theta)
    in_units = lambda row: ravel_pytree(stretch(sigma, row))[0]
    return orthonormal(jax.vmap(in_units)(trees.wide(rows)).astype(recent.dtype), key_random)


def orthonormal(vectors: jax.Array, key: Key) -> jax.Array:
    """Return k orthonormal rows that span k vectors `[k, d]`; random directions replace vectors that add none."""
    largest = jnp.max(jnp.abs(vectors), axis=1, keepdims=True)
    sound = (largest > 0) & jnp.isfinite(largest)
    unit = jnp.where(sound, vectors / jnp.where(sound, largest, 1), 0)
    unit = unit / jnp.maximum(
        jnp.linalg.norm(unit, axis=1, keepdims=True), 1
    )  # an entry is 1, so the norm is not below
    new = jnp.any(jax.lax.fori_loop(0, len(unit), _orthogonalise, unit) != 0, axis=1)
    rows = jnp.where(new[:, None], unit, jax.random.normal(key, vectors.shape, vectors.dtype))
    return jnp.linalg.qr(rows.T)[0].T


def _orthogonalise(index, rows):
    """Make a row orthonormal to those before it, or zero if it adds no direction to them.

    The triangle of `jnp.linalg.qr` does not show it: after a zero column, its basis has a vector that no column spans.
    """
    before = jnp.where(jnp.arange(len(rows))[:, None] < index, rows, 0)
    remove = lambda row: row - (before @ row) @ before
    rest = remove(remove(rows[index]))  # once more, because the first result contains rounding errors
    length = jnp.linalg.norm(rest)
    return rows.at[index].set(jnp.where(length > DEPENDENT, rest / jnp.maximum(length, DEPENDENT), 0))


def _draw(sigma, alpha, rank, theta, basis, key):
    """Draw ε = σ (√(α/d) z + √((1−α)/k) U w) with normal z and w."""
    key_all, key_few = jax.random.split(key)
    flat, unravel = ravel_pytree(trees.wide(theta))
    everywhere = jax.random.normal(key_all, flat.shape, flat.dtype) * jnp.sqrt(alpha / flat.size)
    along = jax.random.normal(key_few, (rank,), flat.dtype) @ basis * jnp.sqrt((1 - alpha) / rank)
    return trees.like(stretch(sigma, unravel((everywhere + along).astype(flat.dtype))), theta)


def _stacked(gradients, rank, theta):
    """Return the surrogates as one tree of leaves `[k, ...]`; raise an error if they are not k gradients."""
    if any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(gradients)):
        raise TypeError("surrogate(theta, key) must return gradients of real numbers; it returned complex numbers.")
    wide = trees.wide(theta)  # gradients may be integers, such as signs, which σ would round to zero
    if isinstance(gradients, list | tuple) and len(gradients) == rank and all(trees.alike(g, theta) for g in gradients):
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *[trees.like(one, wide) for one in gradients])
    if trees.alike(gradients, jax.eval_shape(lambda: trees.broadcast(theta, rank))):
        return trees.like(gradients, wide)
    raise ValueError(
        f"surrogate(theta, key) must return {rank} gradients, a list of trees like theta, or one tree with leaves of the shapes "
        f"[{rank}, ...]; it returned the shapes {jax.tree.map(jnp.shape, gradients)}."
    )


def _check(sigma, rank, surrogate, theta):
    check_sigma_fits(sigma, theta)
    if rank > trees.size(theta):
        raise ValueError(f"rank must be at most the number of parameters, {trees.size(theta)}; {rank} was given.")
    if surrogate is not None:
        try:
            inspect.signature(surrogate).bind(theta, None)
        except (TypeError, ValueError) as error:
            raise TypeError(f"surrogate must be a function (theta, key) -> gradients: {error}.") from None
        jax.eval_shape(lambda key: _stacked(surrogate(theta, key), rank, theta), jax.random.key(0))
