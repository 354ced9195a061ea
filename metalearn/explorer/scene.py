"""What can be explored: the published conditions, classical fractals, and any problem on a plane."""

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from metalearn.inner.checks import check_choice, check_count
from metalearn.inner.problem import InnerProblem, check_inner, check_key
from metalearn.inner.problems import fractals
from metalearn.landscape import Axis, Plane, condition
from metalearn.landscape.conditions import SETTINGS
from metalearn.landscape.plane import check_plane
from metalearn.outer import Study
from metalearn.types import Key


@dataclasses.dataclass(frozen=True, eq=False)
class Scene:
    """A problem on a plane, which is the widest window that is shown at first.

    Attributes:
      name: the name in links.
      problem, plane, num_steps: the inner problem, its plane and T.
      key: the key of the one episode that is shown; None for `jax.random.key(0)`.
      sigma: the standard deviation of smoothing, in the coordinates of the axes.
    """

    name: str
    problem: InnerProblem
    plane: Plane
    num_steps: int
    key: Key | None = None
    sigma: float = 0.1

    @property
    def episode(self) -> Key:
        return jax.random.key(0) if self.key is None else self.key


def problem_scene(
    problem: InnerProblem,
    plane: Plane,
    num_steps: int | None = None,
    key: Key | None = None,
    name: str = "problem",
    sigma: float | None = None,
) -> Scene:
    """Return a problem on a plane as a scene.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `plane` is not a `Plane`, `num_steps` is not a whole number, or
        `key` is not a typed key.
      ValueError: `num_steps` is below 1, or is missing and the problem has no horizon.
    """
    check_inner(problem)
    check_plane(plane)
    if key is not None:
        check_key(key)
    steps = problem.horizon if num_steps is None else num_steps
    if steps is None:
        raise ValueError(
            "The number of inner steps is unknown, because the problem has no horizon; give num_steps, as in "
            "ml.explore(problem, plane, num_steps=100)."
        )
    check_count("num_steps", steps)
    width = min(axis.high - axis.low for axis in plane[:2])
    return Scene(name, problem, plane, int(steps), key, width / 60 if sigma is None else float(sigma))


def study_scene(study: Study, key: Key | None = None) -> Scene:
    """Return the plane of a study as a scene.

    Raises:
      ValueError: the study has no plane.
    """
    if study.plane is None:
        raise ValueError(f"problem {study.name} has no plane, and the explorer needs one; give the study a plane.")
    name = study.name or "problem"
    return problem_scene(study.problem, study.plane, study.horizon, key, name, study.sigma_on_plane())


def named_scene(name: str) -> Scene:
    """Return a condition of the paper, or a classical fractal, by name.

    Raises:
      ValueError: the name is unknown.
    """
    check_choice("problem", name, (*SETTINGS, *CLASSICAL))
    if name in SETTINGS:
        found = condition(name)
        return problem_scene(found.problem, found.plane, found.num_steps, name=name)
    problem, (x, y), (half, steps), bound = CLASSICAL[name]()
    axes = [Axis(label, middle - half, middle + half) for label, middle in (("Re", x), ("Im", y))]
    if name == "lyapunov_logistic":
        axes = [Axis(label, middle - half, middle + half) for label, middle in (("A", x), ("B", y))]
    plane = Plane(axes[0], axes[1], lambda a, b: {"x": a, "y": b})
    return problem_scene(as_training(problem, bound), plane, steps, name=name)


def as_training(problem: InnerProblem, bound: float | None) -> InnerProblem:
    """Return a classical fractal as a problem that `ml.landscape.trainability` can label.

    The first state is that after one step, because the orbits of some fractals start at a critical point, where the
    derivative of the map is zero. The loss is 1 at the start. Afterwards it is the loss of the problem divided by twice
    the bound, and NaN above the bound, so that a bounded orbit counts as converged. Without a bound it is the loss
    itself; with None it is the loss plus 1, for `lyapunov_logistic`, whose loss is negative in stable orbits.
    """

    def init(theta, key):
        return problem.step(problem.init(theta, key), theta, key), jnp.zeros((), jnp.int32)

    def step(state, theta, key):
        return problem.step(state[0], theta, key), state[1] + 1

    def loss(state, theta, key):
        value = problem.loss(state[0], theta, key)
        later = value + 1 if bound is None else value
        if bound is not None and math.isfinite(bound):
            later = jnp.where(value <= bound, value / (2 * bound), jnp.nan)
        return jnp.where(state[1] == 0, jnp.ones_like(value), later)

    return InnerProblem(init, step, loss)


CLASSICAL = {  # name -> (problem, middle, (half the side, steps), bound of the loss)
    "mandelbrot": lambda: (fractals.mandelbrot(), (-0.6, 0.0), (1.4, 200), 4.0),
    "julia": lambda: (fractals.julia(-0.122561 + 0.744862j), (0.0, 0.0), (1.5, 200), 4.0),
    "burning_ship": lambda: (fractals.burning_ship(), (-0.5, -0.5), (1.6, 200), 4.0),
    "magnet": lambda: (fractals.magnet(), (1.2, 0.0), (2.0, 200), 1e4),
    "newton": lambda: (fractals.newton(), (0.0, 0.0), (1.5, 60), math.inf),
    "lyapunov_logistic": lambda: (fractals.lyapunov_logistic("AB"), (3.0, 3.0), (1.0, 200), None),
}
NAMES = (*SETTINGS, *CLASSICAL)


class Homes(Mapping):
    """The home planes of scenes, which are built when they are first used."""

    def __init__(self, scenes):
        self.scenes = scenes

    def scene(self, name) -> Scene:
        """Return a scene by name."""
        found = self.scenes[name]
        return found if isinstance(found, Scene) else found()

    def __getitem__(self, name):
        return self.scene(name).plane

    def __iter__(self):
        return iter(self.scenes)

    def __len__(self):
        return len(self.scenes)
