"""The layers of a window, from coarse to fine.

A level has twice the points per side of the one before, less one, so that every fourth point is known. Work is done in
pieces of a fraction of a second, with a check for newer work before each. The window is an argument of the compiled
programs, which are therefore shared by all windows of a scene.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import uniform_filter

from metalearn.compilation import jit
from metalearn.explorer.scene import Scene
from metalearn.explorer.view import View
from metalearn.explorer.work import Check
from metalearn.inner.checks import refusal
from metalearn.landscape import Landscape, PixelMeasures, trainability
from metalearn.landscape.pixels import in_float64
from metalearn.memoization import memoize
from metalearn.outer.diagnosis.anatomy import point_measures
from metalearn.threads import in_these_modes, on_every_device

LAYERS = ("trainability", "meta-loss", "gradient", "exponent", "roughness")
NORMS = ("rank", "linear")
COLOURS = ("automatic", "Spectral", "viridis", "magma", "cividis", "RdBu", "gray")
FIELDS = {"meta-loss": "loss", "roughness": "loss", "gradient": "log_gradient", "exponent": "exponent"}
MEANINGS = {
    "trainability": "convergence measure",
    "meta-loss": "meta-loss",
    "gradient": "ln ‖∇L‖, per unit of the axes",
    "exponent": "Lyapunov exponent per step",
    "roughness": "local Hölder exponent of the meta-loss: 1 is smooth, 0 is noise",
}
COARSEST = 17  # points per side of the first picture
PIECE = 128  # pixels of trainability between two checks for newer work
CHUNK = 16  # points of the other layers that are evaluated together
BLOCK = 9  # points per side of the neighbourhood in which the roughness is measured

Keep = Callable[[Callable[[np.ndarray], PixelMeasures], np.ndarray, str], PixelMeasures]


class Picture(NamedTuple):
    """A layer of a window.

    Attributes:
      view, layer: the window and the layer.
      values: `[height, width]`, with y ascending along the rows; NaN where there is no value.
      landscape: the `Landscape` of the layer "trainability"; None for others.
      resolution: points per side.
      final: whether this is the finest level.
    """

    view: View
    layer: str
    values: np.ndarray
    landscape: Landscape | None
    resolution: int
    final: bool


def levels(finest: int) -> list[int]:
    """Return the points per side of the levels, up to the finest: 17, 33, 65, 129 …"""
    sides = [COARSEST]
    while 2 * sides[-1] - 1 <= finest:
        sides.append(2 * sides[-1] - 1)
    return sides


def refine(
    scene: Scene, view: View, layer: str, finest: int, check: Check, keep: Keep | None = None
) -> Iterator[Picture]:
    """Yield the pictures of a window, from coarse to fine.

    Args:
      scene, view, layer: what to show.
      finest: the largest number of points per side.
      check: called before each piece of work; its exception ends the work.
      keep: as in `ml.landscape.trainability`, such as an `ml.recording.PixelStore`.

    Raises:
      ValueError: the layer needs derivatives that the problem does not have.
    """
    plane = view.plane(scene.plane)
    if layer == "trainability":
        yield from _trainability(scene, view, plane, finest, check, keep)
        return
    program = measures_at(scene, layer in ("gradient", "exponent"))
    known: Any = None
    for side in levels(finest):
        known = _filled(program, plane, side, known, check)
        values = known[FIELDS[layer]]
        shown = local_roughness(values) if layer == "roughness" else np.where(np.isfinite(values), values, np.nan)
        if layer in ("gradient", "exponent"):
            shown = np.where(known["converged"], shown, np.nan)
        yield Picture(view, layer, shown, None, side, side == levels(finest)[-1])


def _trainability(scene, view, plane, finest, check, keep):
    known = None

    def in_pieces(compute, values):
        parts = []
        for first in range(0, len(values), PIECE):
            check()
            parts.append(compute(values[first : first + PIECE]))
        return PixelMeasures(*map(np.concatenate, zip(*parts)))

    def kept(compute, values, program):
        pieces = lambda some: in_pieces(compute, some)
        return pieces(values) if keep is None else keep(pieces, values, program)

    for side in levels(finest):
        check()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the page shows the precision itself
            known = trainability(
                scene.problem,
                plane,
                num_steps=scene.num_steps,
                resolution=side,
                key=scene.key,
                adaptive=side > 2 * COARSEST,
                known=known,
                keep=kept,
            )
        yield Picture(view, "trainability", known.measure, known, side, side == levels(finest)[-1])


def _filled(program, plane, side, known, check) -> dict[str, np.ndarray]:
    """Return all measures on a grid; every second row and column is copied from the level before."""
    mask = np.ones((side, side), bool)
    if known is not None:
        mask[::2, ::2] = False
    rows, columns = np.nonzero(mask)
    offsets = np.stack([plane.x.points(side)[columns], plane.y.points(side)[rows]], axis=1)
    padded = np.concatenate([offsets, np.repeat(offsets[-1:], -len(offsets) % CHUNK, axis=0)])
    centre = np.array([plane.x.centre, plane.y.centre])

    def chunk(first):
        check()
        return program(centre, padded[first : first + CHUNK])

    parts = list(on_every_device(chunk, range(0, len(padded), CHUNK)))
    found = {name: np.concatenate([part[name] for part in parts])[: len(offsets)] for name in parts[0]}
    whole = {name: np.zeros((side, side), leaf.dtype) for name, leaf in found.items()}
    for name, leaf in found.items():
        whole[name][mask] = leaf
        if known is not None:
            whole[name][::2, ::2] = known[name]
    return whole


@memoize
def measures_at(scene: Scene, derivatives: bool) -> Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]:
    """Return the program of a scene: `(centre [2], offsets [CHUNK, 2]) -> measures`, in float64.

    Gradients are with respect to the offsets, which are in the coordinates of the axes.

    Raises:
      ValueError: `derivatives` is true and the problem has none.
    """

    def one(centre, offset):
        problem = around(scene, centre)
        found = point_measures(problem, scene.episode, scene.num_steps, derivatives)(offset)
        return {name: found[name] for name in ("loss", "converged", "log_gradient", "exponent") if name in found}

    run = jit(jax.vmap(one, in_axes=(None, 0)), "the layers of the explorer")
    with jax.enable_x64(True):
        start = (jnp.array([axis.value((axis.low + axis.high) / 2) for axis in scene.plane[:2]]), jnp.zeros(2))
        reason = refusal(one, *start) if derivatives else ""
        if reason:
            raise ValueError(f"This layer needs derivatives, and the problem has none: {reason}")
        compute = in_these_modes(lambda centre, offsets: run(jnp.asarray(centre), jnp.asarray(offsets)))

    return lambda centre, offsets: jax.tree.map(np.asarray, compute(centre, offsets))


def around(scene: Scene, centre):
    """Return the problem of a scene as a function of the offset from a centre, an array `[2]`."""
    problem, axes = in_float64(scene.problem), scene.plane[:2]

    def theta(offset):
        values = [
            middle * 10.0**step if axis.scale == "log10" else middle + step
            for axis, middle, step in zip(axes, centre, offset)
        ]
        return scene.plane.place(*values)

    return problem._replace(
        init=lambda offset, key: problem.init(theta(offset), key),
        step=lambda state, offset, key: problem.step(state, theta(offset), key),
        loss=lambda state, offset, key: problem.loss(state, theta(offset), key),
    )


def local_roughness(values: np.ndarray) -> np.ndarray:
    """Return the local Hölder exponent of a landscape, in blocks of 9 × 9 points.

        H = log₂ (S(2) / S(1)),   S(k) = mean |L(i + k) − 2 L(i) + L(i − k)| over rows and columns,

    cut to [0, 1]; NaN where a difference is not finite or all differences are zero.
    """
    sizes = []
    for lag in (1, 2):
        total = np.full(values.shape, 0.0)
        for axis in (0, 1):
            padded = np.pad(np.moveaxis(values, axis, 0), ((lag, lag), (0, 0)), mode="reflect", reflect_type="odd")
            with np.errstate(invalid="ignore"):
                second = np.abs(padded[2 * lag :] - 2 * padded[lag:-lag] + padded[: -2 * lag])
            total += np.moveaxis(second, 0, axis)
        finite = np.isfinite(total)
        share = uniform_filter(finite.astype(float), BLOCK)
        mean = uniform_filter(np.where(finite, total, 0.0), BLOCK)
        sizes.append(np.where(finite & (share > 0), mean / np.maximum(share, 1e-9), np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.clip(np.where(sizes[0] > 0, np.log2(sizes[1] / sizes[0]), np.nan), 0, 1)
