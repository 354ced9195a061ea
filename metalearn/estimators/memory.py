"""The memory of a trajectory: sizes for memory formulas, and the number of particles to advance together."""

import jax
from jax.extend.core import jaxprs_in_params

from metalearn import trees
from metalearn.inner.convolutions import prepare
from metalearn.inner.problem import InnerProblem
from metalearn.types import Theta

CACHE_BYTES = 2**21


def cache_chunk(problem: InnerProblem, theta: Theta, num_particles: int) -> int:
    """Return the number of particles whose states and activations fit in the L2 cache, at most `num_particles`."""
    weight = state_bytes(problem, theta) + activation_bytes(problem, theta)
    return max(1, min(num_particles, CACHE_BYTES // max(weight, 1)))


def even_chunk(count: int, room: int) -> int:
    """Return the chunk size: the largest divisor of `count` up to `room`, if it exceeds half of `room`; else `room`.

    Equal chunks share one program. A smaller last chunk is a second program to compile.
    """
    divisor = max(d for d in range(1, min(count, room) + 1) if count % d == 0)
    return divisor if 2 * divisor > min(count, room) else min(count, room)


def state_bytes(problem: InnerProblem, theta: Theta) -> int:
    """Return S, the size of one inner state in bytes."""
    return trees.num_bytes(_state(problem, theta))


def activation_bytes(problem: InnerProblem, theta: Theta) -> int:
    """Return the size in bytes of the largest array that one step and one loss compute."""
    program = jax.make_jaxpr(_step_and_loss(problem))(_state(problem, theta), theta, _key())
    return _largest(program.jaxpr)


def residual_bytes(problem: InnerProblem, theta: Theta) -> int:
    """Return R, the size in bytes of the residuals that reverse mode stores for one step and one loss, with constants."""

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
