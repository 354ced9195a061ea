"""Training as an iterated map: parameters and the optimiser's state go in, one update later they come out."""

import inspect
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
from metalearn.inner.training.task import Task, task_loss
from metalearn.types import Scalar, Theta

FACTOR = 10  # of the first loss: far above what a training that converges reads on its way


class TrainingState(NamedTuple):
    """The state of an inner training.

    Attributes:
      params: the network's parameters.
      optimizer_state: the state of the optax transformation.
      cap: the bits of the number that a diverged loss of this episode reads as. Integers have no tangents, so the cap
        adds nothing to Jacobians and Lyapunov exponents of the state. None where the training has no cap of its own.
      network_state: what a task with `init_state` carries beside its parameters, such as running averages; optimisers
        do not see it. None for a task without.
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
) -> InnerProblem:
    """The training of a task by an optimiser, as the map (w, m) ← (w + u, m'), with (u, m') = optimizer(θ)(∇_w loss(w;
    ξ), m, w).

    The observable is the meta-loss, by default the task's own loss at the same parameters. The key ξ of a step or a
    reading is handed to the task as it is: `unroll` gives the reading at s_t and the step away from s_t one key, so
    that a default meta-loss and the step's gradient are one forward pass.

    The optimiser is given `value`, `grad` and `value_fn` as well, which line searches, Polyak steps and plateau rules
    need. Parameters and optimiser's state keep their dtypes: bfloat16 parameters stay so under a float32
    hyperparameter.

    Where the task has a state (`Task.init_state`: running averages), a step takes the one that its loss returns. Its dtypes
    are those of the first state, or the wider ones that the loss returns. A reading of the loss leaves it as it is.

    Args:
      task: a `Task`, or a function θ -> `Task` where loss, data or start depend on θ.
      optimizer: a function θ -> `optax.GradientTransformation`; θ must not change the structure of its state.
      meta_loss: `(params, key) -> scalar`, any metric on any data (see `metric_loss`); it need not be differentiable.
        For a task with a state it is called as `(params, key, state)`.
      cap: what a diverged loss reads as, and the largest loss there is (see `saturate`). "start", the default: ℓ_0 + 10
        max(|ℓ_0|, 1), with ℓ_0 the meta-loss at the start of the episode, a constant for methods that differentiate. A
        number: that number. None: losses as they are; the smoothed meta-loss is then infinite as soon as one training
        in ten thousand diverges, and estimates are dominated by those.

    Raises:
      TypeError: the task is not a task or function of θ, the optimiser is not a function of θ, the meta-loss is not a
        function, or the cap is not a number, a string or None.
      ValueError: the cap is not finite, or another string than "start".
    """
    if not isinstance(task, Task) and not callable(task):
        raise TypeError(
            f"task must be a Task, or a function of theta returning one; a {type(task).__name__} was given."
        )
    check_optimizer(optimizer)
    if meta_loss is not None and not callable(meta_loss):
        raise TypeError(
            f"meta_loss must be a function (params, key) -> scalar, such as metric_loss(network, validation_data), "
            "or None; "
            f"a {type(meta_loss).__name__} was given."
        )
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
        transformation = optax.with_extra_args_support(_transformation_at(optimizer, theta))
        updates, optimizer_state = transformation.update(
            grads,
            _current(transformation, state),
            state.params,
            value=value,
            grad=grads,
            value_fn=lambda params: objective(params)[0],
        )
        return TrainingState(
            optax.apply_updates(state.params, updates),
            _in_dtypes_of(state.optimizer_state, optimizer_state),
            state.cap,
            _in_dtypes_of(state.network_state, network_state),
        )

    def loss(state, theta, key):
        if meta_loss is None:
            return task_loss(_task_at(task, theta), state.params, key, state.network_state)[0]
        return _read(meta_loss, state, key)

    problem = InnerProblem(init, step, loss)
    if cap is None:
        return problem
    return _with_own_cap(problem) if isinstance(cap, str) else saturate(problem, cap)


def _settled(task, params, key):
    """The first state of a task, in the wider dtypes that its loss returns: BatchNorm begins in float32 and goes on in
    float64 for inputs in float64."""
    state = trees.strong(task.init_state(key))
    after = jax.eval_shape(lambda: task_loss(task, params, key, state)[1])
    if jax.tree.structure(after) != jax.tree.structure(state):
        return state
    widen = lambda leaf, one: (
        jnp.asarray(leaf, jnp.promote_types(leaf.dtype, one.dtype)) if trees.is_inexact(leaf) else leaf
    )
    return jax.tree.map(widen, state, after)


def _in_dtypes_of(before, after):
    """The state afterwards in the dtypes of the one before; a structure that changed passes, for `check_problem` to name."""
    return trees.like(after, before) if jax.tree.structure(before) == jax.tree.structure(after) else after


def _read(meta_loss, state, key):
    """The meta-loss at a state."""
    if state.network_state is None:
        return scalar("meta_loss", meta_loss(state.params, key))
    try:
        inspect.signature(meta_loss).bind(None, None, None)
    except TypeError:
        raise TypeError(
            "The task has a state beside its parameters, and its meta_loss is called as (params, key, state); the one given "
            f"takes {inspect.signature(meta_loss)}. Give it the third argument."
        ) from None
    return scalar("meta_loss", meta_loss(state.params, key, state.network_state))


def _check_cap(cap) -> None:
    if isinstance(cap, str) and cap != "start":
        raise ValueError(
            f'cap must be a number, "start" for a multiple of the first loss, or None for none; {cap!r} was given.'
        )
    if cap is not None and not isinstance(cap, str):
        check_number("cap", cap)


def _with_own_cap(problem):
    """As `saturate`, with the cap that the state carries."""

    def step(state, theta, key):
        return capped_step(problem.step, state, theta, key)

    def loss(state, theta, key):
        return capped_loss(problem.loss, state, theta, key, cap(state))

    def cap(state):
        return jax.lax.bitcast_convert_type(state.cap, jnp.float64 if state.cap.dtype == jnp.int64 else jnp.float32)

    return problem._replace(step=step, loss=loss, cap=cap)


def _cap_at(first):
    """The bits of the cap of an episode whose first loss this is."""
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
            "Is a factory such as adam itself given, in place of adam(learning_rate)?"
        )
    return made


def _current(transformation, state):
    """The optimiser's state; numbers that optax.inject_hyperparams keeps in it become those of this θ."""
    injected = lambda node: isinstance(node, tuple) and hasattr(node, "hyperparams")
    old = state.optimizer_state
    if not any(map(injected, jax.tree.leaves(old, is_leaf=injected))):
        return old
    renew = lambda one, other: one._replace(hyperparams=other.hyperparams) if injected(one) else one
    return jax.tree.map(renew, old, transformation.init(state.params), is_leaf=injected)
