"""Floor 0: work on other threads of the process."""

import multiprocessing
import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax


def precision() -> tuple[bool, str | None]:
    """What this thread computes in: whether it has 64 bits, and the precision of its matrix products."""
    config: Any = jax.config
    return bool(config.jax_enable_x64), config.jax_default_matmul_precision


def in_this_precision(function: Callable) -> Callable:
    """The function, run with the 64 bits and the precision of products of this thread: both hold for one thread only."""
    wide, products = precision()

    def run(*arguments):
        with jax.enable_x64(wide), jax.default_matmul_precision(products):
            return function(*arguments)

    return run


def on_every_device(function, items):
    """`map` in order, an item at a time on each device of this process, as results come in.

    A lone CPU device counts once for each core: small programs use the cores better side by side than one by one.
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
            pool.shutdown(wait=True, cancel_futures=True)  # a program that runs while the process ends crashes it
