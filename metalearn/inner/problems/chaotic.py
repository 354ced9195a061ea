"""Chaotic maps, and training runs that are chaotic maps: inner problems whose exponents or orbits are known.

Gradient descent on a cubic loss *is* the logistic map, and on a double well it is the cubic Chebyshev map at learning
rate 2. They are real inner loops with exact answers, in one dimension. Their exact statements are about real numbers:
at an exponent λ, rounding in float64 reaches the size of the attractor after about 36/λ steps (float32: 16/λ); averages
and exponents survive, single orbits do not.

To make the start a hyperparameter, replace `init`: `problem._replace(init=lambda theta, key: theta)`.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metalearn.inner.checks import check_choice, check_count, check_number
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import as_pair, as_scalar, check_finite


def logistic_map(start: float = 0.3) -> InnerProblem:
    """The logistic map x ← r x (1 − x) with θ = r; ℓ = x, so that the meta-loss is the time average.

    Lyapunov exponent: ln|2 − r| for 1 < r < 3, zero at 3.5699456718709449 (Feigenbaum), ln 2 at r = 4, where the time
    average is ½.

    Args:
      start: x_0 in (0, 1).

    Returns:
      A problem with θ: scalar, state: scalar.

    Raises:
      TypeError, ValueError: the start is not one finite number.

    References:
      May, "Simple mathematical models with very complicated dynamics", Nature, 1976.
    """
    check_number("start", start)
    return InnerProblem(_start_at(start), lambda x, theta, key: theta * x * (1 - x), lambda x, theta, key: x)


def cubic_loss(start: float = 0.3, *, log_learning_rate: bool = False) -> InnerProblem:
    """Gradient descent on f(x) = x²/2 − x³/3 with learning rate η: x ← x − η (x − x²), ℓ = f(x).

    With y = η (1 − x)/(1 + η) this is the logistic map at r = 1 + η. The minimum is x = 0 with sharpness 1, stable for
    η < 2; η = 2.5699456718709449 is Feigenbaum's point; at η = 3 the exponent is ln 2 and x_t = 1 − (4/3) sin²(2^t φ)
    exactly; beyond 3 almost every start diverges.

    Args:
      start: x_0.
      log_learning_rate: whether θ is ln η instead of η.

    Returns:
      A problem with θ: scalar, state: scalar.

    Raises:
      TypeError, ValueError: the start is not one finite number.
    """
    return _descent(lambda x: x * x / 2 - x * x * x / 3, lambda x: x - x * x, start, log_learning_rate)


def double_well(start: float = 0.3, *, log_learning_rate: bool = False) -> InnerProblem:
    """Gradient descent on f(x) = (x² − 1)²/4 with learning rate η: x ← x − η (x³ − x), ℓ = f(x).

    The minima ±1 have sharpness 2 and are stable for η < 1, where the exponent is ln|1 − 2η|. At η = 2 the map is the
    cubic Chebyshev map: exponent ln 3 and x_t = √2 sin(3^t φ) exactly.

    Args:
      start, log_learning_rate: as in `cubic_loss`.

    Returns:
      A problem with θ: scalar, state: scalar.

    Raises:
      TypeError, ValueError: the start is not one finite number.
    """
    return _descent(lambda x: jnp.square(x * x - 1) / 4, lambda x: x * x * x - x, start, log_learning_rate)


def henon(start: tuple[float, float] = (0.1, 0.1)) -> InnerProblem:
    """The Hénon map (x, y) ← (1 − a x² + y, b x) with θ = (a, b); ℓ = x.

    The Jacobian's determinant is −b everywhere, so the two exponents sum to ln|b|. At (1.4, 0.3) they are 0.419217 and
    −1.623190.

    Args:
      start: (x_0, y_0).

    Returns:
      A problem with θ: `[2]`, state: `[2]`.

    Raises:
      ValueError: the start is not two finite numbers.

    References:
      Hénon, "A two-dimensional mapping with a strange attractor", 1976.
      Sprott, "Chaos and time-series analysis", 2003 (the exponents).
    """
    check_finite("start", start, (2,))

    def step(point, theta, key):
        a, b = as_pair(theta)
        x, y = point[0], point[1]
        return jnp.stack([1 - a * x * x + y, b * x])

    def init(theta, key):
        return jnp.asarray(start, as_pair(theta)[0].dtype)

    return InnerProblem(init, step, lambda point, theta, key: point[0])


class ToyState(NamedTuple):
    """The point x `[2]` of the toy regression, and how many steps were taken."""

    x: jax.Array
    clock: jax.Array


def toy_regression(horizon: int = 100, *, objective: str = "mean") -> InnerProblem:
    """Two learning rates for gradient descent in a wavy valley; the optimum lies behind a range of chaos.

    f(x) = √(x0² + 5) − √5 + sin²(x1) e^{−5 x0²} + ¼ |x1 − 100|, x(0) = (1, 1), x ← x − lr_t ∇f(x),
    lr_t = (1 − t/T) e^{θ0} + (t/T) e^{θ1} for t = 0 … T − 1, ℓ = f(x) read after the step.

    The published objective is the sum Σ_t ℓ_t, T times the mean. With it L(−4, −4) = 2487.77, L(0, 0) = 2423.47, and
    the minimum on a grid is 555.1 at (2.775, −2.65); published runs start from (−4, −4).

    Args:
      horizon: T, the steps of an episode and of the learning-rate schedule; give the truncation the same horizon.
      objective: "mean": ℓ_t = f(x_t). "sum": ℓ_t = T f(x_t), so that the mean over an episode is the published sum.

    Returns:
      A problem with θ: `[2]`, the logarithms of the first and the last learning rate; state: `ToyState`.

    Raises:
      ValueError: the horizon is not positive, or the objective is neither "mean" nor "sum".

    References:
      Vicol, Metz and Sohl-Dickstein, "Unbiased gradient estimation in unrolled computation graphs with persistent
        evolution strategies", 2021, arXiv:2112.13835.
    """
    check_count("horizon", horizon)
    check_choice("objective", objective, ("mean", "sum"))
    factor = horizon if objective == "sum" else 1

    def init(theta, key):
        return ToyState(jnp.ones(2, as_pair(theta)[0].dtype), jnp.zeros((), jnp.int32))

    def step(state, theta, key):
        first, last = as_pair(theta)
        fraction = state.clock.astype(first.dtype) / horizon
        rate = (1 - fraction) * jnp.exp(first) + fraction * jnp.exp(last)
        return ToyState(state.x - rate * jax.grad(_toy_function)(state.x), state.clock + 1)

    return InnerProblem(init, step, lambda state, theta, key: factor * _toy_function(state.x))


def _toy_function(x: jax.Array) -> jax.Array:
    ripple = jnp.square(jnp.sin(x[1])) * jnp.exp(-5 * jnp.square(x[0]))
    return jnp.sqrt(jnp.square(x[0]) + 5) - math.sqrt(5) + ripple + 0.25 * jnp.abs(x[1] - 100)


class LorenzState(NamedTuple):
    """The trajectory that is fitted and the one that is given, each `[3]`, at the same time."""

    point: jax.Array
    true_point: jax.Array


def lorenz(
    *,
    noise: float = 0.0,
    dt: float = 0.005,
    start: tuple[float, float, float] = (1.2, 1.3, 1.6),
    true_a: float = 10.0,
    true_r: float = 28.0,
    b: float = 8 / 3,
) -> InnerProblem:
    """Find the parameters of the Lorenz system from z: θ = (ln a, ln r), ℓ_t = (z_t − z_t^true)².

    Forward Euler steps of x' = a (y − x), y' = x (r − z) − y, z' = x y − b z. The true trajectory is computed beside
    the fitted one from the same start and carries no tangent, so exponents are those of the fitted system, any horizon
    will do, and no data is stored.

    Published runs: 2000 steps, from θ = (3.116, 3.7), without noise; the reported test loss is with noise = 1: 312 at
    the published start, and about 0.005 at the truth in float32, where the rounding of e^θ grows with the exponent 0.9
    per unit of time.

    Args:
      noise: the standard deviation of a perturbation of the start, drawn from the key of the episode and shared by both
        trajectories.
      dt: the time step.
      start: (x, y, z) at time 0, before the noise.
      true_a: a of the true system.
      true_r: r of the true system.
      b: the third parameter, known to both.

    Returns:
      A problem with θ: `[2]`, state: `LorenzState`.

    Raises:
      ValueError: an argument is not finite, dt, true_a or true_r is not positive, or the noise is negative.

    References:
      Li, Harrison, Sohl-Dickstein, Smith and Metz, "Variance-reduced gradient estimation via noise-reuse in online
        evolution strategies", 2023, arXiv:2304.12180.
    """
    check_finite("start", start, (3,))
    check_number("b", b)
    check_number("noise", noise, low=0)
    for name, value in (("dt", dt), ("true_a", true_a), ("true_r", true_r)):
        check_number(name, value, low=0, open_low=True)

    def move(point, a, r):
        x, y, z = point[0], point[1], point[2]
        return point + dt * jnp.stack([a * (y - x), x * (r - z) - y, x * y - b * z])

    def init(theta, key):
        point = jnp.asarray(start, as_pair(theta)[0].dtype)
        if noise:
            point += noise * jax.random.normal(key, point.shape, point.dtype)
        return LorenzState(point, point)

    def step(state, theta, key):
        log_a, log_r = as_pair(theta)
        true_point = jax.lax.stop_gradient(move(state.true_point, true_a, true_r))
        return LorenzState(move(state.point, jnp.exp(log_a), jnp.exp(log_r)), true_point)

    return InnerProblem(init, step, lambda state, theta, key: jnp.square(state.point[2] - state.true_point[2]))


def _descent(value, slope, start, log_learning_rate) -> InnerProblem:
    check_number("start", start)

    def step(x, theta, key):
        rate = jnp.exp(theta) if log_learning_rate else theta
        return x - rate * slope(x)

    return InnerProblem(_start_at(start), step, lambda x, theta, key: value(x))


def _start_at(start):
    return lambda theta, key: jnp.full_like(as_scalar(theta), start)
