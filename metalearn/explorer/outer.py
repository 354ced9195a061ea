"""Outer loops from a point of the plane: the smoothed gradient, the diagnosis, and meta-training.

They use the problem as a function of its two coordinates, with the loss relative to that at the start and at most 1, so
that diverged runs have a finite loss.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.compilation import jit
from metalearn.estimators import backprop, evolution_strategies, noise_reuse_es, persistent_es
from metalearn.explorer.scene import Scene
from metalearn.explorer.view import coordinates
from metalearn.explorer.work import Check
from metalearn.inner.divergence import saturate
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation, nearest_divisor
from metalearn.landscape.pixels import in_float64
from metalearn.memoization import memoize
from metalearn.outer import meta_train
from metalearn.outer.diagnosis.anatomy import on_plane
from metalearn.outer.diagnosis.diagnose import diagnose

PAIRS = 8  # antithetic pairs of an outer step
CHUNK = 5  # outer steps between two drawings of a path
ESTIMATORS = ("persistent ES", "noise-reuse ES", "full ES", "truncated ES", "truncated backprop", "full backprop")


@memoize
def relative_problem(scene: Scene) -> InnerProblem:
    """Return the problem of a scene as a function of the coordinates `[2]`, with the loss min(ℓ / ℓ_0, 1)."""
    problem, _ = on_plane(in_float64(scene.problem), scene.plane)

    def init(theta, key):
        state = problem.init(theta, key)
        return state, problem.loss(state, theta, key)

    relative = problem._replace(
        init=init,
        step=lambda state, theta, key: (problem.step(state[0], theta, key), state[1]),
        loss=lambda state, theta, key: problem.loss(state[0], theta, key) / state[1],
        cap=None,
    )
    return relative if problem.horizon is not None else saturate(relative, 1.0)


def smoothed_gradient(scene: Scene, x: float, y: float, pairs: int) -> tuple[float, float]:
    """Return the length of the gradient of the smoothed relative loss at a point, and its standard error."""
    with jax.enable_x64(True):
        point = jnp.array(coordinates(scene.plane, x, y))
        samples = np.asarray(_gradients(scene, pairs)(point, jax.random.key(1)))
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples))
    return float(np.linalg.norm(samples.mean(axis=0))), float(np.linalg.norm(error))


@memoize
def _gradients(scene, pairs):
    """Return the program of eight independent estimates by full-horizon ES."""
    parts = 8
    windows = Truncation(scene.num_steps, scene.num_steps, key=scene.episode)
    count = max(1, pairs // parts)

    def run(theta, key):
        estimator = evolution_strategies(relative_problem(scene), windows, sigma=scene.sigma, num_pairs=count)
        one = lambda key: estimator.estimate(theta, estimator.init(theta, key), key)[0]
        return jax.lax.map(one, jax.random.split(key, parts))

    return jit(run, "the smoothed gradient of a point")


def windows_of(scene: Scene) -> Truncation:
    """Return episodes of T steps in about ten windows, always the episode that is shown."""
    length = nearest_divisor(scene.num_steps, round(scene.num_steps / 10))
    return Truncation(scene.num_steps, length, key=scene.episode)


def diagnosis_card(scene: Scene, x: float, y: float, check: Check) -> str:
    """Return the card of `ml.diagnose` at a point, for the relative loss.

    Raises:
      AbandonedError: newer work has arrived.
    """
    with jax.enable_x64(True):
        point = jnp.array(coordinates(scene.plane, x, y))
        report = lambda name, done, total: check()
        found = diagnose(
            relative_problem(scene), point, scene.sigma, windows_of(scene), jax.random.key(2), progress=report
        )
    return str(found)


@memoize
def _estimator(scene, name) -> Any:
    whole = Truncation(scene.num_steps, scene.num_steps, key=scene.episode)
    smooth = {"sigma": scene.sigma, "num_pairs": PAIRS}
    problem, windows = relative_problem(scene), windows_of(scene)
    builders: dict[str, Callable[[], Any]] = {
        "persistent ES": lambda: persistent_es(problem, windows, **smooth),
        "noise-reuse ES": lambda: noise_reuse_es(problem, windows, **smooth),
        "full ES": lambda: evolution_strategies(problem, whole, **smooth),
        "truncated ES": lambda: evolution_strategies(problem, windows, **smooth),
        "truncated backprop": lambda: backprop(problem, windows),
        "full backprop": lambda: backprop(problem, whole),
    }
    return builders[name](), optax.adam(scene.sigma / 2)


def outer_path(
    scene: Scene, name: str, x: float, y: float, num_steps: int, check: Check, draw: Callable[[np.ndarray], None]
) -> np.ndarray:
    """Meta-train from a point, and draw the path while it grows.

    Args:
      scene: the problem.
      name: one of `ESTIMATORS`.
      x, y: the start, as values.
      num_steps: the outer steps, by Adam with the learning rate σ/2.
      check: called every five outer steps; its exception ends the work.
      draw: called every five outer steps with the path so far, coordinates of the plane `[count, 2]`.

    Returns:
      The whole path, `[num_steps + 1, 2]`; shorter if meta-training stopped early.
    """
    path: list[np.ndarray] = []

    def grow(step, theta, history):
        check()
        path.append(np.asarray(history.theta, float))
        draw(np.concatenate([*path, np.asarray(theta, float)[None]]))

    low, high = (np.array([getattr(axis, end) for axis in scene.plane[:2]]) for end in ("low", "high"))
    with jax.enable_x64(True):
        estimator, optimizer = _estimator(scene, name)
        start = jnp.array(coordinates(scene.plane, x, y))
        project = _box(tuple(low), tuple(high))
        theta, _ = meta_train(
            estimator,
            optimizer,
            start,
            jax.random.key(3),
            num_steps,
            project=project,
            chunk_length=CHUNK,
            callback=grow,
        )
    return np.concatenate([*path, np.asarray(theta, float)[None]])


@memoize
def _box(low, high):
    return lambda theta: jnp.clip(theta, jnp.array(low), jnp.array(high))
