"""Published inner problems with known gradients, optima or failures, for tests of estimators.

Each function returns an `InnerProblem`, and θ is an array. The state has the dtype of θ, so that one problem is suited
to float32 training and to float64 landscapes. The meta-loss is the *mean* of the losses ℓ_t over an episode. In papers
that use the sum, the numbers are T times ours, with the horizon T. Chaotic maps are in `chaotic.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem


def phase_walk(omega: float = 1.0, start: float = 0.0) -> InnerProblem:
    """Return a phase that advances by θ: s_t = s_{t−1} + θ, ℓ_t = sin(ω s_t).

    This is the smallest problem on which all estimators have different means. With s_0 = 0, ∂L/∂θ = (1/T) Σ_t ω t
    cos(ω t θ). Smoothing damps each term: noise of variance σ²v_t on s_t multiplies term t by e^{−ω²σ²v_t/2}. Here v_t
    = t² for one perturbation per episode (full ES, NRES), and v_t = ⌊t/W⌋W² + (t mod W)² for persistent ES.

    Args:
      omega: ω, the frequency of the loss.
      start: s_0.

    Returns:
      A problem with θ: scalar, state: scalar.

    Raises:
      TypeError, ValueError: omega or start is not one finite number.
    """
    check_number("omega", omega)
    check_number("start", start)
    return InnerProblem(
        init=lambda theta, key: jnp.full_like(as_scalar(theta), start),
        step=lambda state, theta, key: state + as_scalar(theta),
        loss=lambda state, theta, key: jnp.sin(omega * state),
    )


def linear_quadratic(
    a: ArrayLike = 0.9, b: ArrayLike = 1.0, start: ArrayLike = 1.0, target: ArrayLike = 0.0
) -> InnerProblem:
    """Return linear dynamics with a quadratic loss: s_t = a s_{t−1} + b θ, ℓ_t = ½ Σ_i (s_t − y)_i².

    The gradient is ∂L/∂θ = (1/T) Σ_t (s_t − y) G(t) with G(h) = b (1 − a^h)/(1 − a). Every unbiased estimator has this
    mean for every σ. Truncated backprop and truncated ES have G(h_t) in place of G(t), with h_t = ((t − 1) mod W) + 1.

    Args:
      a: the contraction, a scalar or an array of the shape of θ.
      b: the influence of θ, a scalar or an array of the shape of θ.
      start: s_0, a scalar or an array of the shape of θ.
      target: y, a scalar or an array of the shape of θ.

    Returns:
      A problem with θ of any shape and a state of the same shape. The components are independent.

    Raises:
      ValueError: an argument is not finite.
    """
    return noisy_linear_quadratic(a, b, start, target, noise=0.0)


def noisy_linear_quadratic(
    a: ArrayLike = 0.9, b: ArrayLike = 1.0, start: ArrayLike = 1.0, target: ArrayLike = 0.0, noise: float = 0.1
) -> InnerProblem:
    """Return `linear_quadratic` with noise: s_t = a s_{t−1} + b θ + n_t, n_t ~ N(0, noise²) from the key of the step.

    The mean of ∂L/∂θ is that without noise, but its variance is not zero. Antithetic pairs that do not share n_t
    are detected by their variance.

    Args:
      a, b, start, target: as in `linear_quadratic`.
      noise: the standard deviation of n_t.

    Returns:
      A problem with θ of any shape and a state of the same shape.

    Raises:
      TypeError: `noise` is not a real number.
      ValueError: an argument is not finite, or `noise` is negative.
    """
    for name, value in (("a", a), ("b", b), ("start", start), ("target", target)):
        check_finite(name, value)
    check_number("noise", noise, low=0)

    def init(theta, key):
        return _constant(start, theta)

    def step(state, theta, key):
        moved = _constant(a, theta) * state + _constant(b, theta) * theta
        return moved if noise == 0 else moved + noise * jax.random.normal(key, jnp.shape(state), jnp.result_type(state))

    def loss(state, theta, key):
        return 0.5 * jnp.sum(jnp.square(state - _constant(target, theta)))

    return InnerProblem(init, step, loss)


def influence_balancing(n: int = 23, p: int = 10) -> InnerProblem:
    """Return influence balancing: the sign of the gradient is determined by steps in the distant past.

    s_{t+1} = A s_t + θ c with A_ii = A_{i,i+1} = ½, c = 1 for the first p components and −1 for the others, and
    ℓ = ½ (s¹ − 1)².

    The derivative ds¹_t/dθ is positive for the first steps and tends to 2 (2p − n), which is negative for p < n/2. For
    n = 23 and p = 10 it changes sign at t = 41. Truncated gradients with short windows therefore have the wrong sign.
    The optimum is θ* = 1 / (2 (2p − n)), which is −1/6 by default. Published runs start from θ = 0.5 and never reset
    the state.

    Args:
      n: the number of components of the state.
      p: the number of components that increase with θ; the others decrease.

    Returns:
      A problem with θ: scalar, state: `[n]`, which starts at ones.

    Raises:
      TypeError: `n` or `p` is not a whole number.
      ValueError: `n` is below 1, or `p` is outside of 0 … n.

    References:
      Tallec and Ollivier, "Unbiased online recurrent optimization", 2017, arXiv:1702.05043.
      Vicol, Metz and Sohl-Dickstein, "Unbiased gradient estimation in unrolled computation graphs with persistent
        evolution strategies", 2021, arXiv:2112.13835.
    """
    check_count("n", n)
    check_count("p", p, low=0)
    if p > n:
        raise ValueError(f"p must be at most n, the number of components; n = {n} and p = {p} were given.")
    sign = np.where(np.arange(n) < p, 1.0, -1.0)

    def step(state, theta, key):
        shifted = jnp.concatenate([state[1:], jnp.zeros_like(state[:1])])
        return 0.5 * (state + shifted) + jnp.asarray(sign, state.dtype) * jnp.full_like(state, theta)

    return InnerProblem(
        init=lambda theta, key: jnp.ones((n,), as_scalar(theta).dtype),
        step=step,
        loss=lambda state, theta, key: 0.5 * jnp.square(state[0] - 1),
    )


def l2_tuning(x_train, y_train, x_val, y_val, learning_rate: float = 0.001) -> InnerProblem:
    """Return weight decay tuning of a linear model: w ← w − lr (Xᵀ(Xw − y) + e^θ w), ℓ = (1/n_val) ‖X_val w − y_val‖².

    The step is full-batch gradient descent on ½‖Xw − y‖² + ½ e^θ ‖w‖². The fixed point w(θ) = (XᵀX + e^θ I)⁻¹ Xᵀy gives
    the condition ∇ℓ · (XᵀX + e^θ I)⁻¹ w = 0 for the optimum. With windows of one step and no reset, truncated backprop
    and truncated ES converge to ∇ℓ · w = 0 instead.

    Args:
      x_train: X, `[num_examples, num_features]`.
      y_train: y, `[num_examples]`.
      x_val: validation inputs, `[num_validation, num_features]`.
      y_val: validation targets, `[num_validation]`.
      learning_rate: lr; it must be below 2 / (largest eigenvalue of XᵀX + e^θ).

    Returns:
      A problem with θ: scalar, the logarithm of the weight decay; state: w `[num_features]`, which starts at zero.

    Raises:
      TypeError: `learning_rate` is not a real number.
      ValueError: the shapes of the arrays do not fit, numbers are not finite, or `learning_rate` is not positive.

    References:
      Vicol, Metz and Sohl-Dickstein, 2021, arXiv:2112.13835, tune the weight decay of a linear model on the UCI yacht
        data.
      Vicol, Kolter and Swersky, "Low-variance gradient estimation in unrolled computation graphs with ES-Single",
        2023, arXiv:2304.11153, repeat it.
    """
    data = x_train, y_train, x_val, y_val = [np.asarray(array) for array in (x_train, y_train, x_val, y_val)]
    _check_regression("train", x_train, y_train)
    _check_regression("val", x_val, y_val)
    if x_train.shape[1] != x_val.shape[1]:
        raise ValueError(f"x_train has {x_train.shape[1]} features and x_val {x_val.shape[1]}; they must be the same.")
    check_number("learning_rate", learning_rate, low=0, open_low=True)

    def cast(theta):
        return [jnp.asarray(array, jnp.result_type(theta)) for array in data]

    def step(w, theta, key):
        x, y, _, _ = cast(theta)
        return w - learning_rate * (x.T @ (x @ w - y) + jnp.exp(as_scalar(theta)) * w)

    def loss(w, theta, key):
        _, _, x, y = cast(theta)
        return jnp.mean(jnp.square(x @ w - y))

    return InnerProblem(lambda theta, key: jnp.zeros(x_train.shape[1], as_scalar(theta).dtype), step, loss)


def as_scalar(theta) -> jax.Array:
    """Check that θ is one number, and return it as a floating-point array."""
    if jnp.shape(theta) != ():
        raise ValueError(f"theta must be one scalar for this problem; an array of shape {jnp.shape(theta)} was given.")
    found = jnp.asarray(theta)
    return found if jnp.issubdtype(found.dtype, jnp.inexact) else found.astype(float)


def as_pair(theta) -> tuple[jax.Array, jax.Array]:
    """Check that θ has the shape (2,), and return its two numbers.

    Without the check, indexing a shorter array would silently return its last element.
    """
    if jnp.shape(theta) != (2,):
        raise ValueError(f"theta must be an array of shape (2,) for this problem; shape {jnp.shape(theta)} was given.")
    theta = jnp.asarray(theta)
    return theta[0], theta[1]


def check_finite(name: str, value, shape: tuple[int, ...] | None = None) -> None:
    """Check that constants are finite and, if `shape` is given, that they have this shape."""
    if (shape is not None and np.shape(value) != shape) or not np.all(np.isfinite(value)):
        kind = "a finite number or an array of them" if shape is None else f"finite numbers of shape {shape}"
        raise ValueError(f"{name} must be {kind}; {value!r} was given.")


def _constant(value, theta) -> jax.Array:
    """Return a constant of the problem in the shape and dtype of θ."""
    return jnp.broadcast_to(jnp.asarray(value, jnp.result_type(theta)), jnp.shape(theta))


def _check_regression(name: str, x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
        wanted = f"x_{name} must be [num_examples, num_features] and y_{name} [num_examples]"
        raise ValueError(f"{wanted}; shapes {x.shape} and {y.shape} were given.")
    if not (np.all(np.isfinite(x)) and np.all(np.isfinite(y))):
        raise ValueError(f"x_{name} and y_{name} must be finite; remove or replace missing values first.")
