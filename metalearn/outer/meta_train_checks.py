"""Checks of the arguments of `meta_train`."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from metalearn import trees
from metalearn.estimators import GradientEstimator
from metalearn.estimators.base import check_is_estimator
from metalearn.inner.checks import check_count, is_known
from metalearn.inner.problem import check_key, check_theta

Stages = GradientEstimator | Mapping[int, GradientEstimator]


def check_stages(estimator, optimizer, theta, key, num_steps, chunk_length) -> dict[int, GradientEstimator]:
    """Check the arguments of `meta_train`, and return the schedule of estimators.

    Raises:
      TypeError: `estimator` is not a `GradientEstimator` or a mapping to such, `optimizer` is not an optax
        transformation or cannot take a step on θ, θ has a leaf that is not floating point, `key` is not a typed key, or
        a count is not a whole number.
      ValueError: a schedule does not begin at outer step 0, θ is empty, or a count is below 1.
    """
    check_theta(theta)
    check_key(key)
    check_count("num_steps", num_steps)
    if chunk_length is not None:
        check_count("chunk_length", chunk_length)
    if not (hasattr(optimizer, "init") and hasattr(optimizer, "update")):
        raise TypeError(f"optimizer must be an optax transformation such as optax.adam(0.01); {optimizer!r} was given.")
    _check_update(optimizer, theta)
    stages = dict(estimator) if isinstance(estimator, Mapping) else {0: estimator}
    for start, stage in stages.items():
        check_count("Every first step of a stage", start, 0)
        check_is_estimator("estimator", stage)
    if 0 not in stages:
        raise ValueError(f"A schedule of estimators must begin at outer step 0; its stages begin at {sorted(stages)}.")
    return stages


def _check_update(optimizer, theta) -> None:
    """Check that an outer optimiser can take a step on θ and keeps the structure and shapes of its state."""

    def step(theta, value):
        before = optimizer.init(theta)
        update = optax.with_extra_args_support(optimizer).update
        moves, after = update(theta, before, theta, value=value, grad=theta)
        return before, after, optax.apply_updates(theta, moves)

    try:
        before, after, moved = jax.eval_shape(step, theta, jnp.zeros(()))
    except Exception as error:
        raise TypeError(
            f"optimizer cannot take a step on theta ({type(error).__name__}: {str(error).partition(chr(10))[0]}). Its update is called "
            "with the gradient, its state, theta, value and grad; use an optimiser that needs nothing else, such as optax.adam(0.01)."
        ) from error
    if not trees.alike(before, after) or not trees.alike(theta, moved):
        raise TypeError(
            "optimizer must keep the structure and shapes of its state and of theta; this one changes them."
        )


def check_functions(theta, project, callback, progress) -> None:
    """Check that the optional arguments are functions, that `project` keeps the form of θ, and that θ is finite.

    Raises:
      TypeError: an argument is not a function, or `project` changes the structure or the shapes of θ.
      ValueError: θ is not finite.
    """
    for name, given in (("project", project), ("callback", callback), ("progress", progress)):
        if given is not None and not callable(given):
            raise TypeError(f"{name} must be a function; {given!r} was given.")
    if project is not None and not trees.alike(theta, jax.eval_shape(project, theta)):
        raise TypeError("project must return a theta of the same structure and shapes; this one does not.")
    with jax.ensure_compile_time_eval():  # under jit, JAX would otherwise trace what is computed from known numbers
        finite = not is_known(theta) or bool(trees.all_finite(theta))
    if not finite:
        raise ValueError("theta must be finite at the start of meta-training; it contains NaN or infinity.")
