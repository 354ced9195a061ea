"""Use the cores of the processor as JAX devices."""

import contextlib
import os

import jax


def use_cores() -> None:
    """Make one JAX device of each core that this process may use, for `ml.over_devices`.

    Call it before JAX's first computation; later calls have no effect. Results with different numbers of devices differ
    by rounding, because sums are taken in another order.
    """
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", mine)
