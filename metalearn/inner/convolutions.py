"""Replacement of convolutions by operations that run fast on CPUs under `jax.vmap`.

A convolution mapped over particles that have their own kernels becomes a grouped convolution, which XLA runs slowly on
CPUs. Gradients with respect to kernels are slow on CPUs as well. The functions of a problem are therefore traced to JAX
programs, and every convolution in them is replaced by slices and one matrix product. This works for convolutions
written with any library.
"""

import functools
from collections.abc import Callable

import jax
from jax.extend import core

from metalearn.inner.patches import convolve, replaceable
from metalearn.inner.problem import InnerProblem
from metalearn.memoization import memoize

CONVOLUTION = "conv_general_dilated"
OUTER = {  # operations whose inner programs are searched as well
    *("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"),
    *("scan", "while", "cond", "custom_jvp_call", "custom_vjp_call"),
}


def prepare(problem: InnerProblem) -> InnerProblem:
    """Apply `without_convolutions` to `init`, `step` and `loss` of a problem. A second application has no effect.

    Args:
      problem: any inner problem.
    """
    init, step, loss = map(without_convolutions, problem[:3])
    return problem._replace(init=init, step=step, loss=loss)


@memoize
def without_convolutions(function: Callable) -> Callable:
    """Replace the convolutions in a function by slices and matrix products, on CPUs only.

    Results agree up to the order of summation. A function without convolutions is called unchanged, and so is every
    function on other devices. Convolutions in derivatives taken inside the function are replaced too. Derivatives taken
    outside differentiate the matrix products, and need no more memory than those of a convolution. A convolution is
    kept if both kernel and output have more than 32 positions along an axis.

    Args:
      function: a function of pytrees that JAX can trace.
    """
    if isinstance(function, _Rewritten):
        return function
    return _Rewritten(function)


class _Rewritten:
    """A function, and the shapes of arguments for which it is known to contain no convolution."""

    def __init__(self, function):
        self.function, self.plain = function, set()
        self.traced = jax.jit(function, inline=True)  # JAX caches the trace and uses it in all programs
        functools.update_wrapper(self, function, updated=())

    def __eq__(self, other):
        return isinstance(other, _Rewritten) and self.function == other.function

    def __hash__(self):
        return hash((_Rewritten, self.function))

    def __call__(self, *args):
        leaves, structure = jax.tree.flatten(args)
        signature = structure, tuple((jax.numpy.shape(leaf), jax.numpy.result_type(leaf)) for leaf in leaves)
        if jax.default_backend() != "cpu" or signature in self.plain:
            return self.traced(*args)
        if not _holds(self.traced.trace(*args).jaxpr.jaxpr):
            self.plain.add(signature)
            return self.traced(*args)
        program, shape = jax.make_jaxpr(self.function, return_shape=True)(*args)
        outputs = core.jaxpr_as_fun(_rewritten(program))(*leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), outputs)


def _replaces(equation) -> bool:
    if equation.primitive.name != CONVOLUTION:
        return False
    lhs, rhs = equation.invars
    return replaceable(lhs.aval, rhs.aval, equation.outvars[0].aval, equation.params)


def _holds(program) -> bool:
    """Return whether a program or one of its inner programs contains a convolution to replace."""
    return any(_replaces(equation) or any(map(_holds, _inner(equation))) for equation in program.eqns)


def _inner(equation):
    return core.jaxprs_in_params(equation.params) if equation.primitive.name in OUTER else ()


def _rewritten(value):
    """Replace the convolutions in a program or in a tuple of programs (branches); return other values unchanged."""
    if isinstance(value, core.ClosedJaxpr):
        return value.replace(jaxpr=_rewritten(value.jaxpr))
    if isinstance(value, core.Jaxpr):
        return value.replace(eqns=list(map(_equation, value.eqns))) if _holds(value) else value
    return tuple(map(_rewritten, value)) if type(value) is tuple else value


def _equation(equation):
    """Rewrite one operation of a program. A convolution becomes a call of `convolve` with the same inputs and outputs.

    With `jax.checkpoint` only the inputs are stored for the backward pass, as for a convolution, and not the windows,
    which are larger.
    """
    if _replaces(equation):
        replacement = jax.checkpoint(functools.partial(convolve, **equation.params), prevent_cse=False)
        program = jax.make_jaxpr(jax.jit(replacement))(*(atom.aval for atom in equation.invars))
        return program.eqns[0].replace(invars=equation.invars, outvars=equation.outvars)
    if any(map(_holds, _inner(equation))):
        return equation.replace(params={name: _rewritten(value) for name, value in equation.params.items()})
    return equation
