"""Metrics of the outputs of a network. Each returns one number for a batch, and smaller is better."""

import jax
import jax.numpy as jnp

from metalearn.types import Scalar


def cross_entropy(outputs: jax.Array, labels: jax.Array, label_smoothing=0.0, weights=None) -> Scalar:
    """Return the mean over labels of −w Σ_c q_c log softmax(outputs)_c, q = (1 − s) · onehot(label) + s / classes.

    Args:
      outputs: logits `[classes, examples]`, or `[classes, ...]`.
      labels: integers `[examples]`, or `[...]`.
      label_smoothing: s; may be traced.
      weights: w `[examples]`, 1 by default; may be traced.
    """
    # A sum of exponentials needs at least float32, even if the network computes in lower precision.
    outputs = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    logs = jax.nn.log_softmax(outputs, axis=0)
    chosen = labels[None] == jnp.expand_dims(jnp.arange(outputs.shape[0]), range(1, outputs.ndim))
    # A masked sum, because the transpose of a gather is a slow scatter.
    mean = jnp.mean if weights is None else lambda values: jnp.mean(weights * values)
    loss = -mean(jnp.sum(jnp.where(chosen, logs, 0), axis=0))
    if isinstance(label_smoothing, (int, float)) and label_smoothing == 0:
        return loss
    return loss + label_smoothing * (-mean(jnp.mean(logs, axis=0)) - loss)


def error_rate(outputs: jax.Array, labels: jax.Array) -> Scalar:
    """Return the fraction of misclassified examples (1 − accuracy). An example with a NaN output is misclassified.

    The metric is piecewise constant. Its derivative is zero wherever it exists, so only evolution strategies can
    minimise it.

    Args:
      outputs: logits `[classes, examples]`, or `[classes, ...]`.
      labels: integers `[examples]`, or `[...]`.
    """
    wrong = (jnp.argmax(outputs, axis=0) != labels) | jnp.any(jnp.isnan(outputs), axis=0)
    return jnp.mean(wrong.astype(jnp.promote_types(outputs.dtype, jnp.float32)))


def mean_squared_error(outputs: jax.Array, targets: jax.Array) -> Scalar:
    """Return the mean of (outputs − targets)² over outputs and examples, without the factor ½.

    Args:
      outputs, targets: arrays of the same shape, such as `[outputs, examples]`.
    """
    errors = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32)) - targets
    return jnp.mean(errors**2)
