"""Checks for estimators that are written outside this package, `ml.testing.*`.

| function | checks |
|---|---|
| `check_estimator` | the contract of `GradientEstimator`: types, metrics, randomness, transformations, episodes |

A failed check raises an `AssertionError` that says what is wrong. No test framework is needed.
"""

from metalearn.testing.contract import check_estimator
from metalearn.testing.requirements import Checked

__all__ = ["Checked", "check_estimator"]
