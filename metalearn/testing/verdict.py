"""The result of `verify`: the checks with their numbers, and the mistake that fits."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from metalearn import tabular
from metalearn.words import counted


@dataclasses.dataclass(frozen=True)
class Check:
    """One requirement.

    Attributes:
      name: the problem, or the compared quantity.
      kind: "mean", "spread" or "divergence".
      found: the number measured from the estimates; for a mean, the component along the expected gradient.
      expected: the correct number; for a spread, the largest allowed ratio of variances.
      error: the standard error of `found`.
      distance: the distance of the estimates from the expected value, in standard errors of the worst component.
      smallest_bias: the relative bias that this check finds with a probability of 98 %; NaN for a spread.
      passed: whether the distance is below the limit; None if the check does not affect the verdict.
    """

    name: str
    kind: str
    found: float
    expected: float
    error: float
    distance: float
    smallest_bias: float
    passed: bool | None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on whether an estimator estimates the gradient that it claims.

    Attributes:
      claim: the claim, "smoothed", "windowwise" or "unsmoothed".
      consistent: whether every mean and every spread agrees with the claim.
      looks_like: the name of the mistake, or of the other method, whose prediction fits; None if the estimator is
        consistent or nothing fits.
      checks: the requirements, one for each problem.
      rejected: the distance of every other prediction from the estimates, in standard errors of the worst component.
      limit: the distance in standard errors from which a check fails.
      false_rejection: the probability that a correct estimator is rejected, for normal means.
      num_samples: the number of independent samples of each problem.
      skipped: sentences about requirements that were not checked or do not affect the verdict.
    """

    claim: str
    consistent: bool
    looks_like: str | None
    checks: tuple[Check, ...]
    rejected: Mapping[str, float]
    limit: float
    false_rejection: float
    num_samples: int
    skipped: tuple[str, ...] = ()

    @property
    def smallest_bias(self) -> float:
        """Return the relative bias of the mean that would be detected on every problem with a probability of 98 %."""
        return max((one.smallest_bias for one in self.checks if one.kind == "mean"), default=math.nan)

    def rows(self) -> list[dict[str, Any]]:
        """Return the checks as dictionaries."""
        words = {True: "passed", False: "failed", None: "noted"}
        return [
            {
                "check": one.name,
                "kind": one.kind,
                "found": one.found,
                "found_error": one.error,
                "expected": one.expected,
                "distance": one.distance,
                "smallest_bias": one.smallest_bias if one.kind == "mean" else None,
                "result": words[one.passed],
            }
            for one in self.checks
        ]

    def _table(self) -> tabular.Table:
        rows = self.rows()
        for row in rows:
            row["bias"] = "" if row["smallest_bias"] is None else f"{row['smallest_bias']:.1%}"
            row["away"] = f"{row['distance']:.1f}" if row["kind"] == "mean" or row["distance"] else ""
        columns = {
            "check": ("check", ""),
            "result": ("result", f"passed below {self.limit:g} standard errors"),
            "found": ("found", "component along the expected gradient; of a spread, a ratio of variances"),
            "expected": ("expected", "its value; of a spread, the largest ratio that is allowed"),
            "away": ("s.e.", "distance from the expected value in standard errors, of the worst component"),
            "bias": ("bias seen", "the smallest relative bias of this mean that is found in 98 % of the cases"),
            "kind": ("kind", ""),
        }
        return tabular.Table(self.sentence, rows, columns, [self.sentence, *self._notes()])

    @property
    def sentence(self) -> str:
        """Return the verdict in one sentence."""
        target = {
            "smoothed": "the gradient of the smoothed meta-loss",
            "windowwise": "the gradient of the meta-loss that is smoothed window by window",
            "unsmoothed": "the gradient of the meta-loss",
        }[self.claim]
        means = [one for one in self.checks if one.kind == "mean"]
        agree = sum(bool(one.passed) for one in means)
        if self.consistent:
            far = max(one.distance for one in means)
            return (
                f"Consistent with {target}: the mean is within {far:.1f} standard errors on {agree} of "
                f"{counted(len(means), 'problem')}."
            )
        like = "No known mistake has these means" if self.looks_like is None else f"It looks like: {self.looks_like}"
        return f"Not consistent with {target}: {agree} of {counted(len(means), 'mean')} agree. {like}."

    def _notes(self) -> list[str]:
        near = sorted(self.rejected.items(), key=lambda item: item[1])
        near = [(name, distance) for name, distance in near if distance > self.limit]
        usual = [pair for pair in near[3:] if pair[0] in ("truncated ES", "truncated backprop")]
        near = [f"{name} ({distance:.0f} s.e.)" for name, distance in near[:3] + usual]
        notes = [f"Rejected, the nearest first: {', '.join(near)}."] if near else []
        notes.append(
            f"A bias of {self.smallest_bias:.0%} is found on every problem, and of "
            f"{min(one.smallest_bias for one in self.checks if one.kind == 'mean'):.1%} on one, with "
            f"{self.num_samples} samples each. A correct estimator is rejected with a probability of "
            f"{self.false_rejection:.0e}."
        )
        return notes + list(self.skipped)

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, _ = tabular.METHODS
    __str__ = tabular.to_text
