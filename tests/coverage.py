"""Check the coverage of stated errors: ± 1 covers the answer in 60 to 76 % of repetitions, ± 2 in at least 90 %.

`covers` also requires that twins fail: the same values with errors of half and of twice the size, and values that are
shifted by two errors. Otherwise a check that accepts any error would pass.
"""

from typing import NamedTuple

import numpy as np

ONE, TWO = (0.60, 0.76), 0.90
REPETITIONS = 200


class Coverage(NamedTuple):
    """The shares of repetitions within one and within two errors; true if both are in the required range."""

    one: float
    two: float

    def __bool__(self):
        return ONE[0] <= self.one <= ONE[1] and self.two >= TWO


def coverage(values, errors, truth) -> Coverage:
    values, errors = (np.asarray(x, np.float64) for x in (values, errors))
    assert len(values) >= REPETITIONS
    assert np.all(np.isfinite(values) & np.isfinite(errors))
    away = np.abs(values - truth)
    return Coverage(float(np.mean(away <= errors)), float(np.mean(away <= 2 * errors)))


def covers(values, errors, truth) -> Coverage:
    """Return the coverage, after checking that the twins fail."""
    values, errors = (np.asarray(x, np.float64) for x in (values, errors))
    for twin in ((values, errors / 2), (values, 2 * errors), (values + 2 * np.median(errors), errors)):
        assert not coverage(*twin, truth), "no power: a twin passes"
    return coverage(values, errors, truth)


def repeated(measure, make, count=REPETITIONS):
    """Return the values and errors of `measure(make(generator))` over seeds."""
    found = [measure(make(np.random.default_rng(seed))) for seed in range(count)]
    return tuple(np.array(part) for part in zip(*found))
