"""How many particles are advanced together, so that they fit in the cache."""

from metalearn.estimators.memory import activation_bytes, state_bytes
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
