"""What the parts of the report share: the problem on its plane, and what earlier parts measured."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from hydra.utils import instantiate

from metalearn import dynamics
from metalearn.application import build_plane, parse_seed, parse_theta
from metalearn.compilation import jit
from metalearn.estimators import GradientEstimator
from metalearn.figures import Section
from metalearn.inner.checks import check_count, check_number, refusal
from metalearn.inner.differentiable import check_problem
from metalearn.inner.problem import InnerProblem, split_episode
from metalearn.inner.unroll import meta_loss
from metalearn.landscape import Plane, Smoothed, smoothing_pyramid
from metalearn.landscape.smoothing import narrowest
from metalearn.outer.diagnosis.anatomy import Anatomy, on_plane

MOST_PLACES = 100  # along the cut: the keys of its parts are a hundred numbers apart
TOO_LARGE = 1e3  # times the loss of a start: what is larger has diverged in all but name


class Part(NamedTuple):
    """A section of the page, and the numbers behind it.

    Attributes:
      section: what is shown; None where the configuration leaves the part out.
      arrays, rows: what is written beside the page, as arrays and as a table.
    """

    section: Section | None
    arrays: Mapping[str, np.ndarray] = {}
    rows: list[dict[str, Any]] = []  # noqa: RUF012


@dataclasses.dataclass
class Study:
    """A problem as a function of the two coordinates of its plane, and what is known about it so far.

    Attributes:
      config: of `experiments/explain.py`.
      problem: its θ is the pair of coordinates, an array `[2]`.
      plane: the coordinates.
      sigma: of every smoothing, in the units of the axes.
      sigmas: of the smoothed landscapes, those of the configuration that the grid holds.
      height: the second coordinate of the cut.
      key: the randomness of everything; `episode` that of the one episode everything is measured on.
      undifferentiable: why the problem has no derivatives, in a sentence; empty where it has.
      anatomy, landscape, smooth: set by the parts `layers` and `smoothing`, which come first.
      compared: estimators of the part `signal`, the same objects at every place: they are compiled once.
    """

    config: Any
    problem: InnerProblem
    plane: Plane
    sigma: float
    sigmas: tuple[float, ...]
    height: float
    key: jax.Array
    episode: jax.Array
    undifferentiable: str
    anatomy: Anatomy = dataclasses.field(init=False)
    landscape: np.ndarray = dataclasses.field(init=False)
    smooth: dict[float, Smoothed] = dataclasses.field(default_factory=dict)
    compared: dict[str, GradientEstimator] | None = None

    @property
    def horizon(self) -> int:
        return self.config.problem.horizon

    def value(self, point):
        """The meta-loss of the one episode."""
        return meta_loss(self.problem, point, self.episode, self.horizon)

    @functools.cached_property
    def start(self) -> float:
        """The largest finite loss of a start, of those at the corners of the plane."""
        first, steps = split_episode(self.episode)
        loss = jit(lambda point: self.problem.loss(self.problem.init(point, first), point, steps), "losses", calls=4)
        corners = [(x, y) for x in self.plane.x.points(2) for y in self.plane.y.points(2)]
        losses = np.array([float(loss(jax.numpy.array(corner))) for corner in corners])
        return float(np.max(losses[np.isfinite(losses)], initial=0.0))

    @functools.cached_property
    def measured(self):
        """`value`, compiled."""
        return jit(self.value, "the meta-loss")

    def at(self, x: float) -> jax.Array:
        """A point of the cut."""
        return jax.numpy.array([x, self.height])


def build_study(config) -> Study:
    """Build the problem of a configuration and look at it before anything is computed.

    Raises:
      TypeError, ValueError: a sentence on what does not fit.
    """
    theta, settings = parse_theta(config.problem.theta), config.problem
    problem, key = instantiate(settings.build, _convert_="all"), parse_seed(config.seed)
    plane = build_plane(settings, theta)
    if plane is None:
        raise ValueError(f"problem {settings.name} has no plane to draw; give problem.plane.x and problem.plane.y.")
    cut = config.cut
    if not config.sigmas or cut.points < 4 or cut.smoothed < 1:
        raise ValueError(
            "sigmas needs at least one entry, cut.points at least 4 and cut.smoothed at least 1; "
            f"{config.sigmas}, {cut.points} and {cut.smoothed} were given."
        )
    for name, count in (("cut.smoothed", cut.smoothed), ("comparison.points", config.comparison.points)):
        check_count(name, count, 0, MOST_PLACES)
    check_problem(problem, theta)
    entries = plane.x.scale == plane.y.scale == "linear" and not settings.plane.get("directions")
    sigma = settings.plane.get("sigma", settings.sigma if entries else None)
    if sigma is None:
        raise ValueError(
            "The axes of problem.plane are not the entries of theta: give problem.plane.sigma in their units."
        )
    check_number("problem.plane.sigma", sigma, 0, open_low=True)
    height = float(settings.theta[1]) if entries else (plane.y.low + plane.y.high) / 2
    restricted, coordinates = on_plane(problem, plane)
    least = max(map(narrowest, coordinates[:2], config.smoothing))
    sigmas = tuple(float(one) for one in config.sigmas if one >= least)
    smoothing_pyramid(np.zeros(config.smoothing[::-1]), coordinates, sigmas or config.sigmas)  # refuses what is none
    episode = jax.random.fold_in(key, 2)
    derivative = lambda point: dynamics.meta_gradient(restricted, point, episode, num_steps=settings.horizon)
    middle = jax.numpy.array([(axis.low + axis.high) / 2 for axis in coordinates[:2]])
    refused = refusal(derivative, middle)
    return Study(config, restricted, coordinates, float(sigma), sigmas, height, key, episode, refused)


def lead(study: Study) -> str:
    """The paragraph below the title."""
    return (
        f"Training is an iterated map of {study.horizon} steps. This page shows where its meta-loss can be descended by gradients "
        f"through training, where it cannot, and why, on the plane of {study.plane.x.name} and {study.plane.y.name}. "
        f"Gradients are per unit of these axes; everything was computed in {'float64' if study.config.float64 else 'float32'}."
    )


def bounded(values, start: float) -> tuple[np.ndarray, str]:
    """A finite landscape, and a sentence where that needed a cap.

    What is not finite reads as the largest value; where that is a thousand times the loss of a start, all above the
    latter read as it.
    """
    largest = float(values[np.isfinite(values)].max())
    cap = start if largest > TOO_LARGE * start > 0 else largest
    values = np.minimum(np.where(np.isfinite(values), values, cap), cap)
    return values, "" if cap == largest else f" Values above {cap:.3g}, the loss of a start, read as that."


def axis_values(plane: Plane, shape) -> dict[str, np.ndarray]:
    return {"x": plane.x.points(shape[1]), "y": plane.y.points(shape[0])}
