"""Particles side by side on several devices: the cores of a processor, or accelerators."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

AXIS = "particles"
_MESH: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar("mesh", default=None)

Spread = Callable[[Callable[[Any, Any], Any]], Callable[[Any, Any], Any]]


@contextlib.contextmanager
def over_devices(devices: Sequence[jax.Device] | None = None) -> Iterator[None]:
    """A context in which estimators are made that spread their particles over devices.

    Each device advances its equal share, and a window ends with one sum over devices: results are those of one device up to the
    order of sums. A processor is one device unless told otherwise, and of small programs two threads run one hardly faster
    than one does; `jax.config.update("jax_num_cpu_devices", 2)` before JAX's first computation makes two devices of it.

        with ml.over_devices():
            estimator = ml.persistent_es(problem, windows, sigma=0.1, num_pairs=8)

    Args:
      devices: some of `jax.devices()`; all of this process by default.

    Raises:
      ValueError: there is no device.
    """
    chosen = jax.local_devices() if devices is None else list(devices)
    if not chosen:
        raise ValueError("devices must name at least one of jax.devices(); none was given.")
    token = _MESH.set(Mesh(np.array(chosen), (AXIS,)))
    try:
        yield
    finally:
        _MESH.reset(token)


def spread_here(num_particles: int) -> tuple[int, Spread]:
    """The share of each device in this context, and the map of `function(common, particles)`, on a share
    `[share, ...]`, to the function on all particles `[num_particles, ...]`.

    Raises:
      ValueError: the particles cannot be shared out evenly.
    """
    mesh = _MESH.get()
    if mesh is None or mesh.size == 1:
        return num_particles, lambda function: function
    if num_particles % mesh.size:
        raise ValueError(
            f"{num_particles} particles cannot be shared evenly among the {mesh.size} devices of ml.over_devices; choose a "
            f"multiple of {mesh.size}, or name fewer devices."
        )
    each = PartitionSpec(AXIS)
    specs = {"mesh": mesh, "in_specs": (PartitionSpec(), each), "out_specs": each, "check_vma": False}
    return num_particles // mesh.size, lambda function: jax.shard_map(function, **specs)
