"""The risk of least squares with random features, which is largest if there are as many features as points."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_choice, check_count, check_number
from metalearn.inner.problem import check_key
from metalearn.types import Key

FEATURES = {"cos": np.cos, "tanh": np.tanh, "relu": lambda x: np.maximum(x, 0)}


def random_features_risk(
    counts: Sequence[int],
    key: Key,
    num_seeds: int = 40,
    *,
    scale: float = 20.0,
    noise: float = 0.1,
    num_points: int = 10,
    features: str = "cos",
    num_tests: int = 100,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the training and the test error of least squares of minimum norm, for several numbers of features.

        y_i = f(x_i) + noise · ε_i,   f(x) = sin 3x + x²/2,   x_1 … x_n equally spaced on [−1, 1],
        φ_j(x) = cos(a_j x + b_j),   a_j ~ N(0, scale²),   b_j uniform on [0, 2π),
        w = the shortest vector that minimises Σ_i (Σ_j w_j φ_j(x_i) − y_i)².

    The training error is a proxy of the test error, the mean of (Σ_j w_j φ_j(x) − f(x))² over equally spaced x, and the
    number of features is the capacity to minimise it. A seed draws the features once: smaller numbers use the first of
    them. The computation is in float64.

    Args:
      counts: the numbers of features.
      key: the random key.
      num_seeds: independent draws of features and noise.
      scale: the standard deviation of a_j.
      noise: the standard deviation of the noise on y_i.
      num_points: n.
      features: "cos"; or "tanh" or "relu", with b_j ~ N(0, scale²).
      num_tests: the points of the test error.

    Returns:
      `(training, test)`: mean squared errors, `[num_seeds, len(counts)]` each.

    Raises:
      TypeError: `key` is not a typed key, a count is not a whole number, or `scale` or `noise` is not a real number.
      ValueError: there are no counts, a count is below 1 (`num_points` and `num_tests`: below 2), `scale` or `noise` is
        negative, or `features` is unknown.
    """
    check_key(key)
    check_features(counts, num_seeds)
    check_count("num_points", num_points, 2)
    check_count("num_tests", num_tests, 2)
    check_number("scale", scale, 0)
    check_number("noise", noise, 0)
    check_choice("features", features, FEATURES)
    with jax.enable_x64(True):
        draws = [np.asarray(leaf) for leaf in _draws(key, num_seeds, max(counts), num_points)]
    known, tests = np.linspace(-1, 1, num_points), np.linspace(-1, 1, num_tests)
    true, errors = lambda x: np.sin(3 * x) + x**2 / 2, np.empty((2, num_seeds, len(counts)))
    for seed, (slopes, turns, shifts, disturbance) in enumerate(zip(*draws)):
        offsets = 2 * np.pi * turns if features == "cos" else scale * shifts
        here, there = (FEATURES[features](x[:, None] * scale * slopes + offsets) for x in (known, tests))
        values = true(known) + noise * disturbance
        for place, count in enumerate(counts):
            weights = np.linalg.lstsq(here[:, :count], values)[0]
            errors[0, seed, place] = np.mean((here[:, :count] @ weights - values) ** 2)
            errors[1, seed, place] = np.mean((there[:, :count] @ weights - true(tests)) ** 2)
    return errors[0], errors[1]


def check_features(counts: Sequence[int], num_seeds: int) -> None:
    """Check the numbers of features and of seeds, as `random_features_risk` does.

    Raises:
      TypeError: a count is not a whole number.
      ValueError: there are no counts, or a count is below 1.
    """
    if isinstance(counts, str) or not hasattr(counts, "__len__") or not len(counts):
        raise ValueError(
            f"counts must be a sequence of numbers of features, such as (4, 10, 10000); {counts!r} was given."
        )
    for count in counts:
        check_count("Every one of counts", count)
    check_count("num_seeds", num_seeds)


def _draws(key, num_seeds, num_features, num_points):
    """Draw the slopes, the phases in turns, the normal offsets and the noise, `[num_seeds, ...]` each."""
    keys = jax.random.split(key, 4)
    shape = (num_seeds, num_features)
    normal = lambda key, shape: jax.random.normal(key, shape, jnp.float64)
    turns = jax.random.uniform(keys[1], shape, jnp.float64)
    return normal(keys[0], shape), turns, normal(keys[2], shape), normal(keys[3], (num_seeds, num_points))
