"""Work on other threads of the process."""

import contextlib
import multiprocessing
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

MODES = {  # settings of JAX that a context manager changes for one thread only
    "jax_enable_x64": jax.enable_x64,
    "jax_default_matmul_precision": jax.default_matmul_precision,
    "jax_debug_nans": jax.debug_nans,
    "jax_debug_infs": jax.debug_infs,
    "jax_disable_jit": jax.disable_jit,
    "jax_check_tracer_leaks": lambda on: jax.checking_leaks() if on else contextlib.nullcontext(),
    "jax_enable_checks": jax.enable_checks,
    "jax_numpy_rank_promotion": jax.numpy_rank_promotion,
    "jax_numpy_dtype_promotion": jax.numpy_dtype_promotion,
    "jax_default_prng_impl": jax.default_prng_impl,
    "jax_threefry_partitionable": jax.threefry_partitionable,
}


def modes() -> tuple[Any, ...]:
    """Return the settings of JAX in this thread, such as precision and debugging modes."""
    return tuple(getattr(jax.config, name) for name in MODES)


def in_these_modes(function: Callable) -> Callable:
    """Wrap a function so that it runs with the JAX settings of this thread, regardless of the thread that calls it."""
    chosen = modes()

    def run(*arguments):
        with contextlib.ExitStack() as stack:
            for (name, mode), value in zip(MODES.items(), chosen):
                if getattr(jax.config, name) != value:
                    stack.enter_context(mode(value))
            return function(*arguments)

    return run


def on_every_device(function, items):
    """Apply a function to items, one item at a time on each local device, and yield the results in order.

    A single CPU device is used once per core, because several small programs in parallel use the cores better than one.
    """
    devices = jax.local_devices()
    lone_cpu = len(devices) == 1 and devices[0].platform == "cpu"
    places = devices * (multiprocessing.cpu_count() if lone_cpu else 1)
    free = queue.SimpleQueue()
    for device in places:
        free.put(device)

    def run(item):
        device = free.get()
        try:
            with jax.default_device(device):
                return function(item)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(places)) as pool:
        try:
            yield from pool.map(run, items)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)  # a program still running when the process exits crashes it
