"""Sizes in bytes for memory formulas: states, activations and residuals."""

import jax
from jax.extend.core import jaxprs_in_params

from metalearn import trees
from metalearn.inner.convolutions import prepare
from metalearn.inner.problem import InnerProblem
from metalearn.types import Theta


def state_bytes(problem: InnerProblem, theta: Theta) -> int:
    """Return S, the size of one inner state in bytes.

    Args:
      problem, theta: the inner problem and the meta-parameters; only shapes are traced.
    """
    return trees.num_bytes(_state(problem, theta))


def activation_bytes(problem: InnerProblem, theta: Theta) -> int:
    """Return the size in bytes of the largest array that one step and one loss compute."""
    program = jax.make_jaxpr(_step_and_loss(problem))(_state(problem, theta), theta, _key())
    return _largest(program.jaxpr)


def residual_bytes(problem: InnerProblem, theta: Theta) -> int:
    """Return R, the size in bytes of the residuals that reverse mode stores for one step and one loss, with constants.

    Args:
      problem, theta: the inner problem and the meta-parameters; only shapes are traced.
    """

    def residuals(state, theta, key):
        inexact, rest = trees.split_inexact(state)

        def both(inexact, theta):
            state, loss = _step_and_loss(problem)(trees.merge_inexact(inexact, rest), theta, key)
            return trees.split_inexact(state)[0], loss

        return jax.vjp(both, inexact, theta)[1]

    return trees.num_bytes(jax.eval_shape(residuals, _state(problem, theta), theta, _key()))


def _step_and_loss(problem):
    step, loss = prepare(problem)[1:3]
    return lambda state, theta, key: (step(state, theta, key), loss(state, theta, key))


def _key():
    return jax.eval_shape(lambda: jax.random.key(0))


def _state(problem, theta):
    return jax.eval_shape(problem.init, theta, _key())


def _largest(program) -> int:
    """Return the size in bytes of the largest array that a program and its inner programs compute."""
    sizes = [0]
    for equation in program.eqns:
        arrays = [out.aval for out in equation.outvars if hasattr(out.aval, "size")]
        sizes += [array.size * array.dtype.itemsize for array in arrays]
        sizes += [_largest(inner) for inner in jaxprs_in_params(equation.params)]
    return max(sizes)
