"""Training as an iterated map: parameters and the optimiser's state go in, one update later they come out."""

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

FACTOR = 10  # of the first loss: far above what a training that converges reads on its way


class TrainingState(NamedTuple):
    """The state of an inner training.

    Attributes:
      params: the network's parameters.
      optimizer_state: the state of the optax transformation.
      cap: the bits of the number that a diverged loss of this episode reads as. Integers have no tangents, so the cap
        adds nothing to Jacobians and Lyapunov exponents of the state. None where the training has no cap of its own.
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
    """The training of a task by an optimiser, as the map (w, m) ← (w + u, m'), with (u, m') = optimizer(θ)(∇_w loss(w;
    ξ), m, w).

    The observable is the meta-loss, by default the task's own loss at the same parameters. The key ξ of a step or a
    reading is handed to the task as it is: `unroll` gives the reading at s_t and the step away from s_t one key, so
    that a default meta-loss and the step's gradient are one forward pass.

    The optimiser is given `value`, `grad` and `value_fn` as well, which line searches, Polyak steps and plateau rules
    need. Parameters and optimiser's state keep their dtypes: bfloat16 parameters stay so under a float32
    hyperparameter.

    Args:
      task: a `Task`, or a function θ -> `Task` where loss, data or start depend on θ.
      optimizer: a function θ -> `optax.GradientTransformation`; θ must not change the structure of its state.
      meta_loss: `(params, key) -> scalar`, any metric on any data (see `evaluation`); it need not be differentiable.
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
            f"meta_loss must be a function (params, key) -> scalar, such as evaluation(network, validation_data), "
            "or None; "
            f"a {type(meta_loss).__name__} was given."
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
        # A structure that changed passes, for `check_problem` to name.
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
