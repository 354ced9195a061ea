"""The convergence measure of a training run, from a history of losses or one loss at a time, and its border."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import debugging

CAP = 1e6
LAST = 20
SMALLEST = 1e-300  # 1/v of a loss that reaches zero stays finite


class Record(NamedTuple):
    """Sums over the losses so far; all fields are scalars.

    Attributes:
      first: ℓ_0, the loss at the start, not normalised.
      falling, rising: Σ v and Σ 1/v of the normalised losses.
      half, last: Σ v over the last 20 losses before step T/2, and before step T.
      escape: the first step whose loss is not finite; −1 if there is none.
    """

    first: jax.Array
    falling: jax.Array
    rising: jax.Array
    half: jax.Array
    last: jax.Array
    escape: jax.Array


def normalise(losses, first):
    """Return v_t = min(ℓ_t / ℓ_0, 10⁶), where a loss that is not finite counts as 10⁶."""
    losses, first = (jnp.where(debugging.finite(loss), loss, CAP) for loss in (losses, first))
    ratio = losses / jnp.where(first == 0, 1.0, first)
    return jnp.minimum(jnp.where(first == 0, jnp.where(losses == 0, 1.0, CAP), ratio), CAP)


def begin(loss) -> Record:
    """Return the record before step 0, given the loss at the start."""
    zero = jnp.zeros_like(loss)
    return Record(loss, zero, zero, zero, zero, jnp.full(jnp.shape(loss), -1, jnp.int32))


def observe(record: Record, loss, step, num_steps) -> Record:
    """Add the loss read before step `step`."""
    value = normalise(loss, record.first)
    escaped = jnp.where((record.escape < 0) & ~debugging.finite(loss), jnp.asarray(step, jnp.int32), record.escape)
    return _add(record._replace(escape=escaped), value, step, step + 1, num_steps)


def settle(record: Record, stop, num_steps) -> Record:
    """Add the losses of the steps from `stop` on, which are not finite."""
    escape = jnp.where((record.escape < 0) & (stop < num_steps), stop, record.escape)
    record = record._replace(escape=escape)
    return _add(record, normalise(jnp.full_like(record.first, CAP), record.first), stop, num_steps, num_steps)


def _add(record, value, start, stop, num_steps):
    """Add one value for each of the steps from start to stop."""
    half, count = num_steps // 2, jnp.asarray(stop - start, value.dtype)
    in_half, in_last = (
        jnp.clip(jnp.minimum(stop, end) - jnp.maximum(start, jnp.maximum(end - LAST, 0)), 0).astype(value.dtype)
        for end in (half, num_steps)
    )
    return record._replace(
        falling=record.falling + count * value,
        rising=record.rising + count / jnp.maximum(value, SMALLEST),
        half=record.half + in_half * value,
        last=record.last + in_last * value,
    )


def verdict(record: Record, num_steps: int):
    """Return `(measure, converged, converged at T/2)` of a finished record; with T = 1 the last two are equal."""
    converged = record.last / min(LAST, num_steps) < 1
    before = record.half / min(LAST, num_steps // 2) < 1 if num_steps > 1 else converged
    falling = jnp.maximum(jnp.abs(record.falling), SMALLEST)
    return jnp.where(converged, -falling, record.rising), converged, before


def trains(losses, start):
    """Return whether training converged: the mean of the last 20 losses `[num_steps]` is below the first loss."""
    return jnp.mean(losses[-LAST:]) < start


def convergence_measure(losses) -> np.ndarray:
    """Return how fast a training run converged or diverged; negative values mean convergence.

        v_t = min(ℓ_t / ℓ_0, 10⁶), where losses that are not finite are replaced by 10⁶ before the division;
        v_t = 1 for ℓ_t = ℓ_0 = 0, and 10⁶ for other losses if ℓ_0 = 0;
        converged ⟺ the mean of the last 20 v_t < 1;   measure = −Σ v_t if converged, + Σ 1/v_t otherwise.

    The slower the convergence, the more negative the measure.

    Args:
      losses: the losses `[..., T]`, where ℓ_0 is the loss at the start of training. The measure is designed for losses
        that are not negative. For other losses, it is −|Σ v_t| if converged, so that the sign shows the outcome.

    Returns:
      A finite float64 array `[...]`.

    Raises:
      ValueError: `losses` is empty or does not contain real numbers.

    References:
      Sohl-Dickstein 2024, arXiv 2402.06184, and its notebook.
    """
    losses = np.asarray(losses)
    if losses.ndim < 1 or losses.shape[-1] < 1 or losses.dtype.kind not in "fiu":
        raise ValueError(
            f"losses must be real numbers [..., T] with T at least 1; {losses.dtype} {losses.shape} was given."
        )
    num_steps = losses.shape[-1]
    with jax.enable_x64(True):
        series = jnp.moveaxis(jnp.asarray(losses, jnp.float64), -1, 0)
        record, _ = jax.lax.scan(
            lambda record, new: (observe(record, new[0], new[1], num_steps), None),
            begin(series[0]),
            (series, jnp.arange(num_steps)),
        )
        return np.asarray(verdict(record, num_steps)[0])


def edges(measure) -> np.ndarray:
    """Return the cells that the border crosses: 2 × 2 blocks of pixels with different outcomes.

    Args:
      measure: `[H, W]`, negative where training converged; or boolean labels.

    Returns:
      Booleans `[H−1, W−1]`: whether the signs or the labels of a block differ.

    Raises:
      ValueError: `measure` is not an image of at least 2 × 2 pixels, or contains NaN.
    """
    measure = np.asarray(measure)
    if measure.ndim != 2 or min(measure.shape) < 2:
        raise ValueError(f"edges need an image [H, W] of at least 2 × 2 pixels; shape {measure.shape} was given.")
    if np.any(np.isnan(measure)):
        raise ValueError("edges need an image without NaN; replace NaN in pixels that have no measure.")
    corners = [measure[:-1, :-1], measure[:-1, 1:], measure[1:, :-1], measure[1:, 1:]]
    if measure.dtype == bool:
        return np.logical_or.reduce(corners) & ~np.logical_and.reduce(corners)
    return (np.maximum.reduce(corners) > 0) & (np.minimum.reduce(corners) < 0)
