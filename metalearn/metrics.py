"""Metrics of a batch of outputs, `ml.metrics.*`: each returns one number, smaller is better."""

from metalearn.inner.training import cross_entropy, error_rate, mean_squared_error

__all__ = ["cross_entropy", "error_rate", "mean_squared_error"]
