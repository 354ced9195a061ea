"""A problem together with everything that experiments need to know about it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner.checks import check_bool, check_number
from metalearn.inner.problem import InnerProblem, check_horizon, check_problem, check_theta
from metalearn.inner.unroll import Truncation, nearest_divisor
from metalearn.landscape import Plane
from metalearn.landscape.plane import check_plane
from metalearn.outer.observables import check_observables
from metalearn.outer.search.random_search import uniform
from metalearn.types import Key, Theta
from metalearn.words import suggestion

ITSELF = "theta"  # the path of a θ that is one array


@dataclasses.dataclass(frozen=True, eq=False)
class Study:
    """A problem, the initial θ, and the settings for training and figures. A problem file returns a `Study`.

    Attributes:
      problem: the inner problem.
      theta: the initial θ, any pytree of floating-point arrays.
      horizon: the number of inner steps of an episode.
      length: the number of inner steps of a window; by default the divisor of the horizon nearest to a tenth of it.
      sigma: the standard deviation of the perturbations of θ.
      name: the name of runs and figures.
      labels: names and units of entries of θ, by path: "rate/w" is a leaf of a nested dictionary, "rate/w/0" its first
        entry, and "theta" stands for a θ that is one array.
      plane: two axes through θ-space, for landscapes, zooms and reports.
      starts: coordinates of the plane from which outer trajectories start, `[num_starts, 2]`; by default four points, a
        quarter of the plane away from its edges.
      plane_sigma: the standard deviation of smoothing along the axes of the plane, in their units; by default `sigma`,
        if a step of one along an axis is a step of one in θ and the axes are orthogonal.
      held_out: the problem on which θ is evaluated, such as the same training with other data; by default `problem`.
      box: (low, high), the region of searches; each has the structure of θ or is one number for all entries. By default
        the plane, if θ is the pair of its coordinates.
      observables: name -> `(state, theta, key) -> scalar`, other functions of the state, such as the true goal if the
        loss is a proxy.
      repeat_randomness: whether every episode uses the same random numbers, so that the meta-loss is a function of θ.
      stagger, shared_minibatches: as in `ml.Truncation`.

    Raises:
      TypeError: a field has the wrong type, or `ml.check_problem` finds that the problem does not fit θ.
      ValueError: θ is not finite, the length does not divide the horizon, sigma is not positive, the plane, the starts,
        the box or a label do not fit θ, an observable is called "loss" or "held_out", or `shared_minibatches` and
        `repeat_randomness` are both true.
    """

    problem: InnerProblem
    theta: Theta
    horizon: int
    length: int | None = None
    sigma: float = 0.1
    name: str = ""
    labels: Mapping[str, str] | None = None
    plane: Plane | None = None
    starts: Any = None
    plane_sigma: float | None = None
    held_out: InnerProblem | None = None
    box: tuple[Any, Any] | None = None
    observables: Mapping[str, Callable[..., Any]] | None = None
    repeat_randomness: bool = False
    stagger: bool = False
    shared_minibatches: bool = False

    def __post_init__(self):
        check_theta(self.theta)
        object.__setattr__(self, "theta", jax.tree.map(jnp.asarray, self.theta))
        if not trees.all_finite(self.theta):
            raise ValueError("The theta of a study must be finite; it contains a number that is not.")
        check_bool("repeat_randomness", self.repeat_randomness)
        self.windows(jax.random.key(0))  # its error says what does not fit
        for name, problem in {"problem": self.problem, "held_out": self.held_out}.items():
            if not isinstance(problem, InnerProblem) and (problem is not None or name == "problem"):
                raise TypeError(f"{name} must be an ml.InnerProblem; {type(problem).__name__} was given.")
            if problem is not None:
                check_horizon(problem, self.horizon)
                check_problem(problem, self.theta)
        for name in ("sigma", "plane_sigma"):
            if getattr(self, name) is not None or name == "sigma":
                check_number(name, getattr(self, name))
                if not getattr(self, name) > 0:
                    raise ValueError(f"{name} must be positive; {getattr(self, name)} was given.")
        if not isinstance(self.name, str):
            raise TypeError(f"name must be a string; {self.name!r} was given.")
        _check_labels(self.labels, self.theta)
        check_observables(self)
        object.__setattr__(self, "starts", _checked_starts(self.plane, self.starts, self.theta))
        if self.box is not None:
            object.__setattr__(self, "box", _checked_box(self.box, self.theta))

    def windows(self, key: Key, whole: bool = False) -> Truncation:
        """Return the division of episodes into windows.

        Args:
          key: the randomness of every episode, if it is repeated.
          whole: True for one window an episode.
        """
        repeated = key if self.repeat_randomness else None
        cut = lambda length: Truncation(self.horizon, length, self.stagger, repeated, self.shared_minibatches)
        episode = cut(self.horizon) if whole or self.length is None else cut(self.length)
        if whole or self.length is not None:
            return episode
        return cut(nearest_divisor(episode.horizon, round(episode.horizon / 10)))

    def label(self, path: str) -> str:
        """Return the name and unit of an entry of θ, or its path if it has no label."""
        return (self.labels or {}).get(path, path)

    @property
    def searched(self) -> tuple[Theta, Theta] | None:
        """Return the ends of the box for searches."""
        if self.box is None and self.plane is not None and self.on_axes:
            low, high = ([getattr(axis, end) for axis in self.plane[:2]] for end in ("low", "high"))
            return jnp.array(low, self.theta.dtype), jnp.array(high, self.theta.dtype)
        return self.box

    @property
    def on_axes(self) -> bool:
        """Return whether θ is the pair of coordinates of the plane."""
        if self.plane is None or not isinstance(self.theta, jax.Array) or self.theta.shape != (2,):
            return False
        place, corners = (
            self.plane.theta,
            jnp.array([[getattr(axis, end) for axis in self.plane[:2]] for end in ("low", "high")], float),
        )
        return all(bool(jnp.array_equal(place(*point), point)) for point in corners)

    def sigma_on_plane(self) -> float | None:
        """Return the standard deviation of smoothing in the units of the axes; None if it is unknown."""
        if self.plane_sigma is not None or self.plane is None:
            return self.plane_sigma
        if any(axis.scale != "linear" for axis in self.plane[:2]):
            return None
        place, middle = self.plane.theta, [(axis.low + axis.high) / 2 for axis in self.plane[:2]]
        moved = jax.tree.leaves(jax.jacfwd(lambda at: place(at[0], at[1]))(jnp.array(middle)))
        columns = np.concatenate([np.asarray(leaf, float).reshape(-1, 2) for leaf in moved])
        return self.sigma if np.allclose(columns.T @ columns, np.eye(2), atol=1e-4) else None


def leaf_paths(theta: Theta) -> dict[str, jax.Array]:
    """Return the leaves of θ by path; the path is "theta" if θ is one array."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(theta)
    return {jax.tree_util.keystr(path, simple=True, separator="/") or ITSELF: leaf for path, leaf in leaves}


def _check_labels(labels, theta) -> None:
    if labels is None:
        return
    if not isinstance(labels, Mapping) or not all(isinstance(one, str) for pair in labels.items() for one in pair):
        raise TypeError(f'labels must be strings by path, such as {{"rate/w": "log rate"}}; {labels!r} was given.')
    known = leaf_paths(theta)
    for path in labels:
        if path in known:
            continue
        leaf = next((leaf for leaf in known if path.startswith(f"{leaf}/")), None)
        index = path[len(leaf) + 1 :].split("/") if leaf else []
        shape = jnp.shape(known[leaf]) if leaf else ()
        if not leaf or len(index) != len(shape) or not all(i.isdigit() and int(i) < n for i, n in zip(index, shape)):
            raise ValueError(
                f"labels has the entry {path!r}, which theta does not have{suggestion(path, known)}; its leaves are "
                f"{', '.join(known)}, and a path followed by /0 is the first entry of that leaf."
            )


def _checked_starts(plane, starts, theta):
    """Return the starts as an array, or their default."""
    if plane is None:
        if starts is not None:
            raise ValueError(
                "starts are coordinates of a plane, and the study has no plane; give plane, or omit starts."
            )
        return None
    check_plane(plane)
    placed = jax.eval_shape(plane.theta, 0.0, 0.0)
    if not trees.alike(placed, theta):
        raise ValueError(
            f"plane must place theta: it makes {jax.tree.map(lambda leaf: leaf.shape, placed)}, and theta is "
            f"{jax.tree.map(jnp.shape, theta)} (structure and shapes)."
        )
    if starts is None:
        near = [[axis.low + share * (axis.high - axis.low) for share in (0.25, 0.75)] for axis in plane[:2]]
        starts = [[x, y] for y in near[1] for x in near[0]]
    try:
        places = jnp.asarray(starts, float)
    except (TypeError, ValueError):
        places = jnp.zeros(())
    if places.ndim != 2 or places.shape[1] != 2 or not len(places) or not jnp.all(jnp.isfinite(places)):
        raise ValueError(f"starts must be finite pairs of coordinates of the plane, [[x, y], ...]; {starts} was given.")
    return places


def _checked_box(box, theta):
    """Return both ends as trees like θ."""
    if not isinstance(box, (tuple, list)) or len(box) != 2:
        raise TypeError(f"box must be a pair (low, high); {box!r} was given.")
    one = lambda end: isinstance(end, (int, float)) or (hasattr(end, "shape") and end.shape == ())
    low, high = (jax.tree.map(lambda leaf, e=end: jnp.full_like(leaf, e), theta) if one(end) else end for end in box)
    for name, end in (("low", low), ("high", high)):
        try:
            fits = trees.alike(end, theta)
        except TypeError:
            fits = False
        if not fits:
            raise ValueError(
                f"box: {name} must be one number, or numbers in the structure and shapes of theta, "
                f"{jax.tree.map(jnp.shape, theta)}; {end!r} was given."
            )
    match = lambda end: jax.tree.map(lambda leaf, like: jnp.asarray(leaf, like.dtype), end, theta)
    low, high = match(low), match(high)
    uniform(low, high)  # raises an error for ends that are not finite or not in order
    return low, high
