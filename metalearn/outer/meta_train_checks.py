"""Checks of the arguments of `meta_train`."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer

from metalearn import trees
from metalearn.estimators import GradientEstimator
from metalearn.estimators.base import check_is_estimator
from metalearn.inner.checks import check_count, is_known
from metalearn.inner.problem import check_key, check_theta
from metalearn.inner.training.optimizer_steps import accepted
from metalearn.outer.history import Snapshot
from metalearn.outer.stopping import as_bytes, as_text, check_takes

Stages = GradientEstimator | Mapping[int, GradientEstimator]
_LONGEST_NAME = 96  # bytes of the name of an estimator in a snapshot


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
        moves, after = update(theta, before, theta, **accepted(update, {"value": value, "grad": theta}))
        return before, after, moves

    try:
        before, after, moves = jax.eval_shape(step, theta, jnp.zeros(()))
    except Exception as error:
        raise TypeError(
            f"optimizer cannot take a step on theta ({type(error).__name__}: {str(error).partition(chr(10))[0]}). Its update is called "
            "with the gradient, its state, theta, value and grad; use an optimiser that needs nothing else, such as optax.adam(0.01)."
        ) from error
    if not trees.alike(before, after) or not trees.alike(theta, moves):
        raise TypeError(
            "optimizer must keep the structure and shapes of its state, and its updates those of theta; this one "
            "changes them."
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
    if progress is not None:
        check_takes("progress", progress, "name", "done", "total")
    if project is not None and not trees.alike(theta, jax.eval_shape(project, theta)):
        raise TypeError("project must return a theta of the same structure and shapes; this one does not.")
    with jax.ensure_compile_time_eval():  # under jit, JAX would otherwise trace computations with known numbers
        finite = not is_known(theta) or bool(trees.all_finite(theta))
    if not finite:
        raise ValueError("theta must be finite at the start of meta-training; it contains NaN or infinity.")


def made_by(estimator: GradientEstimator) -> np.ndarray:
    """Return the name and the windows of an estimator, as bytes of fixed length, for the snapshot with its state."""
    description, estimate = estimator.description, estimator.estimate
    text = f"{getattr(estimate, '__module__', '')}.{getattr(estimate, '__qualname__', 'estimate')}"
    if description is not None:
        windows = description.truncation
        text = f"{description.name} over windows of {windows.length} of {windows.horizon} steps"
    return as_bytes(text, _LONGEST_NAME)


def read_maker(written: Any) -> str:
    """Return the text that `made_by` encoded; "" if it is unknown."""
    return as_text(written) if written is not None and is_known(written) else ""


def check_maker(snapshot: Any, estimator: GradientEstimator) -> None:
    """Check that a snapshot was made by this estimator, if it names one.

    Raises:
      ValueError: the snapshot was made by another estimator, or with other windows.
    """
    before, now = (read_maker(written) for written in (snapshot.made_by, made_by(estimator)))
    if before and before != now:
        raise ValueError(
            f"resume is the snapshot of {before}, and this run uses {now}: their states have the same form but "
            f"different meanings. Resume with the estimator that made the snapshot, or start without resume."
        )


def first_step(snapshot, num_steps, patience=None) -> int:
    """Return the outer step at which a run continues from a snapshot.

    Raises:
      TypeError: `snapshot` is not a `Snapshot`, or it is traced or mapped.
      ValueError: the snapshot has already taken `num_steps` steps, or it ended early, or its θ is not finite.
    """
    if not isinstance(snapshot, Snapshot) or isinstance(snapshot.step, Tracer) or jnp.ndim(snapshot.step):
        raise TypeError(
            "resume must be the snapshot of a history with concrete values; it cannot be mapped or traced. Load a snapshot from a file "
            "with ml.recording.load_snapshot."
        )
    if is_known(snapshot.theta) and not trees.all_finite(snapshot.theta):
        raise ValueError(
            "resume is a snapshot whose theta contains NaN or infinity, so training cannot continue from it. Resume "
            "with an earlier "
            "snapshot, or start without resume."
        )
    first = int(snapshot.step)
    if first >= num_steps:
        raise ValueError(
            f"resume has already taken {first} outer steps, and num_steps={num_steps} includes them; give a larger num_steps."
        )
    if patience is not None and snapshot.best.waited >= patience:
        raise ValueError(
            f"resume ended at outer step {first}: the last {int(snapshot.best.waited)} readings did not improve. "
            f"Use its best.theta, or continue with a patience above {int(snapshot.best.waited)}."
        )
    return first


def check_same(name, before, now) -> None:
    """Check that a part of a snapshot has the structure and shapes that this run needs."""
    if not trees.alike(before, now):
        raise ValueError(
            f"resume is the snapshot of another run: the structure or the shapes of its {name} do not fit these "
            f"arguments. Resume with the arguments of the run that made the snapshot, or start without resume."
        )
