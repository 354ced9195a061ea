"""Type aliases and protocols used by the whole package."""

from typing import Any, Protocol

import jax

Theta = Any
"""The meta-parameters: a pytree of real floating-point arrays, at least one."""

State = Any
"""The state of an inner problem: a pytree of arrays, integers and typed keys included."""

Params = Any
"""The parameters of a network: a pytree of floating-point arrays."""

Key = jax.Array
"""A typed key from `jax.random.key`. The raw integers of `jax.random.PRNGKey` are not accepted."""

Scalar = jax.Array
"""An array of shape ()."""


class Progress(Protocol):
    """A function that long computations call to report their progress."""

    def __call__(self, name: str, done: int, total: int, /) -> object:
        """Report that `done` of `total` parts of the computation `name` are finished; `done` may restart from 0."""
