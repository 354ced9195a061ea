"""A step of any optax transformation."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import optax

from metalearn import trees
from metalearn.inner.checks import summarize_error
from metalearn.types import Params


def take_optimizer_step(
    transformation: optax.GradientTransformation,
    state: Any,
    params: Params,
    gradient: Params,
    value: jax.Array,
    objective: Callable,
) -> tuple[Params, Any]:
    """Return the parameters and the state of the optimiser after a step.

    The update is also given `value`, `grad`, `value_fn`, `obj_fn` and `grad_fn`, as far as it accepts them.

    Args:
      transformation: the optimiser.
      state: its state.
      params: the parameters.
      gradient: the gradient of the objective at the parameters.
      value: the objective at the parameters.
      objective: `params -> scalar`.

    Raises:
      TypeError, ValueError: the update needs another argument or other parameters, or returns updates of another
        structure or other shapes. The type is that of the error of the update.
    """
    transformation = optax.with_extra_args_support(transformation)

    def value_fn(params, obj_fn=None, grad_fn=None):  # line searches pass it all arguments that they do not use
        return objective(params)

    grad_fn = lambda params, _=None: jax.grad(objective)(params)
    extra = {"value": value, "grad": gradient, "value_fn": value_fn, "obj_fn": objective, "grad_fn": grad_fn}
    try:
        before = _current(transformation, state, params)
        updates, after = transformation.update(gradient, before, params, **accepted(transformation.update, extra))
        if not trees.alike(updates, params):
            raise ValueError("it returned updates of another structure or other shapes")
        return optax.apply_updates(params, updates), after
    except jax.errors.JAXTypeError:
        raise
    except (AttributeError, TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(
            f"The optimiser cannot take a step on these parameters ({summarize_error(error)}). Its update is called with the "
            f"gradient, its state, the parameters, {', '.join(extra)}; use an optimiser that needs nothing else."
        ) from error


def accepted(update: Callable, extra: dict[str, Any]) -> dict[str, Any]:
    """Return those arguments that an update accepts by name."""
    parameters = inspect.signature(update).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return extra
    return {name: value for name, value in extra.items() if name in parameters}


def _current(transformation, old, params):
    """Return the optimiser's state; hyperparameters stored in it by optax.inject_hyperparams are set to those of θ."""
    injected = lambda node: isinstance(node, tuple) and hasattr(node, "hyperparams")
    if not any(map(injected, jax.tree.leaves(old, is_leaf=injected))):
        return old
    renew = lambda one, other: one._replace(hyperparams=other.hyperparams) if injected(one) else one
    return jax.tree.map(renew, old, transformation.init(params), is_leaf=injected)
