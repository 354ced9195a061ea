"""A gradient estimator written for one particle, and the state of the estimator for many particles."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from metalearn.brief import brief_help
from metalearn.inner.divergence import Reading
from metalearn.types import Key, State, Theta

Memory = Any
Run = Callable[[Theta, State], tuple[Reading, State]]


@brief_help
class Method(NamedTuple):
    """A gradient estimator written for one particle; `from_method` turns it into an estimator.

    Both functions are traced by JAX and mapped over the particles, so they must be pure and return arrays.

    Attributes:
      start: `(theta, state) -> memory`, the data that a particle carries from window to window, such as its state and
        its accumulated noise. It is called once, with a state of zeros. `window` must keep the structure, shapes and
        dtypes of the memory.
      window: `(run, theta, memory, clock, key) -> (gradient, memory, reading)`, one window of one particle. `run(theta,
        state) -> (reading, state)` advances a state by one window, and may be called at a perturbed θ and
        differentiated. At the start of an episode it calls the problem's `init` and ignores the given state.
        `reading.loss` is the mean loss of the window. A method with several runs returns their readings stacked along a
        first axis. `clock` is the index of the window in its episode; the method resets its accumulators at 0. `key` is
        for the method's own random numbers, or the result of `draw` for this particle.
      num_unrolls: the number of trajectories that `window` runs.
      derivatives: the mode in which `window` differentiates `run`: `REVERSE`, `FORWARD` or `BOTH`; None if it does not.
      draw: `(theta, key, num_particles) -> drawn`, `[num_particles, ...]`, random numbers of a window that depend on
        one another between particles; None if each particle draws its own.
      check: `theta -> None`, called by `init`; it raises an error if the method cannot be used at this θ.
      finish: `(gradients, readings) -> gradients` of all particles, before the average.
    """

    start: Callable[[Theta, State], Memory]
    window: Callable[[Run, Theta, Memory, jax.Array, Key], tuple[Theta, Memory, Reading]]
    num_unrolls: int = 1
    derivatives: str | None = None
    draw: Callable[[Theta, Key, int], Any] | None = None
    check: Callable[[Theta], None] = lambda theta: None
    finish: Callable[[Theta, Reading], Theta] = lambda gradients, readings: gradients


@brief_help
class Particles(NamedTuple):
    """The state of an estimator.

    Attributes:
      memory: the memory of the method for each particle, `[num_particles, ...]`.
      episodes: the key of each particle's episode, `[num_particles]`.
      clock: the index of the next window: a scalar in lockstep, `[num_particles]` if staggered.
      unreported_steps: the inner steps of the burn-in, which the first estimate reports.
      variance: the variance of the last estimate for each parameter, from the spread of its particles, in float32 or
        wider; NaN for fewer than two particles.
    """

    memory: Memory
    episodes: Key
    clock: jax.Array
    unreported_steps: jax.Array
    variance: Theta
