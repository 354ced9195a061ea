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
from metalearn.inner.checks import scalar
from metalearn.types import Key, Scalar, State, Theta


class InnerProblem(NamedTuple):
    """An iterated map s_{t+1} = F(s_t, θ; ξ_t) with an observable ℓ(s_t, θ; ζ_t).

    Attributes:
      init: `(theta, key) -> state`, the state s_0 at the start of an episode; it may depend on θ.
      step: `(state, theta, key) -> state`, the map F and nothing else. Structure, shapes and dtypes of the state stay
        what they are.
      loss: `(state, theta, key) -> scalar`, the observable ℓ.
      horizon: the number of steps of an episode where the functions are made for one, as those of `final_loss` are; an
        episode of another length is then refused. None where any length will do. Wrappers that use `_replace` keep it.
      cap: None, or `state -> scalar`: the number that a diverged loss reads as, where the problem has one (`saturate`,
        `training`). Estimators count the particles that are at it.

    θ and the state are any pytrees, a key is a typed `jax.random.key`. All three are pure functions that JAX can trace.
    As under `jax.jit`, a function is traced once and remembered: a global variable or an attribute that it reads, and
    that changes later, keeps its first value. Pass such numbers in θ, or define the functions anew.
    """

    init: Callable[[Theta, Key], State]
    step: Callable[[State, Theta, Key], State]
    loss: Callable[[State, Theta, Key], Scalar]
    horizon: int | None = None
    cap: Callable[[State], Scalar | float] | None = None


def split_episode(key: Key) -> tuple[Key, Key]:
    """The key of an episode as that of its start and that of its steps, from which the key of step t is folded."""
    start, steps = jax.random.split(key)
    return start, steps


def take_step(problem: InnerProblem, state: State, theta: Theta, key: Key) -> State:
    """F(s, θ; ξ) in the dtypes of s."""
    return trees.like(problem.step(state, theta, key), state)


def check_inner(problem: Any) -> None:
    """Refuse what is no inner problem.

    Raises:
      TypeError: it is something else.
    """
    if not isinstance(problem, InnerProblem):
        raise TypeError(f"problem must be an InnerProblem(init, step, loss); {type(problem).__name__} was given.")


def check_horizon(problem: Any, horizon: int) -> None:
    """Raise an error where a problem is made for episodes of another length.

    Raises:
      TypeError: `problem` is not an `InnerProblem`.
      ValueError: it is made for another horizon.
    """
    check_inner(problem)
    if problem.horizon is not None and problem.horizon != horizon:
        raise ValueError(
            f"The problem is made for episodes of {problem.horizon} steps, and episodes of {horizon} steps are asked for. Its loss "
            f"contains the number of steps, as that of ml.final_loss(problem, {problem.horizon}) does: make it for {horizon} steps, or "
            f"run episodes of {problem.horizon}."
        )


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
    """The mistakes of `ml.check_problem`, without a look at derivatives: one pass of `jax.eval_shape`.

    Raises:
      TypeError: a function cannot be called as documented, the step changes the structure, a shape or a dtype of the
        state, the loss is not one real scalar, or θ has a leaf that is not floating point.
    """
    check_theta(theta)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = _trace_shape("init", lambda: jax.eval_shape(problem.init, theta, key))
    after = _trace_shape("step", lambda: jax.eval_shape(problem.step, state, theta, key))
    _check_step(state, after)
    loss = _trace_shape("loss", lambda: jax.eval_shape(problem.loss, state, theta, key))
    scalar("The loss of the problem", loss)


_BRANCH = (
    "no `if` may depend on theta or the state; write jnp.where. Optax's schedules ask for their steps, rates or scales: "
    "ml.hyperparameters.linear_schedule and the other schedules beside it take them from theta."
)


def _trace_shape(name: str, trace: Callable[[], Any]) -> Any:
    try:
        return trace()
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        arguments = "(theta, key)" if name == "init" else "(state, theta, key)"
        raise TypeError(
            f"The problem's {name}{arguments} could not be traced with this theta: {type(error).__name__}: "
            + (_BRANCH if isinstance(error, jax.errors.TracerBoolConversionError) else reason)
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
