"""An inner problem that records the steps that an estimator takes."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner.problem import InnerProblem

THETA = {
    "rates": jnp.array([0.2, -0.5], jnp.float32),
    "scale": jnp.array(0.7, jnp.float32),
    "switch": jnp.array(0.0, jnp.float32),
}
SOME, ALL = 20.0, 100.0  # values of the switch at which about half of the episodes, and all episodes, diverge
LOWEST, HIGHEST = 1.0, 1.2  # bounds of the losses of an episode that does not diverge


class Step(NamedTuple):
    """A step that was taken.

    Attributes:
      luck: a random number in [0, 1) that identifies the episode; at the switch `SOME` it diverges if `luck` is below
        1/2.
      index: the index of the step in its episode.
      switch: `theta["switch"]`, including the perturbation by the estimator.
    """

    luck: float
    index: int
    switch: float


class Watched(NamedTuple):
    """A problem with a record of its steps.

    Attributes:
      problem: its initial state depends on θ and contains floating-point arrays, an integer and a typed key.
      record: the steps that were taken since the last call of `watch`.
    """

    problem: InnerProblem
    record: set[Step]

    def watch(self, function: Callable, *arguments) -> tuple[Any, frozenset[Step]]:
        """Call a function and return its result and the steps that it took. Equal steps are recorded once."""
        jax.effects_barrier()
        self.record.clear()
        result = jax.block_until_ready(function(*arguments))
        jax.effects_barrier()
        return result, frozenset(self.record)


@functools.cache
def watched() -> Watched:
    """Return a stochastic nonlinear map whose θ has the structure of `THETA`.

    The result is cached, so that all checks share its compiled programs.
    """
    record: set[Step] = set()

    def note(luck, index, switch):
        record.add(Step(float(np.asarray(luck)), int(np.asarray(index)), float(np.asarray(switch))))

    def init(theta, key):
        key_x, key_luck, own = jax.random.split(key, 3)
        x = theta["scale"] * jax.random.normal(key_x, (2,))
        return {"x": x, "luck": jax.random.uniform(key_luck), "index": jnp.zeros((), jnp.int32), "key": own}

    def step(state, theta, key):
        jax.debug.callback(note, state["luck"], state["index"], theta["switch"])
        own, key_own = jax.random.split(state["key"])
        noise = 0.1 * (jax.random.normal(key, (2,)) + jax.random.normal(key_own, (2,)))
        x = jnp.tanh(0.8 * state["x"] + theta["rates"] + jnp.sin(theta["switch"]) + noise)
        x = jnp.where(state["luck"] < _threshold(theta["switch"]), jnp.inf, x)
        return {"x": x.astype(state["x"].dtype), "luck": state["luck"], "index": state["index"] + 1, "key": own}

    def loss(state, theta, key):
        return 1 + 0.1 * jnp.mean(jnp.square(state["x"] - 0.3)) + 0.01 * jax.random.uniform(key)

    return Watched(InnerProblem(init, step, loss), record)


def _threshold(switch):
    return jnp.where(switch < SOME / 2, 0.0, jnp.where(switch < (SOME + ALL) / 2, 0.5, 2.0))


def at(switch: float) -> dict[str, jax.Array]:
    """Return `THETA` with the given value of the switch."""
    return THETA | {"switch": jnp.array(switch, jnp.float32)}


def as_vector(problem: InnerProblem) -> tuple[InnerProblem, jax.Array]:
    """Return the problem with θ as one vector, and such a θ."""
    return _convert(problem, lambda v: {"rates": v[:2], "scale": v[2], "switch": v[3]}), jnp.array(
        [0.2, -0.5, 0.7, 0.0]
    )


def as_nested(problem: InnerProblem) -> tuple[InnerProblem, Any]:
    """Return the problem with θ as nested tuples, lists and dictionaries, and such a θ."""
    convert = lambda nest: {"rates": nest[0][0], "scale": nest[1]["a"], "switch": nest[1]["b"]}
    return _convert(problem, convert), ([THETA["rates"]], {"a": THETA["scale"], "b": THETA["switch"]})


def in_dtype(theta: Any, dtype: Any) -> Any:
    """Return θ with all leaves converted to one dtype."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), trees.strong(theta))


def _convert(problem, convert):
    return InnerProblem(
        lambda theta, key: problem.init(convert(theta), key),
        lambda state, theta, key: problem.step(state, convert(theta), key),
        lambda state, theta, key: problem.loss(state, convert(theta), key),
    )
