"""The data shared by the parts of the report: the problem on its plane, and the results of earlier parts."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import dynamics
from metalearn.compilation import jit
from metalearn.estimators import GradientEstimator
from metalearn.explain.settings import Settings
from metalearn.figures import Section
from metalearn.inner.checks import check_number, refusal
from metalearn.inner.differentiable import check_problem
from metalearn.inner.problem import InnerProblem, check_inner, check_key, split_episode
from metalearn.inner.unroll import Truncation, check_truncation, meta_loss
from metalearn.landscape import Plane, Smoothed, smoothing_pyramid
from metalearn.landscape.plane import check_plane
from metalearn.landscape.smoothing import narrowest
from metalearn.outer import Descent
from metalearn.outer.diagnosis.anatomy import Anatomy, on_plane

TOO_LARGE = 1e3  # relative to the initial loss: a larger loss counts as diverged


class Part(NamedTuple):
    """A section of the page, and its numbers.

    Attributes:
      section: the section of the page.
      arrays, rows: the numbers that are written to files next to the page, as arrays and as a table.
    """

    section: Section
    arrays: Mapping[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []  # noqa: RUF012


@dataclasses.dataclass
class PlaneStudy:
    """A problem as a function of the two coordinates of its plane, and the results so far.

    Attributes:
      problem: the inner problem; its θ is the pair of coordinates, an array `[2]`.
      plane: the plane of the coordinates.
      windows: horizon and length; its key is `episode`.
      sigma: the standard deviation of every smoothing, in the units of the axes.
      sigmas: the sigmas of the smoothed landscapes: those of the settings that are not too small for the grid.
      height: the second coordinate of the cut.
      key: the randomness of everything.
      episode: the key of the one episode that is measured.
      settings: the sizes of the measurements.
      descents, starts: the estimators of the outer trajectories, and their starts, `[num_starts, 2]`.
      undifferentiable: the reason why the problem has no derivatives, one sentence; empty if it has derivatives.
      anatomy, landscape, smooth: set by the parts `layers` and `smoothing`, which run first.
      compared: the estimators of the part `signal`, which are the same objects at every place and are compiled once.
    """

    problem: InnerProblem
    plane: Plane
    windows: Truncation
    sigma: float
    sigmas: tuple[float, ...]
    height: float
    key: jax.Array
    episode: jax.Array
    settings: Settings
    descents: Mapping[str, Descent]
    starts: jax.Array
    undifferentiable: str
    anatomy: Anatomy = dataclasses.field(init=False)
    landscape: np.ndarray = dataclasses.field(init=False)
    smooth: dict[float, Smoothed] = dataclasses.field(default_factory=dict)
    compared: dict[str, GradientEstimator] | None = None

    @property
    def horizon(self) -> int:
        return self.windows.horizon

    def value(self, point):
        """Return the meta-loss of the one episode."""
        return meta_loss(self.problem, point, self.episode, self.horizon)

    @functools.cached_property
    def start(self) -> float:
        """Return the largest finite initial loss at the corners of the plane."""
        first, steps = split_episode(self.episode)
        loss = jit(lambda point: self.problem.loss(self.problem.init(point, first), point, steps), "losses", calls=4)
        corners = [(x, y) for x in self.plane.x.points(2) for y in self.plane.y.points(2)]
        losses = np.array([float(loss(jnp.array(corner))) for corner in corners])
        return float(np.max(losses[np.isfinite(losses)], initial=0.0))

    @functools.cached_property
    def measured(self):
        """Return `value` as a compiled function."""
        return jit(self.value, "the meta-loss")

    def at(self, x: float) -> jax.Array:
        """Return a point of the cut."""
        return jnp.array([x, self.height])


def build_plane_study(
    problem: InnerProblem,
    plane: Plane,
    windows: Truncation,
    sigma: float,
    key: jax.Array,
    *,
    height: float | None = None,
    descents: Mapping[str, Descent] | None = None,
    starts: Any = None,
    settings: Settings = Settings(),  # noqa: B008
) -> PlaneStudy:
    """Check the arguments of `explain`, and build the study of a problem on a plane.

    Args:
      problem, plane, sigma, key, height, descents, starts, settings: as in `explain`.
      windows: horizon and length. Its key is replaced by the key of the one episode that is measured.

    Returns:
      A `PlaneStudy`.

    Raises:
      TypeError: `windows` is not a `Truncation`, `plane` is not a `Plane`, `key` is not a typed key, `ml.check_problem`
        rejects the type of the problem, `descents` is not a mapping to `Descent`, or an argument is not a number.
      ValueError: `sigma` is not positive, a number of the settings is out of its range, every one of `settings.sigmas`
        is too small for the grid, or there are descents without starts.
    """
    check_inner(problem)
    check_plane(plane)
    check_key(key)
    check_truncation(windows)
    if not isinstance(settings, Settings):
        raise TypeError(f"settings must be an ml.explain.Settings; {type(settings).__name__} was given.")
    check_number("sigma", sigma, 0, open_low=True)
    settings = settings.checked()
    episode = jax.random.fold_in(key, 2)
    windows = Truncation(windows.horizon, windows.length, key=episode)
    restricted, coordinates = on_plane(problem, plane)
    x, y = coordinates[:2]
    height = (y.low + y.high) / 2 if height is None else height
    check_number("height", height)
    middle = jnp.array([(axis.low + axis.high) / 2 for axis in (x, y)])
    check_problem(restricted, middle)
    least = max(map(narrowest, (x, y), settings.smoothing))
    sigmas = tuple(float(one) for one in settings.sigmas if one >= least)
    flat = np.zeros(settings.smoothing[::-1])
    smoothing_pyramid(flat, coordinates, sigmas or settings.sigmas)  # raises if all of them are too small for the grid
    derivative = lambda point: dynamics.meta_gradient(restricted, point, episode, num_steps=windows.horizon)
    refused = refusal(derivative, middle)
    descents = {} if descents is None else descents
    places = _check_starts(descents, starts)
    return PlaneStudy(
        restricted,
        coordinates,
        windows,
        float(sigma),
        sigmas,
        float(height),
        key,
        episode,
        settings,
        descents,
        places,
        refused,
    )


def _check_starts(descents: Mapping[str, Descent], starts: Any) -> jax.Array:
    if not isinstance(descents, Mapping):
        raise TypeError(
            f"descents must be a mapping from names to ml.outer.Descent; {type(descents).__name__} was given."
        )
    for name, descent in descents.items():
        if not isinstance(descent, Descent):
            raise TypeError(f"descents[{name!r}] must be an ml.outer.Descent; {type(descent).__name__} was given.")
    try:
        places = jnp.asarray(np.zeros((0, 2)) if starts is None else starts, float)
    except (TypeError, ValueError):
        places = jnp.zeros(())
    if places.ndim != 2 or places.shape[1] != 2 or (descents and not len(places)):
        raise ValueError(
            f"starts must be pairs of coordinates of the plane, [[x, y], ...], at least one if there are descents; {starts} "
            "was given."
        )
    return places


def lead(study: PlaneStudy) -> str:
    """Return the paragraph below the title."""
    return (
        f"Training is an iterated map of {study.horizon} steps. This page shows where its meta-loss can be minimised with gradients "
        f"through training, where it cannot, and why, on the plane of {study.plane.x.name} and {study.plane.y.name}. "
        f"Gradients are per unit of these axes; everything was computed in {jnp.result_type(float)}."
    )


def bounded(values, start: float) -> tuple[np.ndarray, str]:
    """Return a finite landscape, and a sentence if it was capped.

    Values that are not finite are replaced by the largest finite value. If this is more than 1000 times the initial
    loss, all values above the initial loss are replaced by it.
    """
    largest = float(values[np.isfinite(values)].max())
    cap = start if largest > TOO_LARGE * start > 0 else largest
    values = np.minimum(np.where(np.isfinite(values), values, cap), cap)
    return values, "" if cap == largest else f" Values above {cap:.3g}, the initial loss, are replaced by it."


def axis_values(plane: Plane, shape) -> dict[str, np.ndarray]:
    return {"x": plane.x.points(shape[1]), "y": plane.y.points(shape[0])}
