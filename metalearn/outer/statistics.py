"""Statistics of episodes: variance, cosine, signal to noise, and what noise alone gives."""

import math

import numpy as np

from metalearn.outer.report import Measured

GROUPS = 32


def statistics(means: np.ndarray, squares: np.ndarray, target: np.ndarray) -> dict[str, float]:
    mean, count = means.mean(axis=0), len(means)
    variance = means.var(axis=0, ddof=1).sum()
    signal = (mean**2).sum() - variance / count
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        cosine = mean @ target / (np.linalg.norm(mean) * np.linalg.norm(target))
        exact = variance <= 1e-24 * (mean**2).sum()
        snr = np.divide(max(signal, 0.0), variance) if not exact else math.inf if mean.any() else math.nan
    return {
        "variance": float(variance),
        "variance_per_window": float(squares.mean() - signal),
        "cosine": float(cosine),
        "signal_to_noise": float(snr),
    }


def jackknife(statistic, *arrays) -> tuple[dict[str, float], dict[str, float]]:
    """The statistic of all episodes, and its standard error from leaving out one group at a time."""
    values = statistic(*arrays)
    groups = np.array_split(np.arange(len(arrays[0])), min(GROUPS, len(arrays[0])))
    if len(arrays[0]) < 4:
        return values, dict.fromkeys(values, math.nan)
    left_out = [statistic(*(np.delete(array, group, axis=0) for array in arrays)) for group in groups]
    count = len(groups)
    with np.errstate(invalid="ignore"):
        spread = {f: math.sqrt((count - 1) * np.var([part[f] for part in left_out])) for f in values}
    return values, spread


def with_target_noise(error, cosine, target, target_variance) -> float:
    """The error of a cosine with a target that is itself measured: noise across the target turns and shortens it."""
    length = float((target**2).sum())
    share = target_variance / length if length > 0 else math.nan
    return math.sqrt(error**2 + share * max(1 - cosine**2, 0.0) + (share / 2) ** 2)


def distance(mean, noise, target, target_variance) -> Measured:
    length = float(np.linalg.norm(target))
    if not (math.isfinite(length) and length > 0):
        return Measured(math.nan, math.nan)
    return Measured(float(np.linalg.norm(mean - target)) / length, math.sqrt(noise + target_variance) / length)
