"""The name of the mistake whose predicted means fit those of an estimator."""

from collections.abc import Mapping

import numpy as np

from metalearn.testing.measures import LIMIT, Means, distance_to

Predicted = Mapping[str, Mapping[str, np.ndarray]]


def measure_distances(found: Mapping[str, Means], predicted: Predicted) -> dict[str, tuple[float, float]]:
    """Return the mean square and the largest distance of each prediction, over the problems that it covers."""
    names = dict.fromkeys(name for others in predicted.values() for name in others)
    return {name: _distance(name, found, predicted) for name in names}


def _distance(name: str, found: Mapping[str, Means], predicted: Predicted) -> tuple[float, float]:
    away = [distance_to(found[case], others[name]) for case, others in predicted.items() if name in others]
    every = np.concatenate([one.ravel() for one in away])
    return float(np.sqrt(np.mean(every**2))), float(np.max(every))


def find_nearest(away: Mapping[str, tuple[float, float]]) -> str | None:
    """Return the prediction with the smallest mean square if it is within the limit on every problem."""
    best = min(away, key=lambda name: away[name][0])
    return best if away[best][1] < LIMIT else None


def is_normalised(once: Means, doubled: Means) -> bool:
    """Return whether the mean is the same if all losses are twice as large, and not zero."""
    error = np.hypot(once.error, doubled.error)
    apart, size = np.max(np.abs(doubled.mean - once.mean) / error), np.max(np.abs(once.mean) / error)
    return bool(apart < LIMIT < size / 2)
