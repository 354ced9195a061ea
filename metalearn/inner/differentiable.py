"""Checks that the required derivatives exist, before anything is computed."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Literal

from metalearn import trees
from metalearn.inner import problem as inner
from metalearn.inner.checks import refusal
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import meta_loss
from metalearn.operations import primitives
from metalearn.types import Theta

REVERSE, FORWARD, BOTH = "reverse", "forward", "forward and reverse"
_INSTEAD = {
    REVERSE: "Evolution strategies such as ml.persistent_es need no derivatives, ml.forward_mode no reverse mode.",
    FORWARD: "Evolution strategies such as ml.persistent_es need no derivatives, ml.backprop no forward mode.",
    BOTH: "Evolution strategies such as ml.persistent_es need no derivatives.",
}
_ZERO = (
    "The derivative of the meta-loss with respect to theta is zero everywhere, because theta acts only through "
    f"comparisons, choices or whole numbers. Backprop and forward mode return zero. {_INSTEAD[BOTH]}"
)


def check_derivative(name: str, mode: str, derivative: Callable, plain: Callable, *arguments) -> None:
    """Check that a function can be differentiated.

    A function that cannot be traced at all passes, so that the user sees its own error.

    Args:
      name: the name of the estimator or function that needs the derivative.
      mode: REVERSE, FORWARD or BOTH.
      derivative: the derivative as a function of `arguments`.
      plain: the function itself, of the same arguments.
      arguments: arrays or their shapes; only shapes are traced.

    Raises:
      TypeError: the function can be traced, but its derivative cannot.
    """
    reason = without_derivative(derivative, *arguments)
    if reason and not refusal(plain, *arguments):
        raise TypeError(
            f"The problem cannot be differentiated in {mode} mode, a requirement of {name}: "
            f"{_sentence(reason)} {_INSTEAD[mode]}"
        )


def without_derivative(function: Callable, *arguments) -> str:
    """Return why a function that takes derivatives fails, or "" if it does not.

    JAX traces the forward-mode derivative of a `custom_vjp` function without an error and raises one only when it runs.
    This function reports that case as well.
    """
    reason = refusal(function, *arguments)
    if not reason and "custom_lin" in primitives(jax.make_jaxpr(function)(*arguments).jaxpr):
        return "JAX cannot apply forward-mode differentiation (jvp) to a custom_vjp function."
    return reason


def check_problem(problem: InnerProblem, theta: Theta) -> tuple[str, ...]:
    """Check an inner problem by tracing its three functions for shapes, without computing anything.

    Args:
      problem: the inner problem.
      theta: the meta-parameters.

    Returns:
      A sentence for each mode of differentiation, reverse or forward, in which the meta-loss cannot be differentiated
      with respect to θ. Estimators that need that mode raise an error; evolution strategies need no derivatives. If the
      derivative exists and is zero for every θ, a sentence that says so.

    Raises:
      TypeError: a function cannot be called as documented, the step changes the structure, a shape or a dtype of the
        state, the loss is not one real scalar, or θ has a leaf that is not floating point.
      ValueError: θ has no leaves.
    """
    inner.check_problem(problem, theta)
    key = jax.eval_shape(lambda: jax.random.key(0))
    loss = lambda theta, key: meta_loss(problem, theta, key, problem.horizon or 2)

    def forward(theta, key):
        return jax.jvp(lambda theta: loss(theta, key), (trees.strong(theta),), (trees.strong(theta),))

    known = {
        mode: without_derivative(one, theta, key) for mode, one in {REVERSE: jax.grad(loss), FORWARD: forward}.items()
    }
    found = tuple(
        f"The problem cannot be differentiated in {mode} mode: {_sentence(reason)} {_INSTEAD[mode]}"
        for mode, reason in known.items()
        if reason
    )
    return found or (_ZERO,) * _is_flat(loss, trees.strong(theta), key)


def _is_flat(function: Callable, theta: Theta, key: Any) -> bool:
    """Return whether the forward-mode derivative with respect to θ is zero for every θ, as its program shows.

    JAX leaves derivatives that it knows to be zero out of a program. The result then does not depend on the tangent.
    """
    tangent = lambda theta, direction, key: jax.jvp(lambda theta: function(theta, key), (theta,), (direction,))[1]
    program, size = jax.make_jaxpr(tangent)(theta, theta, key).jaxpr, len(jax.tree.leaves(theta))
    moving = set(program.invars[size : 2 * size])
    moves = lambda variables: any(not isinstance(one, Literal) and one in moving for one in variables)
    for equation in program.eqns:
        if moves(equation.invars):
            moving.update(equation.outvars)
    return not moves(program.outvars)


def _sentence(reason: str) -> str:
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."
