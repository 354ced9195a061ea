"""The cores of the processor as devices, for experiments."""

import contextlib
import os

import jax


def use_cores() -> None:
    """Make a device of every core that this process may use, for `ml.over_devices`. Only before JAX's first
    computation; afterwards the processor remains what it was. Results with another number of devices differ in the
    order of sums.
    """
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", mine)
