"""A comparison of the raw gradient of a landscape with the gradient of the smoothed landscape."""

from typing import NamedTuple

import numpy as np

from metalearn.brief import brief_help

LENGTHS = (0.1, 10.0)
AGREE = 1e-3


@brief_help
class GradientMap(NamedTuple):
    """A comparison of a raw with a smoothed gradient field; arrays `[height, width]`.

    Attributes:
      log_length: ln |g|; −∞ where the gradient is zero, NaN where it is missing.
      cosine: the cosine of the angle between g and g_σ; NaN where one of them is zero or missing.
      log_ratio: ln (|g| / |g_σ|).
      usable: whether the cosine is positive and |g| is between a tenth of and ten times |g_σ|.
      disagreement: ‖forward − reverse‖ / max(‖forward‖, ‖reverse‖); NaN without `reverse` or where a derivative
        overflowed.
      trusted: whether forward and reverse mode agree to 1e-3; True everywhere without `reverse`.
    """

    log_length: np.ndarray
    cosine: np.ndarray
    log_ratio: np.ndarray
    usable: np.ndarray
    disagreement: np.ndarray
    trusted: np.ndarray


def gradient_map(log_length, direction, smoothed, *, reverse=None) -> GradientMap:
    """Compare raw gradients with those of the smoothed landscape, pixel by pixel.

    Args:
      log_length: ln |g|, `[height, width]`; a logarithm, because gradients of chaotic runs overflow.
      direction: g / |g|, `[height, width, d]`; ignored where |g| is zero.
      smoothed: g_σ, `[height, width, d]`, such as `smooth(...).gradient`.
      reverse: the raw gradient by reverse mode, `[height, width, d]`, to detect where rounding errors dominate.

    Raises:
      ValueError: the shapes do not match.
    """
    log_length, direction, smoothed = (np.asarray(a, np.float64) for a in (log_length, direction, smoothed))
    if direction.shape != smoothed.shape or direction.ndim != 3 or log_length.shape != direction.shape[:2]:
        raise ValueError(
            "direction and smoothed must have the shape [height, width, d] and log_length [height, width]; "
            f"{direction.shape}, {smoothed.shape} and {log_length.shape} were given."
        )
    length = np.linalg.norm(smoothed, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.sum(direction * smoothed, axis=-1) / length
        cosine = np.where(np.isfinite(log_length), np.clip(cosine, -1, 1), np.nan)
        log_ratio = log_length - np.log(length)
        usable = (cosine > 0) & (log_ratio >= np.log(LENGTHS[0])) & (log_ratio <= np.log(LENGTHS[1]))
        disagreement = _disagreement(log_length, direction, reverse)
    trusted = np.ones_like(usable) if reverse is None else disagreement < AGREE
    return GradientMap(log_length, cosine, log_ratio, usable, disagreement, trusted)


def _disagreement(log_length, direction, reverse):
    if reverse is None:
        return np.full(log_length.shape, np.nan)
    reverse = np.asarray(reverse, np.float64)
    if reverse.shape != direction.shape:
        raise ValueError(f"reverse must have the shape of direction, {direction.shape}; {reverse.shape} was given.")
    largest = np.abs(reverse).max(axis=-1)
    size = largest * np.linalg.norm(reverse / np.where(largest > 0, largest, 1)[..., None], axis=-1)
    longest = np.maximum(log_length, np.log(size))
    forward = direction * np.exp(log_length - longest)[..., None]
    backward = reverse * np.exp(-longest)[..., None]
    both_zero = np.isneginf(log_length) & (size == 0)
    return np.where(both_zero, 0.0, np.linalg.norm(forward - backward, axis=-1))
