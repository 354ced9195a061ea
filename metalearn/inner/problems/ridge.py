"""Ridge regression by gradient descent: the learning rate and the weight decay of a linear model."""

import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_count, check_number, check_seed
from metalearn.inner.divergence import saturate
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import as_pair


def ridge_regression(
    num_examples: int = 40, num_features: int = 20, *, noise: float = 1.0, cap: float | None = 1.0, seed: int = 0
) -> InnerProblem:
    """Return ridge regression by gradient descent: w ← w − η (Xᵀ(Xw − y)/n + λ w), with θ = (log10 η, log10 λ).

    X ~ N(0, 1), y = X v + noise · ε with v ~ N(0, 1/num_features), and as many examples for validation. The loss is the
    mean squared error on them, divided by that of w = 0, where training starts. The fixed point is (XᵀX/n + λI)⁻¹
    Xᵀy/n; training diverges where η (s + λ) > 2, with s the largest eigenvalue of XᵀX/n.

    Args:
      num_examples: n, of training and of validation.
      num_features: the number of entries of w.
      noise: the standard deviation of the noise of targets.
      cap: see `saturate`; None does not bound the losses.
      seed: of the data, for NumPy's `default_rng`.

    Raises:
      TypeError: a count or `seed` is not a whole number, or `noise` or `cap` is not a real number.
      ValueError: a count is below 1, `noise` is negative, `cap` is not finite, or `seed` is outside of 0 … 2³² − 1.
    """
    check_count("num_examples", num_examples)
    check_count("num_features", num_features)
    check_number("noise", noise, 0)
    draw = np.random.default_rng(check_seed("seed", seed)).standard_normal
    truth = draw(num_features) / np.sqrt(num_features)
    inputs = draw((2, num_examples, num_features))
    targets = inputs @ truth + noise * draw((2, num_examples))
    scale = np.mean(targets[1] ** 2)

    def step(w, theta, key):
        rate, decay = (10.0**entry for entry in as_pair(theta))
        x, y = (jnp.asarray(array[0], w.dtype) for array in (inputs, targets))
        return w - rate * (x.T @ (x @ w - y) / num_examples + decay * w)

    def loss(w, theta, key):
        x, y = (jnp.asarray(array[1], w.dtype) for array in (inputs, targets))
        return jnp.mean(jnp.square(x @ w - y)) / scale

    problem = InnerProblem(lambda theta, key: jnp.zeros(num_features, as_pair(theta)[0].dtype), step, loss)
    return problem if cap is None else saturate(problem, cap)
