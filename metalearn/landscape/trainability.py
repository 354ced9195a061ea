"""Trainability: the measure of `convergence_measure` on a plane, computed without storing losses."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from metalearn import tabular
from metalearn.brief import brief_help
from metalearn.inner.checks import check_bool, check_count
from metalearn.inner.problem import InnerProblem, check_key
from metalearn.landscape import adaptive as quadtree
from metalearn.landscape.pixel_rows import landscape_table, pixel_rows
from metalearn.landscape.pixels import PixelMeasures, band_size, hash_program, measure_pixels
from metalearn.landscape.plane import Plane, check_plane
from metalearn.landscape.render import check_resolution
from metalearn.types import Key, Progress

CHECKED, LEAST = (
    0.01,
    256,
)  # filled pixels that an adaptive picture checks: per cell that was not split, and the minimum
TILE = 8  # bands passed to `keep` at a time, which is the most that an interruption can lose


@brief_help
class Landscape(NamedTuple):
    """Trainability on a grid; arrays `[height, width]`, with y ascending along the rows.

    Attributes:
      measure: negative where training converged, positive where it diverged; float64, finite.
      converged: whether training converged, that is, the mean of the last 20 losses is below the first loss.
      undecided: whether the labels at T/2 and at T differ.
      escape: the first step whose loss is not finite; −1 if there is none.
      plane: the plane that was rendered.
      num_steps: T.
      pixel_steps: the number of inner steps that were computed, including the padding of the last chunk of a band; far
        fewer than width · height · T if many pixels were dropped early or were not trained.
      computed: whether the pixel was trained, for this picture or for `known`; other pixels are filled.
      checked: the number of randomly chosen filled pixels that were then computed.
      wrong: the number of checked pixels that had been filled with a wrong label or are undecided; wrong / checked
        estimates the fraction of wrong pixels among the filled ones.
      program: a hash of the problem, its constants, the key and T; `known` must have the same hash.
    """

    measure: np.ndarray
    converged: np.ndarray
    undecided: np.ndarray
    escape: np.ndarray
    plane: Plane
    num_steps: int
    pixel_steps: int
    computed: np.ndarray
    checked: int = 0
    wrong: int = 0
    program: str = ""

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS
    __str__ = tabular.to_text
    rows, _table = pixel_rows, landscape_table


def trainability(
    problem: InnerProblem,
    plane: Plane,
    *,
    num_steps: int,
    resolution: int | tuple[int, int],
    key: Key | None = None,
    adaptive: bool = False,
    known: Landscape | None = None,
    chunk_size: int | None = None,
    drop_diverged: bool = True,
    keep: Callable[[Callable[[np.ndarray], PixelMeasures], np.ndarray, str], PixelMeasures] | None = None,
    progress: Progress | None = None,
    name: str = "pixels",
) -> Landscape:
    """Train at every point of a plane and measure how fast training converged or diverged.

    The loss ℓ_t is evaluated before step t, t = 0 … T−1, and accumulated as in `convergence_measure`, without storing
    losses. Everything is computed in float64, independently of the precision of the process. Every 25 steps, the pixels
    whose measure can no longer change are dropped: those whose loss is NaN and whose state has an array of NaN only. A
    program is compiled once for a problem, a `place` and a number of steps; windows and resolutions share it. Pixels
    are computed in chunks of a fixed size, so the bits of a pixel do not depend on the picture. They are distributed
    over all devices of all processes of `jax.distributed`, which must all make the same call.

    Args:
      problem: the inner problem; all pixels use the same key.
      plane: the plane to render.
      num_steps: T.
      resolution: points per side, or (width, height), each at least 2.
      key: the key of the episode; by default `jax.random.key(0)`.
      adaptive: whether to train only near the border; cells of equal labels are filled from their corners. A random
        sample of the filled pixels, one hundredth of the number of these cells but at least 256, is then computed to
        estimate how many are wrong.
      known: another picture of the same problem, steps and key; pixels with exactly equal x and y are copied from it.
        In a zoom by 2 with 4k + 1 points per side this is a quarter of the pixels.
      chunk_size: pixels advanced together; by default 16 on a CPU, which fit in a core's cache, and 4096 on other
        devices.
      drop_diverged: set it to False for a problem whose state can recover from NaN.
      keep: called as `keep(compute, values, program)` instead of `compute(values)`, with at most eight bands of 512
        pixels. `ml.recording.Tiles` stores the results in files, so that an interrupted picture can be resumed.
      progress: called as `progress(name, pixels_done, pixels)` after each band of 512 pixels, and at the end.
      name: the name that is passed to `progress`.

    Raises:
      TypeError: `plane` is not a `Plane`, `num_steps`, `resolution` or `chunk_size` is not a whole number, `adaptive`
        or `drop_diverged` is not a bool, or `keep` is not a function.
      ValueError: `num_steps` or `chunk_size` is below 1, `resolution` is below 2, or `known` is a picture of another
        problem, other data, another key or another number of steps.

    Warns:
      UserWarning: neighbouring pixels are closer than 100 units in the last place of θ.
    """
    check_plane(plane)
    width, height = check_resolution(resolution)
    if key is not None:
        check_key(key)
    check_count("num_steps", num_steps)
    for switch, value in {"adaptive": adaptive, "drop_diverged": drop_diverged}.items():
        check_bool(switch, value)
    if keep is not None and not callable(keep):
        raise TypeError(f"keep must be a function such as ml.recording.Tiles(folder, settings); {keep!r} was given.")
    program = hash_program(problem, plane.place, num_steps, key)
    _check_known(known, num_steps, program)
    _warn_of_rounding(plane, width, height)
    x, y = plane.x.values(width), plane.y.values(height)
    picture = _blank(height, width)
    if known is not None:
        _take_over(picture, known, x, y)
    settings: dict[str, Any] = {"num_steps": num_steps, "key": key}
    settings |= {"chunk_size": chunk_size, "drop_diverged": drop_diverged, "name": name}
    size = width * height if keep is None else TILE * band_size(chunk_size)
    spent = 0.0

    def compute(mask):
        nonlocal spent
        rows, columns = np.nonzero(mask & ~picture["computed"])
        values = np.stack([x[columns], y[rows]], axis=1)
        for first in range(0, len(values), size):
            part = slice(first, first + size)
            report = _from(progress, int(picture["computed"].sum()), width * height)
            train = lambda some, report=report: measure_pixels(problem, plane.place, some, progress=report, **settings)
            found = train(values[part]) if keep is None else keep(train, values[part], program)
            spent += float(np.sum(found.steps))
            new = {"undecided": found.converged != found.before, "computed": True}
            for name, leaf in (found._asdict() | new).items():
                if name in picture:
                    picture[name][rows[part], columns[part]] = leaf

    if not adaptive:
        compute(np.ones((height, width), bool))
    checked, wrong = _refine(picture, compute, quadtree.coarsest_spacing(height, width)) if adaptive else (0, 0)
    if progress is not None:
        progress(name, width * height, width * height)
    return Landscape(
        **picture,
        plane=plane,
        num_steps=num_steps,
        pixel_steps=round(spent),
        checked=checked,
        wrong=wrong,
        program=program,
    )


def _from(progress, ready, total):
    """Return the progress function for a part of a picture, given the number of pixels that are finished."""

    def report(name, done, _):
        if ready + done < total:
            progress(name, ready + done, total)

    return None if progress is None else report


def _blank(height, width) -> dict[str, Any]:
    """Return a picture without computed pixels, as arrays with the names of the fields of `Landscape`."""
    kinds = {"measure": float, "converged": bool, "undecided": bool, "escape": np.int32, "computed": bool}
    return {name: np.zeros((height, width), kind) for name, kind in kinds.items()}


def _take_over(picture, known, x, y):
    """Copy the pixels whose x and y equal, bit for bit, those of a pixel of the known picture."""
    height, width = known.measure.shape
    _, columns, from_columns = np.intersect1d(x, known.plane.x.values(width), return_indices=True)
    _, rows, from_rows = np.intersect1d(y, known.plane.y.values(height), return_indices=True)
    for name, leaf in picture.items():
        there = getattr(known, name)[np.ix_(from_rows, from_columns)]
        leaf[np.ix_(rows, columns)] = there
    for name in set(picture) - {"computed"}:
        picture[name][~picture["computed"]] = 0


def _refine(picture, compute, spacing):
    """Compute the pixels near the border, fill the others and check a sample; return the numbers checked and wrong."""
    computed = picture["computed"]
    labels = lambda: (picture["converged"], picture["undecided"], computed, spacing)

    def descend():
        while np.any(mask := quadtree.wanted(*labels())):
            compute(mask)

    height, width = computed.shape
    compute(quadtree.lattice(height, width, spacing))
    descend()
    skipped = np.flatnonzero(~computed)
    count = min(len(skipped), max(LEAST, round(CHECKED * quadtree.skipped_cells(*labels()))))
    sample = np.unravel_index(np.random.default_rng(0).permutation(skipped)[:count], computed.shape)
    filled = quadtree.fill(picture["measure"], computed, spacing)[sample] < 0
    mask = np.zeros_like(computed)
    mask[sample] = True
    compute(mask)
    wrong = int(np.sum((picture["converged"][sample] != filled) | picture["undecided"][sample]))
    descend()
    picture["escape"] = quadtree.fill(picture["escape"], computed, spacing, nearest=True)
    picture["measure"] = quadtree.fill(picture["measure"], computed, spacing)
    picture["converged"] = picture["measure"] < 0
    return count, wrong


def _check_known(known, num_steps, program):
    if known is not None and known.num_steps != num_steps:
        raise ValueError(
            f"known is a picture after {known.num_steps} steps and cannot be used for one after {num_steps} steps; "
            "render it with the same num_steps."
        )
    if known is not None and known.program != program:
        raise ValueError("known is a picture of another problem, other data or another key; its pixels cannot be used.")


def _warn_of_rounding(plane, width, height):
    for axis, roundings in zip((plane.x, plane.y), plane.pitch_in_roundings(width, height)):
        if roundings < 100:
            warnings.warn(
                f"The pixels along axis {axis.name!r} are {roundings:.2g} roundings (units in the last place) of θ in float64 apart; "
                "below 100 rounding errors dominate the picture. Zoom out or lower the resolution.",
                stacklevel=3,
            )
