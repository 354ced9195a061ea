"""Compare gradient estimators at a point of θ-space, or along a trajectory, with standard errors."""

from metalearn.outer.comparison.compare import compare
from metalearn.outer.comparison.report import Comparison, Measurement, Report

__all__ = ["Comparison", "Measurement", "Report", "compare"]
