"""Floor 0: the names of what travels between functions of every floor."""

from typing import Any, Protocol

import jax

Theta = Any
"""The meta-parameters: a pytree of real floating-point arrays, at least one."""

State = Any
"""The state of an inner problem: a pytree of arrays, integers and typed keys included."""

Params = Any
"""The parameters of a network: a pytree of floating-point arrays."""

Key = jax.Array
"""A typed key of `jax.random.key`, and not the raw integers of `jax.random.PRNGKey`."""

Scalar = jax.Array
"""An array of shape ()."""


class Progress(Protocol):
    """What a computation that takes long calls between its parts."""

    def __call__(self, name: str, done: int, total: int, /) -> object:
        """`done` of `total` parts of what is called `name` are finished; `done` may start anew."""
