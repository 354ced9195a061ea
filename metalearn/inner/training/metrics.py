"""What outputs are measured with: each a number for a whole batch, the smaller the better."""

import jax
import jax.numpy as jnp

from metalearn.types import Scalar


def cross_entropy(outputs: jax.Array, labels: jax.Array, label_smoothing=0.0, weights=None) -> Scalar:
    """The mean over examples of −w Σ_c q_c log softmax(outputs)_c, with q = (1 − s) · onehot(label) + s / classes.

    Args:
      outputs: logits `[classes, examples]`.
      labels: integers `[examples]`.
      label_smoothing: s; may be traced.
      weights: w `[examples]`, 1 by default; may be traced.
    """
    # Low precision is enough for the network, not for a sum of exponentials.
    outputs = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))
    logs = jax.nn.log_softmax(outputs, axis=0)
    chosen = labels[None, :] == jnp.arange(outputs.shape[0])[:, None]
    # A masked sum, because the transpose of a gather is a slow scatter.
    mean = jnp.mean if weights is None else lambda values: jnp.mean(weights * values)
    loss = -mean(jnp.sum(jnp.where(chosen, logs, 0), axis=0))
    if isinstance(label_smoothing, (int, float)) and label_smoothing == 0:
        return loss
    return loss + label_smoothing * (-mean(jnp.mean(logs, axis=0)) - loss)


def error_rate(outputs: jax.Array, labels: jax.Array) -> Scalar:
    """The fraction of examples whose largest output is not the label (1 − accuracy); an output that is NaN is an error.

    Piecewise constant: its derivative is zero wherever it exists, so only evolution strategies can descend it.
    """
    wrong = (jnp.argmax(outputs, axis=0) != labels) | jnp.any(jnp.isnan(outputs), axis=0)
    return jnp.mean(wrong.astype(jnp.promote_types(outputs.dtype, jnp.float32)))


def mean_squared_error(outputs: jax.Array, targets: jax.Array) -> Scalar:
    """The mean of (outputs − targets)² over outputs and examples, without ½."""
    errors = outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32)) - targets
    return jnp.mean(errors**2)
