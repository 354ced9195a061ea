"""Metrics of a batch of outputs, `ml.metrics.*`. Each returns one number, and smaller is better."""

from metalearn.inner.training import cross_entropy, error_rate, mean_squared_error

__all__ = ["cross_entropy", "error_rate", "mean_squared_error"]
