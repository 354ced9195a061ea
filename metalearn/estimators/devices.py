"""Particles in parallel on several devices: the cores of a processor, or accelerators."""

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from metalearn.memoization import Arguments, Result, memoize

AXIS = "particles"
_MESH: contextvars.ContextVar[Mesh | None] = contextvars.ContextVar("mesh", default=None)

Spread = Callable[[Callable[[Any, Any], Any]], Callable[[Any, Any], Any]]


@contextlib.contextmanager
def over_devices(devices: Sequence[Any] | None = None) -> Iterator[None]:
    """Spread the particles of the estimators that are made in this context over devices.

    Each device advances an equal number of particles, and each window ends with one sum over the devices. The results
    equal those of one device up to the order of summation (with keys of the default implementation). An estimator uses
    the largest number of devices that divides its number of particles, so choose a multiple of the number of devices.
    If it uses one device, that is JAX's default device. Between the chunks of `meta_train` the particles are gathered
    on the default device. By default a processor is one device, on which a second thread hardly speeds up small
    programs; `jax.config.update("jax_num_cpu_devices", 2)`, called before JAX's first computation, makes it two.

        with ml.over_devices():
            estimator = ml.persistent_es(problem, windows, sigma=0.1, num_pairs=8)

    The context applies to estimators that are made in the same thread. θ and the keys that are passed to them must not
    be committed to one device.

    Args:
      devices: some of `jax.devices()`; by default all devices of this process.

    Raises:
      ValueError: `devices` is empty.
    """
    chosen = jax.local_devices() if devices is None else list(devices)
    if not chosen:
        raise ValueError("devices must name at least one of jax.devices(); none was given.")
    token = _MESH.set(Mesh(np.array(chosen), (AXIS,)))
    try:
        yield
    finally:
        _MESH.reset(token)


def on_these_devices(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return the function with the present devices, for calls from other contexts and threads."""
    mesh = _MESH.get()

    def call(*arguments):
        token = _MESH.set(mesh)
        try:
            return function(*arguments)
        finally:
            _MESH.reset(token)

    return call


def kept_estimator(make: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Memoise a factory by its arguments and devices, so that equal estimators share their compiled programs."""
    return memoize(make, under=_MESH.get)


def spread_here(num_particles: int) -> tuple[int, Spread]:
    """Return the number of particles of each device, and a transformation that spreads a function over the devices.

    The transformation maps `function(common, particles)` for the particles of one device, `[share, ...]`, to the
    function for all particles, `[num_particles, ...]`.
    """
    mesh = _MESH.get()
    size = 1 if mesh is None else mesh.size
    count = max(share for share in range(1, size + 1) if num_particles % share == 0)
    if mesh is None or count == 1:
        return num_particles, lambda function: function
    each, some = PartitionSpec(AXIS), Mesh(mesh.devices[:count], (AXIS,))
    specs = {"mesh": some, "in_specs": (PartitionSpec(), each), "out_specs": each, "check_vma": False}
    return num_particles // count, lambda function: jax.jit(jax.shard_map(function, **specs))
