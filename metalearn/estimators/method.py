"""A gradient estimator as one particle sees it, and the state of the estimator that is made of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from metalearn.inner.divergence import Reading
from metalearn.types import Key, State, Theta

Memory = Any
Run = Callable[[Theta, State], tuple[Reading, State]]


class Method(NamedTuple):
    """A gradient estimator as one particle sees it; `from_method` makes an estimator of it.

    Both functions are traced by JAX and mapped over the particles, so they must be pure and return arrays.

    Attributes:
      start: `(theta, state) -> memory`, what a particle carries from window to window, such as its state and its
        accumulated noise; called once, with a state of zeros. The memory keeps its structure, shapes and dtypes.
      window: `(run, theta, memory, clock, key) -> (gradient, memory, reading)`, one window of one particle. `run(theta,
        state) -> (reading, state)` advances a state by one window at any theta, perturbed or differentiated; where an
        episode starts it begins with the problem's `init` and ignores the state it is given. `reading.loss` is the mean
        loss of the window. A method with several runs returns their readings stacked along a first axis. `clock` is the
        window's number in the episode; at 0 the method resets what it accumulated. `key` is for its own random numbers.
      num_unrolls: how often `window` calls `run`, counted in trajectories.
      derivatives: the mode in which `window` differentiates `run`, one of `inner.differentiable`; None where it does
        not.
    """

    start: Callable[[Theta, State], Memory]
    window: Callable[[Run, Theta, Memory, jax.Array, Key], tuple[Theta, Memory, Reading]]
    num_unrolls: int = 1
    derivatives: str | None = None


class Particles(NamedTuple):
    """The state of an estimator.

    Attributes:
      memory: what the method remembers of each particle, `[num_particles, ...]`.
      episodes: the key of each particle's episode, `[num_particles]`.
      clock: the window each particle is about to see, a scalar in lockstep, `[num_particles]` when staggered.
      unreported_steps: inner steps spent on the burn-in, charged to the first estimate.
      variance: the variance of the last estimate for each parameter, from the spread of its particles; NaN below two
        particles; in float32 or wider.
    """

    memory: Memory
    episodes: Key
    clock: jax.Array
    unreported_steps: jax.Array
    variance: Theta
