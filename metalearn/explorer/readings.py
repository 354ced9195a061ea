"""What training does at one point of a plane: losses, outcome, exponent, gradients, and the distance to the border."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.compilation import jit
from metalearn.explorer.layers import CHUNK, around, measures_at
from metalearn.explorer.outer import smoothed_gradient
from metalearn.explorer.scene import Scene
from metalearn.explorer.view import View
from metalearn.explorer.work import Check
from metalearn.inner.problem import split_episode, take_step
from metalearn.landscape import measure_pixels
from metalearn.memoization import memoize

RAYS = 16
RINGS = 24  # radii of the search for the border; each is half the next
ROUNDS = 8  # refinements of the distance, each with 16 points between two radii
PARTED = 0.1  # relative difference of two losses above which they count as parted


class Reading(NamedTuple):
    """Training at a point.

    Attributes:
      x, y: the point, as values.
      losses: the loss before step t = 0 … T − 1, `[T]`.
      outcome: "converged", "diverged", or "undecided" if the labels at T/2 and at T differ.
      escape: the first step whose loss is not finite; −1 if there is none.
      exponent: the largest Lyapunov exponent per step; NaN without derivatives.
      log_gradient: ln ‖∇L‖ per unit of the axes; NaN without derivatives.
      log_smoothed, smoothed_error: ln ‖∇L_σ‖ of the meta-loss smoothed by σ, where losses count at most as much as the
        loss at the start, and the standard error of the length divided by the length.
      distance: to the nearest point with the other outcome, in the coordinates of the axes; infinite if none was found.
      without: the reason why there are no derivatives; empty if there are.
    """

    x: float
    y: float
    losses: np.ndarray
    outcome: str
    escape: int
    exponent: float = math.nan
    log_gradient: float = math.nan
    log_smoothed: float = math.nan
    smoothed_error: float = math.nan
    distance: float = math.nan
    without: str = ""

    def __str__(self) -> str:
        """Return the numbers as text, one a line."""
        escaped = f", loss not finite from step {self.escape}" if self.escape >= 0 else ""
        number = lambda value: "unknown" if math.isnan(value) else f"{value:.4g}"
        error = "" if math.isnan(self.smoothed_error) else f" ± {self.smoothed_error:.2g}"
        distance = "none found" if math.isinf(self.distance) else number(self.distance)
        rows = [
            ("x", repr(self.x)),
            ("y", repr(self.y)),
            ("outcome", f"{self.outcome}{escaped}"),
            ("Lyapunov exponent per step", number(self.exponent)),
            ("ln ‖∇L‖", number(self.log_gradient)),
            ("ln ‖∇L_σ‖", f"{number(self.log_smoothed)}{error}"),
            ("distance to the border", distance),
        ]
        rows += [("without derivatives", self.without)] * bool(self.without)
        return "\n".join(f"{name:28s}{value}" for name, value in rows)


def read_point(
    scene: Scene,
    view: View,
    x: float,
    y: float,
    check: Check,
    report: Callable[[Reading], None] = lambda reading: None,
    *,
    pairs: int = 32,
) -> Reading:
    """Train at a point and measure what happens.

    Args:
      scene: the problem.
      view: the window, whose width bounds the search for the border.
      x, y: the point, as values.
      check: called between the parts; its exception ends the work.
      report: called with what is known after each part; numbers that are not known yet are NaN.
      pairs: the antithetic pairs of the smoothed gradient.
    """
    check()
    losses, found = losses_at(scene, x, y), _outcome(scene, np.array([[x, y]]))
    outcome = "converged" if found.converged[0] else "diverged"
    if found.converged[0] != found.before[0]:
        outcome = "undecided"
    reading = Reading(x, y, losses, outcome, int(found.escape[0]))
    report(reading)
    reading = reading._replace(distance=border_distance(scene, view, x, y, check))
    report(reading)
    check()
    try:
        measured = measures_at(scene, True)(np.array([x, y]), np.zeros((CHUNK, 2)))
        exponent, gradient = float(measured["exponent"][0]), float(measured["log_gradient"][0])
        reading = reading._replace(exponent=exponent, log_gradient=gradient)
    except ValueError as error:
        reading = reading._replace(without=str(error))
    report(reading)
    check()
    length, error = smoothed_gradient(scene, x, y, pairs)
    with np.errstate(divide="ignore", invalid="ignore"):
        smoothed = float(np.log(length * losses[0]))
        reading = reading._replace(log_smoothed=smoothed, smoothed_error=float(np.divide(error, length)))
    report(reading)
    return reading


def losses_at(scene: Scene, x: float, y: float) -> np.ndarray:
    """Return the loss before each step at a point, `[T]`, in float64."""
    with jax.enable_x64(True):
        return np.asarray(_losses(scene)(jnp.array([x, y])))


@memoize
def _losses(scene):
    def run(centre):
        problem, offset = around(scene, centre), jnp.zeros(2)
        first, steps = split_episode(scene.episode)

        def step(state, index):
            here = jax.random.fold_in(steps, index)
            loss = problem.loss(state, offset, here).astype(float)
            return take_step(problem, state, offset, here), loss

        return jax.lax.scan(step, trees.strong(problem.init(offset, first)), jnp.arange(scene.num_steps))[1]

    return jit(run, "the losses of a point")


def border_distance(scene: Scene, view: View, x: float, y: float, check: Check) -> float:
    """Return the distance from a point to the nearest point found with the other outcome.

    The search looks along 16 rays at 24 radii, the largest of which is the larger side of the window, and then divides
    the interval on the best rays. The distance is accurate to about 1 % for a smooth border, and an upper bound in
    general.
    """
    reach = 2 * max(view.half_width, view.half_height)
    radii = reach * 0.5 ** np.arange(RINGS)[::-1]
    first = _labels(scene, x, y, np.zeros((1, 2)))[0]
    angles = 2 * np.pi * np.arange(RAYS) / RAYS
    best, angle = math.inf, 0.0
    for turn in range(2):
        check()
        points = radii[:, None, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        other = _labels(scene, x, y, points.reshape(-1, 2)).reshape(len(radii), len(angles)) != first
        if not other.any():
            return best
        ring = int(np.argmax(other.any(axis=1)))
        low, high = (radii[ring - 1] if ring else 0.0), radii[ring]
        for direction in angles[other[ring]]:
            check()
            found = _between(scene, x, y, first, direction, low, high)
            if found < best:
                best, angle = found, direction
        if turn == 0:
            angles = angle + np.linspace(-1, 1, RAYS + 1) * np.pi / RAYS
            radii = np.linspace(0.9, 1.0, 11)[1:] * best
    return best


def _between(scene, x, y, first, angle, low, high):
    """Return the radius of the first change of the outcome along a ray, between two radii."""
    direction = np.array([np.cos(angle), np.sin(angle)])
    for _ in range(2):
        radii = np.linspace(low, high, ROUNDS * 2 + 1)
        other = _labels(scene, x, y, radii[1:, None] * direction) != first
        if not other.any():
            return high
        place = int(np.argmax(other))
        low, high = radii[place], radii[place + 1]
    return float(high)


def _labels(scene, x, y, offsets):
    view = View(x, y, 1.0, 1.0).plane(scene.plane)
    values = np.stack([view.x.value(offsets[:, 0]), view.y.value(offsets[:, 1])], axis=1)
    return _outcome(scene, values).converged


def _outcome(scene, values) -> Any:
    settings = {"num_steps": scene.num_steps, "key": scene.key}
    return measure_pixels(scene.problem, scene.plane.place, values, **settings)


def part(first: Reading, second: Reading) -> int:
    """Return the first step at which two loss curves differ by more than 10 % of their mean; −1 if there is none.

    A loss that is not finite differs from every finite loss.
    """
    a, b = first.losses, second.losses
    finite = np.isfinite(a) & np.isfinite(b)
    with np.errstate(invalid="ignore"):
        apart = np.abs(a - b) > PARTED * (np.abs(a) + np.abs(b)) / 2
    other = np.where(finite, apart, np.isfinite(a) != np.isfinite(b))
    return int(np.argmax(other)) if other.any() else -1


def describe_pair(first: Reading, second: Reading) -> str:
    """Return a sentence that compares two points."""
    step = part(first, second)
    start = f"The points differ by ({second.x - first.x:.3g}, {second.y - first.y:.3g})."
    if step < 0:
        return f"{start} Their losses differ by less than {PARTED:.0%} at all {len(first.losses)} steps."
    same = f"both {first.outcome}" if first.outcome == second.outcome else f"{first.outcome} and {second.outcome}"
    return f"{start} Their losses part at step {step}: they differ by more than {PARTED:.0%}. The outcomes: {same}."
