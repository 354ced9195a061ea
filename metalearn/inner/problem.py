"""The inner problem: a map, its start and an observable.

An inner problem iterates the map s ← F(s, θ; ξ). For the training of a network, s holds the parameters and the
optimiser's state; for the logistic map it is one number, and for the Lorenz system three. Estimators, dynamics and
landscapes use only the three functions of an `InnerProblem`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.inner.checks import scalar
from metalearn.types import Key, Scalar, State, Theta


@brief_help
class InnerProblem(NamedTuple):
    """An iterated map s_{t+1} = F(s_t, θ; ξ_t) with an observable ℓ(s_t, θ; ζ_t).

    Attributes:
      init: `(theta, key) -> state`, the state s_0 at the start of an episode; it may depend on θ.
      step: `(state, theta, key) -> state`, the map F. It must keep the structure, shapes and dtypes of the state.
      loss: `(state, theta, key) -> scalar`, the observable ℓ.
      horizon: the number of steps of an episode if the functions are made for a fixed number, as those of `final_loss`.
        Episodes of another length then raise an error. None allows any length. Wrappers that use `_replace` keep it.
      cap: None, or `state -> scalar`, the number that replaces a diverged loss (see `saturate` and `training`).
        Estimators count the particles whose loss is at the cap.

    θ and the state are arbitrary pytrees, and a key is a typed `jax.random.key`. The functions must be pure, and JAX
    must be able to trace them. As under `jax.jit`, a function is traced once and the trace is cached: if a global
    variable or an attribute that it reads changes later, the change has no effect. Pass such numbers in θ, or define
    the functions again.
    """

    init: Callable[[Theta, Key], State]
    step: Callable[[State, Theta, Key], State]
    loss: Callable[[State, Theta, Key], Scalar]
    horizon: int | None = None
    cap: Callable[[State], Scalar | float] | None = None


def split_episode(key: Key) -> tuple[Key, Key]:
    """Split the key of an episode into the key of its start and that of its steps; step t uses fold_in(steps, t).

    Raises:
      TypeError: `key` is not one typed key.
    """
    check_key(key)
    start, steps = jax.random.split(key)
    return start, steps


def take_step(problem: InnerProblem, state: State, theta: Theta, key: Key) -> State:
    """Return F(s, θ; ξ) in the dtypes of s."""
    return trees.like(problem.step(state, theta, key), state)


def check_inner(problem: Any) -> None:
    """Check that `problem` is an `InnerProblem`.

    Raises:
      TypeError: `problem` is not an `InnerProblem`.
    """
    if not isinstance(problem, InnerProblem):
        raise TypeError(f"problem must be an InnerProblem(init, step, loss); {type(problem).__name__} was given.")


def check_horizon(problem: Any, horizon: int) -> None:
    """Check that a problem is made for episodes of `horizon` steps, or for any length.

    Raises:
      TypeError: `problem` is not an `InnerProblem`.
      ValueError: the problem is made for another horizon.
    """
    check_inner(problem)
    if problem.horizon is not None and problem.horizon != horizon:
        raise ValueError(
            f"The problem is made for episodes of {problem.horizon} steps; a horizon of {horizon} was given. Its loss "
            f"contains the number of steps, as that of ml.final_loss(problem, {problem.horizon}) does. Make the "
            f"problem for {horizon} steps, or use a horizon of {problem.horizon}."
        )


def check_theta(theta: Theta) -> None:
    """Check that θ has leaves and that all of them are real floating-point numbers.

    Raises:
      TypeError: a leaf is not an array or number of a real floating-point type.
      ValueError: θ has no leaves.
    """
    leaves = jax.tree_util.tree_flatten_with_path(theta)[0]
    if not leaves:
        raise ValueError(f"theta must have at least one leaf, a floating-point array; {theta!r} was given.")
    for path, leaf in leaves:
        where = jax.tree_util.keystr(path) or "itself"
        try:
            dtype = jnp.result_type(leaf)
        except (TypeError, ValueError):
            raise TypeError(
                f"theta at {where} is a {type(leaf).__name__}; it must be a number or an array of numbers."
            ) from None
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"theta at {where} has dtype {dtype}; every leaf of theta must be real floating point, because the "
                "gradient with respect to it is estimated. Convert it with jnp.asarray(value, jnp.float32) or remove "
                "it from theta."
            )


def check_key(key: Key) -> None:
    """Check that `key` is one typed key.

    Raises:
      TypeError: `key` is not a scalar typed key from `jax.random.key`.
    """
    if not (hasattr(key, "dtype") and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
        raise TypeError(f"key must be a typed key such as jax.random.key(0); {type(key).__name__} was given.")
    if jnp.ndim(key) != 0:
        raise TypeError(
            f"key must be one key; an array of keys of shape {jnp.shape(key)} was given. Map over it with jax.vmap."
        )


def check_problem(problem: InnerProblem, theta: Theta) -> None:
    """Check a problem as `ml.check_problem` does, but without derivatives, by one pass of `jax.eval_shape`.

    Raises:
      TypeError: a function cannot be called as documented, the step changes the structure, a shape or a dtype of the
        state, the loss is not one real scalar, or θ has a leaf that is not floating point.
      ValueError: θ has no leaves.
    """
    check_theta(theta)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = _trace_shape("init", lambda: jax.eval_shape(problem.init, theta, key))
    after = _trace_shape("step", lambda: jax.eval_shape(problem.step, state, theta, key))
    _check_step(state, after)
    loss = _trace_shape("loss", lambda: jax.eval_shape(problem.loss, state, theta, key))
    scalar("The loss of the problem", loss)


_BRANCH = (
    "no `if` may depend on theta or the state; use jnp.where. Optax's schedules contain such an `if` for their steps, "
    "rates or scales; ml.hyperparameters.linear_schedule and the other schedules of ml.hyperparameters accept them "
    "from theta."
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
            f"The step must keep the structure of the state; it was given {jax.tree.structure(before)} and returned "
            f"{jax.tree.structure(after)}."
        )
    for (path, old), new in zip(jax.tree_util.tree_flatten_with_path(before)[0], jax.tree.leaves(after)):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise TypeError(
                f"The step must keep shapes and dtypes; the state's leaf at {jax.tree_util.keystr(path) or 'itself'} "
                f"was {old.dtype}{list(old.shape)} and became {new.dtype}{list(new.shape)}. Convert it in the step."
            )
