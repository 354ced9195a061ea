"""Training as an iterated map: a step updates the parameters and the state of the optimiser."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metalearn import trees
from metalearn.inner.checks import check_number, scalar
from metalearn.inner.divergence import capped_loss, capped_step, saturate
from metalearn.inner.problem import InnerProblem
from metalearn.inner.training.optimizers import Optimizer, check_optimizer
from metalearn.inner.training.task import Task
from metalearn.types import Key, Scalar, Theta

FACTOR = 10  # cap in multiples of the first loss, far above the losses of a training run that converges


class TrainingState(NamedTuple):
    """The state of a training run.

    Attributes:
      params: the parameters of the network.
      optimizer_state: the state of the optax transformation.
      cap: the number that replaces the loss if the run diverges, as the bits of an integer. Integers have no tangents,
        so that the cap does not change Jacobians and Lyapunov exponents. None unless the cap is set at the start of the
        episode (`cap="start"`).
    """

    params: Any
    optimizer_state: Any
    cap: Any = None


def training(
    task: Task | Callable[[Theta], Task],
    optimizer: Optimizer,
    meta_loss: Callable[[Any, Key], Scalar] | None = None,
    *,
    cap: float | str | None = "start",
) -> InnerProblem:
    """Return the inner problem of training a task by an optimiser.

        (w, m) ← (w + u, m'),   (u, m') = optimizer(θ)(∇_w loss(w; ξ), m, w)

    w are the parameters, m the state of the optimiser and ξ the key of the step. The observable is the meta-loss, by
    default the loss of the task. Keys are passed to the task unchanged. `unroll` uses one key for the meta-loss at s_t
    and for the step that leaves s_t, so that the default meta-loss and the gradient of the step share a forward pass.

    The optimiser also receives `value`, `grad` and `value_fn`, which line searches, Polyak steps and plateau rules
    need. The parameters and the optimiser's state keep their dtypes, such as bfloat16, also if hyperparameters are
    float32.

    Args:
      task: a `Task`, or a function θ -> `Task` if the loss, the data or the start depends on θ.
      optimizer: a function θ -> `optax.GradientTransformation`; θ must not change the structure of its state.
      meta_loss: `(params, key) -> scalar`, any metric on any data (see `metric_loss`). It need not be differentiable.
      cap: the largest loss, which replaces larger losses and those of diverged runs (see `saturate`). "start", the
        default, is ℓ_0 + 10 max(|ℓ_0|, 1), with ℓ_0 the meta-loss at the start of the episode; it is a constant under
        differentiation. A number is the cap itself. None does not bound the losses. The smoothed meta-loss is then
        infinite even if only one training run in ten thousand diverges, and diverged runs dominate the estimates.

    Raises:
      TypeError: `task` is neither a `Task` nor a function of θ, `optimizer` is not a function of θ, `meta_loss` is not
        a function, or `cap` is not a number, a string or None.
      ValueError: `cap` is not finite, or another string than "start".
    """
    if not isinstance(task, Task) and not callable(task):
        raise TypeError(
            f"task must be a Task, or a function of theta returning one; a {type(task).__name__} was given."
        )
    check_optimizer(optimizer)
    if meta_loss is not None and not callable(meta_loss):
        raise TypeError(
            "meta_loss must be a function (params, key) -> scalar, such as ml.metric_loss(network, validation_data), "
            f"or None; a {type(meta_loss).__name__} was given."
        )
    _check_cap(cap)

    def init(theta, key):
        params = _task_at(task, theta).init(key)
        state = TrainingState(params, _transformation_at(optimizer, theta).init(params))
        return state._replace(cap=_cap_at(loss(state, theta, key))) if cap == "start" else state

    def step(state, theta, key):
        loss = _task_at(task, theta).loss
        objective = lambda params: scalar("The loss of the task", loss(params, key))
        value, grads = jax.value_and_grad(objective)(state.params)
        transformation = optax.with_extra_args_support(_transformation_at(optimizer, theta))
        updates, optimizer_state = transformation.update(
            grads, _current(transformation, state), state.params, value=value, grad=grads, value_fn=objective
        )
        # If the structure has changed, it is returned as it is, and `check_problem` reports it.
        changed = jax.tree.structure(optimizer_state) != jax.tree.structure(state.optimizer_state)
        return TrainingState(
            optax.apply_updates(state.params, updates),
            optimizer_state if changed else trees.like(optimizer_state, state.optimizer_state),
            state.cap,
        )

    def loss(state, theta, key):
        if meta_loss is None:
            return scalar("The loss of the task", _task_at(task, theta).loss(state.params, key))
        return scalar("meta_loss", meta_loss(state.params, key))

    problem = InnerProblem(init, step, loss)
    if cap is None:
        return problem
    return _with_own_cap(problem) if isinstance(cap, str) else saturate(problem, cap)


def _check_cap(cap) -> None:
    if isinstance(cap, str) and cap != "start":
        raise ValueError(
            f'cap must be a number, "start" for a multiple of the first loss, or None for no cap; {cap!r} was given.'
        )
    if cap is not None and not isinstance(cap, str):
        check_number("cap", cap)


def _with_own_cap(problem):
    """Bound the losses as `saturate` does, by the cap that is stored in the state."""

    def step(state, theta, key):
        return capped_step(problem.step, state, theta, key)

    def loss(state, theta, key):
        return capped_loss(problem.loss, state, theta, key, cap(state))

    def cap(state):
        return jax.lax.bitcast_convert_type(state.cap, jnp.float64 if state.cap.dtype == jnp.int64 else jnp.float32)

    return problem._replace(step=step, loss=loss, cap=cap)


def _cap_at(first):
    """Return the bits of the cap of an episode with the given first loss."""
    first = trees.wide(first)
    cap = first + FACTOR * jnp.maximum(jnp.abs(first), 1)
    return jax.lax.bitcast_convert_type(cap, jnp.int64 if cap.dtype == jnp.float64 else jnp.int32)


def _task_at(task, theta) -> Task:
    if isinstance(task, Task):
        return task
    made = task(theta)
    if not isinstance(made, Task):
        raise TypeError(f"The function of theta given as task must return a Task; it returned a {type(made).__name__}.")
    return made


def _transformation_at(optimizer, theta) -> optax.GradientTransformation:
    made = optimizer(theta)
    if not (hasattr(made, "init") and hasattr(made, "update")):
        raise TypeError(
            f"The optimiser must return an optax.GradientTransformation for theta; "
            f"it returned a {type(made).__name__}. "
            "Give the result of a factory, such as adam(learning_rate), and not the factory adam itself."
        )
    return made


def _current(transformation, state):
    """Return the optimiser's state; hyperparameters stored in it by optax.inject_hyperparams are set to those of θ."""
    injected = lambda node: isinstance(node, tuple) and hasattr(node, "hyperparams")
    old = state.optimizer_state
    if not any(map(injected, jax.tree.leaves(old, is_leaf=injected))):
        return old
    renew = lambda one, other: one._replace(hyperparams=other.hyperparams) if injected(one) else one
    return jax.tree.map(renew, old, transformation.init(state.params), is_leaf=injected)
