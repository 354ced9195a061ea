"""Floor 0: work on other threads of the process."""

from collections.abc import Callable

import jax


def in_this_precision(function: Callable) -> Callable:
    """The function, run with 64 bits where this thread has them: `jax.enable_x64` holds for one thread only."""
    wide = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]

    def run(*arguments):
        with jax.enable_x64(wide):
            return function(*arguments)

    return run
