"""Implicit differentiation: the gradient of the final loss at a fixed point of the inner map."""

import functools
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.interpreters import partial_eval

from metalearn import trees
from metalearn.compilation import jit
from metalearn.estimators.base import Description, GradientEstimator
from metalearn.estimators.devices import kept_estimator
from metalearn.estimators.implicit_solvers import SOLVERS
from metalearn.estimators.memory import residual_bytes, state_bytes
from metalearn.estimators.method import Method
from metalearn.estimators.particles import check_common, from_method
from metalearn.estimators.spectral_radius import estimate_spectral_radius
from metalearn.inner.checks import check_choice, check_count, is_known
from metalearn.inner.derived import final_loss
from metalearn.inner.differentiable import BOTH, REVERSE
from metalearn.inner.divergence import unless_diverged
from metalearn.inner.problem import InnerProblem, take_step
from metalearn.inner.unroll import Truncation


class FixedPoint(NamedTuple):
    """The accuracy of a particle's fixed point and of the solution of its linear system; see `implicit_gradient`."""

    fixed_point_distance: jax.Array
    solve_residual: jax.Array
    spectral_radius: jax.Array
    fraction_unconverged: jax.Array


@kept_estimator
def implicit_gradient(
    problem: InnerProblem,
    truncation: Truncation,
    *,
    solver: str = "neumann",
    num_terms: int = 20,
    num_particles: int = 1,
    chunk_size: int | None = None,
) -> GradientEstimator:
    """Return an estimator of the gradient of the final loss that assumes the last state to be a fixed point of the map.

        g = ∂ℓ/∂θ + ∂ℓ/∂s (I − ∂F/∂s)⁻¹ ∂F/∂θ   at s = s_T,

    the total derivative of ℓ(s*(θ), θ) where s* = F(s*, θ) and s_T = s*. The final loss is ℓ(s_T, θ; k) with an
    evaluation key k, as in `final_loss`; the problem itself is given, not `final_loss` of it. The start and the path to
    the fixed point have no influence. The gradient is exact if training has converged and the linear system is solved,
    and its variance is only that of k. It is wrong if training has not converged: g is then not the gradient of any
    loss. With windows shorter than the horizon, every window uses its own last state as the fixed point.

    The system (I − ∂F/∂s)ᵀ v = (∂ℓ/∂s)ᵀ is solved with products by ∂F/∂s alone:

    * "neumann": v = Σ_{k<K} (∂F/∂sᵀ)^k ∂ℓ/∂sᵀ. K terms are backpropagation through the last K steps at the fixed point.
      The error falls like ρ^K, where ρ is the spectral radius of ∂F/∂s.
    * "cg": conjugate gradients on the normal equations, K iterations; exact for K at least the size of the state.
    * "gmres": K directions of `jax.scipy.sparse.linalg.gmres`.
    * "nystrom": the normal matrix is replaced by its Nyström approximation from K random columns, and by its
      pseudo-inverse; exact for K at least the size of the state. The published method adds a multiple of the identity.

    Four metrics are added. They are means over the particles:
      `fixed_point_distance`: ‖F(s_T) − s_T‖.
      `solve_residual`: the residual of the linear system over ‖∂ℓ/∂s‖.
      `spectral_radius`: an estimate of ρ from 24 products (`estimate_spectral_radius`).
      `fraction_unconverged`: the fraction of the particles whose ‖F(s_T) − s_T‖ is above √u (1 + ‖s_T‖), with u the
        rounding unit of the state, or whose ρ is not below 1. If it is not zero, a warning is issued.

    Args:
      problem: the inner problem. Its state must consist of floating-point numbers, and its step must not depend on its
        key. The step must be differentiable in reverse mode, for "cg" and "nystrom" in both modes.
      truncation: horizon and window.
      solver: "neumann", "cg", "gmres" or "nystrom".
      num_terms: K, the number of terms, iterations, directions or columns.
      num_particles: independent episodes to average; one, unless the start or the loss is random.
      chunk_size: particles advanced together; by default as many as fit the cache.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, or `num_terms`, `num_particles`
        or `chunk_size` is not a whole number. `init` raises it if the state has leaves that are not floating point.
      ValueError: `problem` is made for a number of steps, such as `final_loss`, `solver` is another name, or a count is
        below 1. `init` raises it if the step is random.

    References:
      Lorraine, Vicol, Duvenaud 2020, Optimizing millions of hyperparameters by implicit differentiation (arXiv
      1911.02590); Shaban, Cheng, Hatch, Boots 2019 (arXiv 1810.10667) for truncation; Hataya & Yamada 2023, Nyström
      method for accurate and scalable implicit differentiation (arXiv 2302.09726).
    """
    check_common(problem, truncation, chunk_size)
    check_choice("solver", solver, SOLVERS)
    check_count("num_terms", num_terms)
    check_count("num_particles", num_particles)
    if problem.horizon is not None:
        raise ValueError(
            f"implicit_gradient uses the last loss of a problem by itself; the problem is made for {problem.horizon} "
            "steps, like ml.final_loss(problem, horizon). Give the problem without ml.final_loss."
        )
    solve = functools.partial(SOLVERS[solver], num_terms=num_terms)

    def start(theta, state):
        return state, FixedPoint(*jnp.zeros(4))

    def window(run, theta, memory, clock, key):
        reading, state = run(theta, memory[0])
        gradient, found = _differentiate(problem, solve, theta, state, key)
        return unless_diverged(reading, gradient), (state, found), reading

    def memory(theta):
        columns = num_terms if solver in ("gmres", "nystrom") else 3
        return num_particles * ((2 + columns) * state_bytes(problem, theta) + residual_bytes(problem, theta))

    derivatives = BOTH if solver in ("cg", "nystrom") else REVERSE
    method = Method(start, window, derivatives=derivatives, check=functools.partial(_check_fixed_point, problem))
    last = final_loss(problem, truncation.horizon)
    about = Description(last, truncation, num_particles, memory, name="the implicit gradient")
    return _reporting(from_method(method, problem, truncation, num_particles, chunk_size, about))


def _differentiate(problem, solve, theta, state, key):
    """Return the gradient at a state, and the metrics."""
    key_step, key_loss, key_solve = jax.random.split(key, 3)
    here, unravel = ravel_pytree(state)
    moved, pull = jax.vjp(lambda s, t: _flat_step(problem, unravel, key_step, s, t), here, theta)
    read = lambda s, t: trees.wide(problem.loss(unravel(s), t, key_loss))
    by_state, direct = jax.grad(read, (0, 1))(here, theta)
    push = lambda v: jax.jvp(lambda s: _flat_step(problem, unravel, key_step, s, theta), (here,), (v,))[1]
    across = lambda v: v - pull(v)[0]  # (I − ∂F/∂s)ᵀ
    solution = solve(across, lambda v: v - push(v), by_state, key_solve)
    gradient = trees.add(trees.wide(direct), trees.wide(pull(solution)[1]))
    distance, radius = (
        jnp.linalg.norm(moved - here),
        estimate_spectral_radius(lambda v: pull(v)[0], by_state, key_solve),
    )
    scale = jnp.linalg.norm(by_state)
    residual = jnp.linalg.norm(across(solution) - by_state) / jnp.where(scale > 0, scale, 1)
    limit = jnp.finfo(here.dtype).eps ** 0.5 * (1 + jnp.linalg.norm(here))
    sound = (distance <= limit) & (radius < 1)
    numbers = (distance, residual, radius, ~sound)
    return gradient, FixedPoint(*(jnp.asarray(one, jnp.result_type(float)) for one in numbers))


def _flat_step(problem, unravel, key, vector, theta):
    return ravel_pytree(take_step(problem, unravel(vector), theta, key))[0]


def _reporting(estimator: GradientEstimator) -> GradientEstimator:
    """Return the estimator with the means of its `FixedPoint`s as metrics, and a warning if there is no fixed point."""

    @functools.partial(jit, name="the implicit gradient")
    def measured(theta, state, key):
        gradient, state, metrics = estimator.estimate(theta, state, key)
        return gradient, state, metrics | {name: jnp.mean(one) for name, one in state.memory[1]._asdict().items()}

    def estimate(theta, state, key):
        gradient, state, metrics = measured(theta, state, key)
        numbers = [metrics[name] for name in FixedPoint._fields]
        if is_known(numbers):
            _warn_unconverged(*numbers)
        else:
            jax.debug.callback(_warn_unconverged, *numbers)
        return gradient, state, metrics

    return estimator._replace(estimate=estimate)


def _warn_unconverged(distance, residual, radius, share) -> None:
    if share > 0:
        warnings.warn(
            "implicit_gradient: the last state is not a fixed point of a contracting map, so the gradient is not "
            f"that of the final loss; one more step moves it by {float(distance):.2g}, and the spectral radius is about "
            f"{float(radius):.3g}. Use a longer horizon, or ml.backprop of ml.final_loss(problem, horizon).",
            stacklevel=3,
        )


def _check_fixed_point(problem: InnerProblem, theta) -> None:
    """Check that a map may have a fixed point: its state is continuous, and its step is the same for every key."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(problem.init, theta, key)
    other = sorted({str(leaf.dtype) for leaf in jax.tree.leaves(state) if not trees.is_inexact(leaf)})
    if other:
        raise TypeError(
            "implicit_gradient needs a state of floating-point numbers, because a counter or a key has no fixed point; the state "
            f"has leaves of the type {', '.join(other)}. Use ml.backprop of ml.final_loss(problem, horizon)."
        )

    def opened(
        state, theta, key
    ):  # a forward derivative replaces the custom rule of a cap, through which nothing is seen
        zeros = jax.tree.map(jnp.zeros_like, (state, theta))
        return jax.jvp(lambda state, theta: problem.step(state, theta, key), (state, theta), zeros)[0]

    program = jax.make_jaxpr(opened)(state, theta, key).jaxpr
    _, used = partial_eval.dce_jaxpr(program, [True] * len(program.outvars))
    if used[-1]:
        raise ValueError(
            "implicit_gradient needs a step that is the same for every key, because a random map has no fixed point; this step "
            "draws random numbers, such as a minibatch. Train on all data, or use ml.backprop of ml.final_loss(problem, horizon)."
        )
