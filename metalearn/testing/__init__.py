"""Floor 4: checks for estimators that are written outside this package, `ml.testing.*`.

| function | checks |
|---|---|
| `check_estimator` | the contract of `GradientEstimator`: forms, metrics, randomness, transformations, episodes, counts |

The checks raise `AssertionError` with a sentence and need no test framework.
"""

from metalearn.testing.contract import check_estimator
from metalearn.testing.requirements import Checked

__all__ = ["Checked", "check_estimator"]
