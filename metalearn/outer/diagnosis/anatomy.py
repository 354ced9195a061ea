"""Measure where training is chaotic and how this affects the meta-gradient, over a plane of θ-space."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from metalearn import dynamics
from metalearn.brief import brief_help
from metalearn.inner.checks import check_count
from metalearn.inner.problem import InnerProblem, check_horizon, check_problem, split_episode
from metalearn.inner.unroll import unroll_episode
from metalearn.landscape import Axis, GradientMap, Plane, Smoothed, gradient_map, render
from metalearn.landscape.measure import trains
from metalearn.landscape.plane import check_plane
from metalearn.types import Key, Progress

DERIVED = ("log_gradient", "log_growth", "exponent", "exponent_error", "flip_fraction")
CHAOTIC = 0.02  # nats per step: a training run with a larger λ is regarded as chaotic


@brief_help
class Anatomy(NamedTuple):
    """All measurements on a plane of θ-space, in arrays `[height, width]`; row = y, ascending.

    Gradients are with respect to the coordinates of the plane: per decade on a log10 axis.

    Attributes:
      plane: the plane.
      num_steps: T.
      loss: the meta-loss L of one episode.
      converged: whether the mean of the last 20 losses is below the loss at the start.
      log_gradient: ln ‖∇L‖, finite even if ∇L overflows; −∞ if ∇L is zero.
      direction: ∇L / ‖∇L‖, `[height, width, 2]`.
      log_growth: ln ‖ds_T/d(x, y)‖.
      exponent, exponent_error: the largest Lyapunov exponent per step, and its standard error.
      flip_fraction: the fraction of steps at which the leading direction reverses; see `dynamics.lyapunov`.
    """

    plane: Plane
    num_steps: int
    loss: np.ndarray
    converged: np.ndarray
    log_gradient: np.ndarray
    direction: np.ndarray
    log_growth: np.ndarray
    exponent: np.ndarray
    exponent_error: np.ndarray
    flip_fraction: np.ndarray

    def gradient_map(self, smoothed: Smoothed) -> GradientMap:
        """Compare the gradient with that of the smoothed landscape."""
        return gradient_map(self.log_gradient, self.direction, smoothed.gradient)


@brief_help
class Law(NamedTuple):
    """A straight line fitted to ln ‖∇L‖, or ln ‖ds_T/dθ‖, as a function of λT.

    Attributes:
      correlation, slope: of the line; the Lyapunov law predicts 1 for both.
      count: the number of points.
    """

    correlation: float
    slope: float
    count: int


def on_plane(problem: InnerProblem, plane: Plane) -> tuple[InnerProblem, Plane]:
    """Return the problem as a function of two coordinates, an array `[2]`, and the plane of these coordinates.

    Args:
      problem: the inner problem.
      plane: the plane through its θ-space.

    Returns:
      `(problem, plane)`: the problem whose θ is (x, y), and the plane that returns (x, y).
    """
    theta = lambda point: plane.theta(point[0], point[1])
    restricted = problem._replace(
        init=lambda point, key: problem.init(theta(point), key),
        step=lambda state, point, key: problem.step(state, theta(point), key),
        loss=lambda state, point, key: problem.loss(state, theta(point), key),
    )
    axes = [Axis(axis.name, axis.low, axis.high) for axis in plane[:2]]
    return restricted, Plane(axes[0], axes[1], lambda x, y: jnp.stack([x, y]))


def anatomy(
    problem: InnerProblem,
    plane: Plane,
    resolution: int | tuple[int, int],
    key: Key,
    *,
    num_steps: int,
    derivatives: bool = True,
    chunk_size: int = 16,
    progress: Progress | None = None,
    name: str = "anatomy",
) -> Anatomy:
    """Measure one episode at every point of a plane: loss, gradient, tangent growth and Lyapunov exponent.

    The computation uses the default precision of the process. The random numbers of float64 differ from those of
    float32, so that the episode is the one that an estimator in the same process sees. Derivatives that overflow are
    reported by their logarithms in either precision.

    Args:
      problem: the inner problem.
      plane, resolution, chunk_size, progress, name: as in `ml.landscape.render`.
      key: the random key of the episode, the same at every point.
      num_steps: T.
      derivatives: False if the problem has no derivatives; the fields that need them are then NaN.

    Raises:
      TypeError: `problem` is not an `InnerProblem` or cannot be traced on the plane, `plane` is not a `Plane`, or
        `num_steps`, `resolution` or `chunk_size` is not a whole number.
      ValueError: `problem` is made for another horizon, `num_steps` or `chunk_size` is below 1, or `resolution` is
        below 2.
    """
    check_count("num_steps", num_steps)
    check_plane(plane)
    check_horizon(problem, num_steps)
    restricted, coordinates = on_plane(problem, plane)

    check_problem(restricted, jnp.array([axis.low for axis in coordinates[:2]], float))

    measure = point_measures(restricted, key, num_steps, derivatives)
    layers = render(measure, coordinates, resolution, chunk_size=chunk_size, progress=progress, name=name)
    shape, kind = layers["loss"].shape, layers["loss"].dtype
    nothing = dict.fromkeys(DERIVED, np.full(shape, np.nan, kind)) | {"direction": np.full((*shape, 2), np.nan, kind)}
    layers = nothing | layers
    return Anatomy(plane=plane, num_steps=num_steps, **layers)


def point_measures(problem: InnerProblem, key: Key, num_steps: int, derivatives: bool = True) -> Callable:
    """Return the function `point -> measures` that `anatomy` evaluates on a grid; points are arrays `[2]`."""

    def plain(point):
        return {"losses": unroll_episode(problem, point, key, num_steps)[1]}

    def derived(point):
        gradient = dynamics.meta_gradient(problem, point, key, num_steps=num_steps)
        exponents = dynamics.lyapunov(problem, point, key, num_steps=num_steps)
        return {
            "losses": gradient.losses,
            "log_gradient": gradient.log_length,
            "direction": gradient.direction,
            "log_growth": gradient.log_growth,
            "exponent": exponents.exponents[0],
            "exponent_error": exponents.standard_errors[0],
            "flip_fraction": exponents.flip_fraction,
        }

    def measure(point):
        first, steps = split_episode(key)
        start = problem.loss(problem.init(point, first), point, steps)
        found = (derived if derivatives else plain)(point)
        losses = found.pop("losses")
        return found | {"loss": jnp.mean(losses), "converged": trains(losses, start)}

    return measure


def lyapunov_law(found: Anatomy, least: float = CHAOTIC) -> dict[str, Law]:
    """Fit ln ‖∇L‖ ("gradient") and ln ‖ds_T/dθ‖ ("growth") as linear functions of λT.

    Args:
      found: the result of `anatomy`.
      least: only points that converged and whose exponent is larger than this are used.

    Returns:
      "gradient" and "growth" -> `Law`; its numbers are NaN if fewer than three points remain.
    """
    chosen = found.converged & (found.exponent > least)
    size = found.exponent * found.num_steps
    return {
        "gradient": _law(size[chosen], found.log_gradient[chosen]),
        "growth": _law(size[chosen], found.log_growth[chosen]),
    }


def _law(x, y):
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Law(float("nan"), float("nan"), len(x))
    return Law(float(np.corrcoef(x, y)[0, 1]), float(np.polyfit(x, y, 1)[0]), len(x))
