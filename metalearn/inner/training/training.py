"""Training as an iterated map: a step updates the parameters and the state of the optimiser."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.inner.checks import check_number, scalar, summarize_error
from metalearn.inner.divergence import capped_loss, capped_step, saturate
from metalearn.inner.problem import InnerProblem
from metalearn.inner.training.minibatch_indices import read_network_state
from metalearn.inner.training.optimizer_steps import take_optimizer_step
from metalearn.inner.training.optimizers import Optimizer, check_optimizer
from metalearn.inner.training.task import Task, task_loss
from metalearn.types import Scalar, Theta

FACTOR = 10  # cap in multiples of the first loss, far above the losses of a training run that converges


@brief_help
class TrainingState(NamedTuple):
    """The state of a training run.

    Attributes:
      params: the parameters of the network.
      optimizer_state: the state of the optax transformation.
      cap: the number that replaces the loss if the run diverges, as the bits of an integer. Integers have no tangents,
        so that the cap does not change Jacobians and Lyapunov exponents. None unless the cap is set at the start of the
        episode (`cap="start"`).
      network_state: the state of a task with `init_state`, such as running averages. Optimisers do not see it. None for
        a task without a state. With `sampling="epochs"` it is `(position, network_state)`.
    """

    params: Any
    optimizer_state: Any
    cap: Any = None
    network_state: Any = None


def training(
    task: Task | Callable[[Theta], Task],
    optimizer: Optimizer,
    meta_loss: Callable[..., Scalar] | None = None,
    *,
    cap: float | str | None = "start",
    evaluate_at: Callable[[Any, Any], Any] | None = None,
) -> InnerProblem:
    """Return the inner problem of training a task by an optimiser.

        (w, m) ← (w + u, m'),   (u, m') = optimizer(θ)(∇_w loss(w; ξ), m, w)

    w are the parameters, m the state of the optimiser and ξ the key of the step. The observable is the meta-loss, by
    default the loss of the task. Keys are passed to the task unchanged. `unroll` uses one key for the meta-loss at s_t
    and for the step that leaves s_t, so that the default meta-loss and the gradient of the step share a forward pass.

    The optimiser also receives `value`, `grad`, `value_fn`, `obj_fn` and `grad_fn`, which line searches, Polyak steps,
    plateau rules, Sophia and sharpness-aware minimisation need. The parameters and the optimiser's state keep their
    dtypes, such as bfloat16, also if hyperparameters are float32.

    If the task has a state (`Task.init_state`, such as running averages), a step stores the state that the loss of the
    task returns. Its dtypes are those of the first state, or the wider ones that the loss returns. Evaluating the loss
    of the problem does not change the state.

    Args:
      task: a `Task`, or a function θ -> `Task` if the loss, the data or the start depends on θ.
      optimizer: a function θ -> `optax.GradientTransformation`; θ must not change the structure of its state.
      meta_loss: `(params, key) -> scalar`, any metric on any data (see `metric_loss`); it need not be differentiable.
        For a task with a state it is called as `(params, key, state)`.
      cap: the largest loss, which replaces larger losses and those of diverged runs (see `saturate`). "start", the
        default, is ℓ_0 + 10 max(|ℓ_0|, 1), with ℓ_0 the meta-loss at the start of the episode; it is a constant under
        differentiation. A number is the cap itself. None does not bound the losses. The smoothed meta-loss is then
        infinite even if only one training run in ten thousand diverges, and diverged runs dominate the estimates.
      evaluate_at: `(optimizer_state, params) -> params`, the parameters at which the meta-loss is evaluated, such as
        `ml.hyperparameters.averaged_params` for `ml.hyperparameters.averaged(...)`, or
        `optax.contrib.schedule_free_eval_params` for `optax.contrib.schedule_free_sgd(...)`. Steps are taken at the
        parameters themselves. The state of a network, such as running averages of BatchNorm, is not recomputed.

    Raises:
      TypeError: `task` is neither a `Task` nor a function of θ, `optimizer` is not a function of θ, `meta_loss` or
        `evaluate_at` is not a function, or `cap` is not a number, a string or None.
      ValueError: `cap` is not finite, or another string than "start".
    """
    if not isinstance(task, Task) and not callable(task):
        raise TypeError(
            f"task must be a Task, or a function of theta returning one; a {type(task).__name__} was given."
        )
    check_optimizer(optimizer)
    _check_functions(meta_loss, evaluate_at)
    _check_cap(cap)

    def init(theta, key):
        made = _task_at(task, theta)
        params = made.init(key)
        network_state = None if made.init_state is None else _settled(made, params, key)
        state = TrainingState(params, _transformation_at(optimizer, theta).init(params), None, network_state)
        return state._replace(cap=_cap_at(loss(state, theta, key))) if cap == "start" else state

    def step(state, theta, key):
        made = _task_at(task, theta)
        objective = lambda params: task_loss(made, params, key, state.network_state)
        (value, network_state), grads = jax.value_and_grad(objective, has_aux=True)(state.params)
        params, optimizer_state = take_optimizer_step(
            _transformation_at(optimizer, theta),
            state.optimizer_state,
            state.params,
            grads,
            value,
            lambda params: objective(params)[0],
        )
        return TrainingState(
            params,
            _keep_dtypes(state.optimizer_state, optimizer_state),
            state.cap,
            _keep_dtypes(state.network_state, network_state),
        )

    def loss(state, theta, key):
        state = state if evaluate_at is None else state._replace(params=_evaluated(evaluate_at, state))
        if meta_loss is None:
            return task_loss(_task_at(task, theta), state.params, key, state.network_state)[0]
        return _read(meta_loss, state, key)

    problem = InnerProblem(init, step, loss)
    if cap is None:
        return problem
    return _with_own_cap(problem) if isinstance(cap, str) else saturate(problem, cap)


def _settled(task, params, key):
    """Return the first state of a task in the dtypes that its loss returns, if these are wider.

    BatchNorm, for instance, begins in float32 and continues in float64 for inputs in float64.
    """
    state = trees.strong(task.init_state(key))
    after = jax.eval_shape(lambda: task_loss(task, params, key, state)[1])
    if jax.tree.structure(after) != jax.tree.structure(state):
        return state
    widen = lambda leaf, one: (
        jnp.asarray(leaf, jnp.promote_types(leaf.dtype, one.dtype)) if trees.is_inexact(leaf) else leaf
    )
    return jax.tree.map(widen, state, after)


def _keep_dtypes(before, after):
    """Return `after` in the dtypes of `before`; a changed structure is left to `check_problem`, which reports it."""
    return trees.like(after, before) if jax.tree.structure(before) == jax.tree.structure(after) else after


def _read(meta_loss, state, key):
    """Return the meta-loss at a state."""
    network_state = read_network_state(state.network_state)
    if network_state is None:
        return scalar("meta_loss", meta_loss(state.params, key))
    try:
        inspect.signature(meta_loss).bind(None, None, None)
    except TypeError:
        raise TypeError(
            "The task has a state in addition to its parameters, and its meta_loss is called as (params, key, "
            "state); the one given "
            f"takes {inspect.signature(meta_loss)}. Give it the third argument."
        ) from None
    return scalar("meta_loss", meta_loss(state.params, key, network_state))


def _evaluated(evaluate_at, state):
    """Return the parameters at which the meta-loss is evaluated."""
    try:
        params = evaluate_at(state.optimizer_state, state.params)
    except Exception as error:
        raise TypeError(
            f"evaluate_at cannot read the optimiser's state, a {type(state.optimizer_state).__name__} "
            f"({summarize_error(error)}). It is called as (optimizer_state, params)."
        ) from error
    if not trees.alike(params, state.params):
        raise TypeError("evaluate_at must return parameters of the same structure and shapes; it returned others.")
    return trees.like(params, state.params)


def _check_functions(meta_loss, evaluate_at) -> None:
    if meta_loss is not None and not callable(meta_loss):
        raise TypeError(
            "meta_loss must be a function (params, key) -> scalar, such as ml.metric_loss(network, validation_data), "
            f"or None; a {type(meta_loss).__name__} was given."
        )
    if evaluate_at is not None and not callable(evaluate_at):
        raise TypeError(
            "evaluate_at must be a function (optimizer_state, params) -> params, such as "
            f"optax.contrib.schedule_free_eval_params, or None; {evaluate_at!r} was given."
        )


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
