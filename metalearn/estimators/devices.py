"""Particles side by side on several devices: the cores of a processor, or accelerators."""

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
    """A context in which estimators are made that spread their particles over devices.

    Each device advances an equal share, and a window ends with one sum over devices: results are those of one device up
    to the order of sums (with keys of the default kind). An estimator takes as many of the devices as share its
    particles evenly: choose a multiple of their number. Where that is one, JAX's default device computes. Between the
    chunks of `meta_train` the particles are gathered on that device. A processor is one device unless told otherwise,
    and of small programs two threads run one hardly faster than one does; `jax.config.update("jax_num_cpu_devices", 2)`
    before JAX's first computation makes two devices of it.

        with ml.over_devices():
            estimator = ml.persistent_es(problem, windows, sigma=0.1, num_pairs=8)

    Estimators are spread when they are made, in the thread of the context; θ and keys given to them must not be
    committed to one device.

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


def on_these_devices(function: Callable[..., Result]) -> Callable[..., Result]:
    """The function, called in the context of now, whatever context and thread it is called in."""
    mesh = _MESH.get()

    def call(*arguments):
        token = _MESH.set(mesh)
        try:
            return function(*arguments)
        finally:
            _MESH.reset(token)

    return call


def kept_estimator(make: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """A factory that returns the estimator it made before for the same arguments and devices, with its compiled programs."""
    return memoize(make, under=_MESH.get)


def spread_here(num_particles: int) -> tuple[int, Spread]:
    """The share of each device in this context, and the map of `function(common, particles)`, on a share
    `[share, ...]`, to the function on all particles `[num_particles, ...]`.
    """
    mesh = _MESH.get()
    size = 1 if mesh is None else mesh.size
    count = max(share for share in range(1, size + 1) if num_particles % share == 0)
    if mesh is None or count == 1:
        return num_particles, lambda function: function
    each, some = PartitionSpec(AXIS), Mesh(mesh.devices[:count], (AXIS,))
    specs = {"mesh": some, "in_specs": (PartitionSpec(), each), "out_specs": each, "check_vma": False}
    return num_particles // count, lambda function: jax.jit(jax.shard_map(function, **specs))
