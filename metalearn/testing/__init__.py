"""Checks for estimators that are written outside this package, `ml.testing.*`.

| function | checks |
|---|---|
| `check_estimator` | the contract of `GradientEstimator`: types, metrics, randomness, transformations, episodes |
| `verify` | whether any estimator, of any library, estimates the gradient that it claims; if not, its mistake |

A failed check of `check_estimator` raises an `AssertionError` that says what is wrong. `verify` returns a `Verdict`. No
test framework is needed.
"""

from metalearn.testing.contract import check_estimator
from metalearn.testing.judge import verify
from metalearn.testing.requirements import Checked
from metalearn.testing.verdict import Check, Verdict

__all__ = ["Check", "Checked", "Verdict", "check_estimator", "verify"]
