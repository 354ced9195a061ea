"""What is iterated: a map, its start and an observable.

Training is the map s ← F(s, θ; ξ): for a network s holds the parameters and the optimiser's state, for the logistic map
one number, for Lorenz three. Everything above this floor (estimators, dynamics, landscapes) sees only these three
functions.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.inner.checks import check_count, check_number

Theta = Any
State = Any
Key = jax.Array
Scalar = jax.Array


class InnerProblem(NamedTuple):
    """An iterated map s_{t+1} = F(s_t, θ; ξ_t) with an observable ℓ(s_t, θ; ζ_t).

    Attributes:
      init: `(theta, key) -> state`, the state s_0 at the start of an episode; it may depend on θ.
      step: `(state, theta, key) -> state`, the map F and nothing else. Structure, shapes and dtypes of the state stay
        what they are.
      loss: `(state, theta, key) -> scalar`, the observable ℓ.

    θ and the state are any pytrees, a key is a typed `jax.random.key`. All three are pure functions that JAX can trace.
    """

    init: Callable[[Theta, Key], State]
    step: Callable[[State, Theta, Key], State]
    loss: Callable[[State, Theta, Key], Scalar]


def check_inner(problem: Any) -> None:
    """Refuse what is no inner problem.

    Raises:
      TypeError: it is something else.
    """
    if not isinstance(problem, InnerProblem):
        raise TypeError(f"problem must be an InnerProblem(init, step, loss); {type(problem).__name__} was given.")


def check_theta(theta: Theta) -> None:
    """Refuse a θ without numbers, or with leaves that have no gradient.

    Raises:
      TypeError: a leaf is not an array or number of a real floating-point type.
      ValueError: θ has no leaves.
    """
    leaves = jax.tree_util.tree_flatten_with_path(theta)[0]
    if not leaves:
        raise ValueError(
            f"theta has no leaves: {theta!r} was given; give at least one floating-point array to differentiate by."
        )
    for path, leaf in leaves:
        where = jax.tree_util.keystr(path) or "itself"
        try:
            dtype = jnp.result_type(leaf)
        except (TypeError, ValueError):
            raise TypeError(
                f"theta at {where} is a {type(leaf).__name__}, which is no number or array of numbers."
            ) from None
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"theta at {where} has dtype {dtype}; every leaf of theta must be real floating point, because a gradient by it is "
                "estimated. Convert it with jnp.asarray(value, jnp.float32) or keep it out of theta."
            )


def check_key(key: Key) -> None:
    """Refuse everything but one typed key.

    Raises:
      TypeError: `key` is no scalar typed key of `jax.random.key`.
    """
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"key must be a typed key such as jax.random.key(0); {type(key).__name__} was given.")
    if jnp.ndim(key) != 0:
        raise TypeError(
            f"key must be one key; an array of keys of shape {jnp.shape(key)} was given; map over it with jax.vmap."
        )


def check_problem(problem: InnerProblem, theta: Theta) -> None:
    """Trace the three functions once by shape and say in a sentence what does not fit.

    Nothing is computed: one pass of `jax.eval_shape`.

    Raises:
      TypeError: a function cannot be called as documented, the step changes the structure, a shape or a dtype of the
        state, the loss is not one real scalar, or θ has a leaf that is not floating point.
    """
    check_theta(theta)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = _shape_of("init", lambda: jax.eval_shape(problem.init, theta, key))
    after = _shape_of("step", lambda: jax.eval_shape(problem.step, state, theta, key))
    _check_step(state, after)
    loss = _shape_of("loss", lambda: jax.eval_shape(problem.loss, state, theta, key))
    if not hasattr(loss, "shape") or loss.shape != () or not jnp.issubdtype(loss.dtype, jnp.floating):
        given = f"shape {loss.shape} and dtype {loss.dtype}" if hasattr(loss, "shape") else f"a {type(loss).__name__}"
        raise TypeError(
            f"The loss of the problem must be one real floating-point scalar; it returned {given}. Take its mean, or convert it."
        )


def _shape_of(name: str, trace: Callable[[], Any]) -> Any:
    try:
        return trace()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        arguments = "(theta, key)" if name == "init" else "(state, theta, key)"
        raise TypeError(
            f"The problem's {name}{arguments} could not be traced with this theta: {type(error).__name__}: {reason}"
        ) from error


def _check_step(before: State, after: State) -> None:
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise TypeError(
            f"The step must return a state of the structure it was given; it was given {jax.tree.structure(before)} and returned "
            f"{jax.tree.structure(after)}."
        )
    for (path, old), new in zip(jax.tree_util.tree_flatten_with_path(before)[0], jax.tree.leaves(after)):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"The step must keep shapes and dtypes; the state's leaf at {jax.tree_util.keystr(path) or 'itself'} was "
                f"{old.dtype}{list(old.shape)} and became {new.dtype}{list(new.shape)}. Convert it inside the step."
            )


def saturate(problem: InnerProblem, cap: float) -> InnerProblem:
    """Let a diverged loss count as bad rather than as missing: ℓ' = ℓ where ℓ is finite and below `cap`, else `cap`.

    A step that takes an entry of the state beyond the square root of the largest float, or makes it non-finite, is
    refused: the state stays where it was, at the last point that can be represented. Derivatives of saturated losses
    and of refused steps are exactly zero in forward and in reverse mode: a `where` on the loss alone would give
    0·∞ = NaN.

    Args:
      problem: the problem to wrap.
      cap: the largest loss, for instance the loss of a network at initialisation.

    Raises:
      TypeError, ValueError: the cap is not one finite number.
    """
    check_number("cap", cap)
    check_inner(problem)

    def step(state, theta, key):
        def move(state, theta, key):
            moved = problem.step(state, theta, key)
            kept = _representable(state, moved)
            return kept, trees.where(kept, moved, state)

        return _guarded(move)(state, theta, key)

    def loss(state, theta, key):
        def read(state, theta, key):
            value = problem.loss(state, theta, key)
            kept = jnp.isfinite(value) & (value < cap)
            return kept, jnp.where(kept, value, jnp.asarray(cap, value.dtype))

        return _guarded(read)(state, theta, key)

    return InnerProblem(problem.init, step, loss)


def _guarded(function):
    """f, where `function(*arguments) -> (kept, f)`, whose derivative is zero where not `kept`.

    The gate sits on the way in, so that the zero meets no infinite Jacobian in either mode. Without derivatives f is
    computed once.
    """

    @jax.custom_jvp
    def guarded(*arguments):
        return function(*arguments)[1]

    @guarded.defjvp
    def tangent(primals, tangents):
        kept = function(*jax.lax.stop_gradient(primals))[0]
        gate = lambda leaf: (
            leaf if jnp.result_type(leaf) == jax.dtypes.float0 else jnp.where(kept, leaf, jnp.zeros_like(leaf))
        )
        return jax.jvp(lambda *arguments: function(*arguments)[1], primals, jax.tree.map(gate, tangents))

    return guarded


def _representable(before, after):
    """Whether no entry has left the numbers whose squares are finite; one that was outside on purpose may stay there."""

    def sound(old, new):
        limit = jnp.sqrt(jnp.finfo(new.dtype).max).astype(new.dtype)
        watched = jnp.where(jnp.abs(old) <= limit, jnp.abs(new), 0)
        return (
            jnp.max(watched, initial=0) <= limit
        )  # the largest, because it costs a quarter of all(...); NaN stays NaN

    pairs = zip(trees.split_inexact(before)[0], trees.split_inexact(after)[0])
    kept = [sound(old, new) for old, new in pairs]
    return jnp.all(jnp.stack(kept)) if kept else jnp.array(True)


def every(problem: InnerProblem, stride: int) -> InnerProblem:
    """The map of `stride` steps in one, whose loss is read after the last of them: L is then a mean over every stride-th
    step, and costs that many readings less. Its i-th step within a stride draws from fold_in(key, i). Horizons, windows and
    the `inner_steps` of an estimator count strides.

    Raises:
      TypeError, ValueError: the stride is no whole number of at least 1, or the problem no InnerProblem.
    """
    check_count("stride", stride)
    check_inner(problem)

    def step(state, theta, key):
        def body(index, state):
            moved = problem.step(state, theta, jax.random.fold_in(key, index))
            return jax.tree.map(
                lambda old, new: new if trees.is_key(new) else jnp.asarray(new, old.dtype), state, moved
            )

        return jax.lax.fori_loop(0, stride, body, trees.strong(state))

    return problem._replace(step=step)


def final_loss(problem: InnerProblem, horizon: int) -> InnerProblem:
    """The loss at the end of the episode as a mean over its steps: ℓ'_t = T (ℓ_t − ℓ_{t−1}), with ℓ_0 read as zero.

    (1/T) Σ ℓ'_t = ℓ_T, so every estimator, online or not, estimates the gradient of the final loss. All readings of an
    episode use one key, drawn at its start: with fresh evaluation data the differences would not telescope
      (estimators.md §2.9).

    Args:
      problem: the problem whose last loss counts.
      horizon: T, the number of steps of an episode.
    """
    check_count("horizon", horizon)

    def init(theta, key):
        key, evaluation = jax.random.split(key)
        state = problem.init(theta, key)
        reading = jax.eval_shape(problem.loss, state, theta, key)
        zero = jnp.zeros((), reading.dtype)
        return (state, zero, zero, jax.random.key_data(evaluation))

    def step(carry, theta, key):
        state, reading, _, evaluation = carry
        state = problem.step(state, theta, key)
        return (
            state,
            problem.loss(state, theta, jax.random.wrap_key_data(evaluation, impl=jax.random.key_impl(key))),
            reading,
            evaluation,
        )

    def loss(carry, theta, key):
        _, reading, previous, _ = carry
        return horizon * (reading - previous)

    return InnerProblem(init, step, loss)
