"""Convolutions that processors run well under `jax.vmap`, in any problem, whatever wrote them.

Mapped over particles with kernels of their own, a convolution becomes a grouped one, which JAX's compiler for
processors runs slowly; gradients by kernels are slow there in any case. The functions of a problem are therefore read
as JAX programs, and every convolution in them is replaced by slices and one matrix product.
"""

import functools
from collections.abc import Callable

import jax
from jax.extend import core

from metalearn.inner.patches import convolve, replaceable
from metalearn.inner.problem import InnerProblem
from metalearn.memoization import memoize

CONVOLUTION = "conv_general_dilated"
OUTER = {  # operations whose inner programs are read as well
    *("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"),
    *("scan", "while", "cond", "custom_jvp_call", "custom_vjp_call"),
}


def prepare(problem: InnerProblem) -> InnerProblem:
    """The problem with `init`, `step` and `loss` passed through `without_convolutions`; prepared once, it stays as it is.

    Args:
      problem: any inner problem.
    """
    init, step, loss = map(without_convolutions, problem[:3])
    return problem._replace(init=init, step=step, loss=loss)


@memoize
def without_convolutions(function: Callable) -> Callable:
    """The same function with its convolutions as slices and matrix products, where JAX computes on a processor.

    Results agree up to the order of sums. A function without convolutions is called as it is; elsewhere than on a
    processor every function is. Derivatives taken inside the function are seen and replaced too; those taken outside go
    through the matrix products, and keep no more in memory than those of a convolution. Very large windows, of more
    than 32 positions along an axis of both kernel and output, stay convolutions.

    Args:
      function: a function of pytrees that JAX can trace.
    """
    if isinstance(function, _Rewritten):
        return function
    return _Rewritten(function)


class _Rewritten:
    """A function, and for which shapes of its arguments it is known to hold no convolution."""

    def __init__(self, function):
        self.function, self.plain = function, set()
        self.traced = jax.jit(
            function, inline=True
        )  # JAX remembers its trace: the function is traced once for all programs
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
    """Whether there is a convolution to replace in a program, or in those inside it."""
    return any(_replaces(equation) or any(map(_holds, _inner(equation))) for equation in program.eqns)


def _inner(equation):
    return core.jaxprs_in_params(equation.params) if equation.primitive.name in OUTER else ()


def _rewritten(value):
    """A program with its convolutions replaced; a tuple of programs (branches) likewise; other values as they are."""
    if isinstance(value, core.ClosedJaxpr):
        return value.replace(jaxpr=_rewritten(value.jaxpr))
    if isinstance(value, core.Jaxpr):
        return value.replace(eqns=list(map(_equation, value.eqns))) if _holds(value) else value
    return tuple(map(_rewritten, value)) if type(value) is tuple else value


def _equation(equation):
    """One operation of a program: a convolution becomes a call of `convolve`, with the same inputs and outputs.

    `jax.checkpoint` keeps the inputs for the backward pass, as a convolution does, and not the larger windows.
    """
    if _replaces(equation):
        replacement = jax.checkpoint(functools.partial(convolve, **equation.params), prevent_cse=False)
        program = jax.make_jaxpr(jax.jit(replacement))(*(atom.aval for atom in equation.invars))
        return program.eqns[0].replace(invars=equation.invars, outvars=equation.outvars)
    if any(map(_holds, _inner(equation))):
        return equation.replace(params={name: _rewritten(value) for name, value in equation.params.items()})
    return equation
