"""Programs whose large arrays are arguments.

JAX stores an array that a function reads, but is not given, inside of the compiled program. With a large dataset every
program would hold copies of it.
"""

from typing import Any

import jax
from jax.extend import core

LARGE = 2**22  # bytes; smaller arrays stay constants, which XLA may use to simplify a program


class WithArrays:
    """A traced function, compiled so that its large constants are arguments.

    Args:
      traced: a `jax.stages.Traced`, without static arguments.
      options: compiler options.
    """

    def __init__(self, traced: Any, options: dict[str, Any] | None):
        program, structure = traced.jaxpr, jax.tree.structure(traced.out_info)
        self.arrays = jax.device_put({place: program.consts[place] for place in large_constants(traced)})

        def run(arrays, leaves):
            constants = [arrays.get(place, one) for place, one in enumerate(program.consts)]
            outputs = core.jaxpr_as_fun(core.ClosedJaxpr(program.jaxpr, constants))(*leaves)
            return jax.tree.unflatten(structure, outputs)

        self.run: Any = jax.jit(run, compiler_options=options)

    def __call__(self, *arguments, **keywords):
        return self.run(self.arrays, jax.tree.leaves((arguments, keywords)))

    def compile_for(self, *arguments, **keywords) -> "WithArrays":
        """Compile for these arguments, or arguments of these shapes, without running."""
        self.run = self.run.lower(self.arrays, jax.tree.leaves((arguments, keywords))).compile()
        return self


def large_constants(traced: Any) -> list[int]:
    """Return the places of the large arrays among the constants of a traced function."""
    return [place for place, one in enumerate(traced.jaxpr.consts) if getattr(one, "nbytes", 0) >= LARGE]
