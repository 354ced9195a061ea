"""Check that the noise of an estimator's description has mean 0 and covariance identity, as all targets require."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn import trees
from metalearn.inner.checks import refusal
from metalearn.types import Key, Theta

DRAWS, BLOCKS, MOST_ERRORS = 2048, 64, 6.0
LEAST_ERROR = 1e-3  # of noise without spread, such as the squares of random signs


def check_perturbation(name: str, draw: Callable[[Key, Theta], Theta], theta: Theta) -> None:
    """Check the noise of a description at θ, for up to 64 blocks of coordinates and for all coordinates together.

    Args:
      name: the estimator that is described.
      draw: `(key, theta) -> noise`.
      theta: θ.

    Raises:
      TypeError: the function cannot be called with a key and θ.
      ValueError: the noise does not have the structure and shapes of θ, or not mean 0 and covariance identity.
    """
    key, title = jax.random.key(0), f"The perturbation in the description of {name!r}"
    if reason := refusal(draw, key, theta):
        raise TypeError(f"{title} must be a function (key, theta) -> noise; calling it failed: {reason}")
    if not trees.alike(jax.eval_shape(draw, key, theta), theta):
        raise ValueError(f"{title} must return noise with the structure and shapes of theta; it does not.")
    project = jax.jit(lambda keys: jax.lax.map(lambda one: _project(draw(one, theta)), keys, batch_size=16))
    values = np.asarray(project(jax.random.split(key, DRAWS)), np.float64)
    for words, samples, exact in (("mean", values, 0.0), ("mean square", values**2, 1.0)):
        mean, error = samples.mean(axis=0), samples.std(axis=0) / np.sqrt(DRAWS)
        away = np.nan_to_num(np.abs(mean - exact) / (MOST_ERRORS * error + LEAST_ERROR), nan=np.inf)
        if np.max(away) > 1:
            raise ValueError(
                f"{title} must return noise of mean 0 and covariance identity, before it is multiplied by sigma; along one "
                f"direction its {words} is {mean[np.argmax(away)]:.3g}, not {exact:g}. For another covariance, scale theta in "
                "the problem, or give the target with compare(..., reference=...)."
            )


def _project(noise: Theta) -> jax.Array:
    """Return the noise along directions of length 1: the diagonal, random signs, and the parts of these in blocks.

    Blocks are not shorter than 1/64 of the coordinates, so that noise in only a few coordinates is detected too.
    """
    flat = ravel_pytree(trees.wide(noise))[0].astype(jnp.float32)
    size = len(flat)
    count = min(size, BLOCKS)
    signed = flat * np.random.default_rng(0).choice([-1.0, 1.0], size).astype(np.float32)
    block = np.arange(size) * count // size
    parts = jax.ops.segment_sum(signed, block, count, indices_are_sorted=True) / np.sqrt(np.bincount(block))
    return jnp.stack([flat.sum() / np.sqrt(size), signed.sum() / np.sqrt(size), *parts])
