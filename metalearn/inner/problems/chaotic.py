"""Chaotic maps, and training runs that are chaotic maps, with known Lyapunov exponents or orbits.

Gradient descent on a cubic loss is equivalent to the logistic map. On a double well, at learning rate 2, it is
equivalent to the cubic Chebyshev map. These one-dimensional training runs have exact solutions. The exact statements
hold in real arithmetic. With a Lyapunov exponent λ, rounding errors in float64 reach the size of the attractor after
about 36/λ steps (float32: 16/λ). Averages and exponents are still correct after that, single orbits are not.

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
    """Return the logistic map x ← r x (1 − x) with θ = r. The loss is ℓ = x, so that the meta-loss is the time average.

    The Lyapunov exponent is ln|2 − r| for 1 < r < 3, zero at r = 3.5699456718709449 (Feigenbaum), and ln 2 at r = 4,
    where the time average is ½.

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
    """Return gradient descent on f(x) = x²/2 − x³/3 with learning rate η: x ← x − η (x − x²), ℓ = f(x).

    With y = η (1 − x)/(1 + η) this is the logistic map at r = 1 + η. The minimum x = 0 has sharpness 1 and is stable
    for η < 2. Feigenbaum's point is η = 2.5699456718709449. At η = 3 the Lyapunov exponent is ln 2, and x_t = 1 − (4/3)
    sin²(2^t φ) exactly. For η > 3 almost every start diverges.

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
    """Return gradient descent on f(x) = (x² − 1)²/4 with learning rate η: x ← x − η (x³ − x), ℓ = f(x).

    The minima ±1 have sharpness 2 and are stable for η < 1, where the Lyapunov exponent is ln|1 − 2η|. At η = 2 the map
    is equivalent to the cubic Chebyshev map. There the exponent is ln 3, and x_t = √2 sin(3^t φ) exactly.

    Args:
      start, log_learning_rate: as in `cubic_loss`.

    Returns:
      A problem with θ: scalar, state: scalar.

    Raises:
      TypeError, ValueError: the start is not one finite number.
    """
    return _descent(lambda x: jnp.square(x * x - 1) / 4, lambda x: x * x * x - x, start, log_learning_rate)


def henon(start: tuple[float, float] = (0.1, 0.1)) -> InnerProblem:
    """Return the Hénon map (x, y) ← (1 − a x² + y, b x) with θ = (a, b) and ℓ = x.

    The determinant of the Jacobian is −b everywhere, so the two Lyapunov exponents sum to ln|b|. At (1.4, 0.3) they are
    0.419217 and −1.623190.

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
    """The point x `[2]` of the toy regression, and the number of steps taken."""

    x: jax.Array
    clock: jax.Array


def toy_regression(horizon: int = 100, *, objective: str = "mean") -> InnerProblem:
    """Return a problem with two learning rates of gradient descent in a wavy valley, the toy regression.

    A chaotic region separates the published start from the optimum.

    f(x) = √(x0² + 5) − √5 + sin²(x1) e^{−5 x0²} + ¼ |x1 − 100|, x(0) = (1, 1), x ← x − lr_t ∇f(x),
    lr_t = (1 − t/T) e^{θ0} + (t/T) e^{θ1} for t = 0 … T − 1, and ℓ = f(x) after the step.

    The published objective is the sum Σ_t ℓ_t, T times the mean. With it L(−4, −4) = 2487.77, L(0, 0) = 2423.47, and
    the minimum on a grid is 555.1 at (2.775, −2.65); published runs start from (−4, −4).

    Args:
      horizon: T, the number of steps of the schedule and of an episode; the truncation must have the same horizon.
      objective: "mean": ℓ_t = f(x_t). "sum": ℓ_t = T f(x_t), so that the mean over an episode is the published sum.

    Returns:
      A problem with θ: `[2]`, the logarithms of the first and the last learning rate; state: `ToyState`.

    Raises:
      TypeError: the horizon is not a whole number.
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
    """The points of the fitted and of the true trajectory at the same time, each `[3]`."""

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
    """Return a fit of the parameters of the Lorenz system to z: θ = (ln a, ln r), ℓ_t = (z_t − z_t^true)².

    A step is a forward Euler step of x' = a (y − x), y' = x (r − z) − y, z' = x y − b z. The true trajectory starts at
    the same point and is computed together with the fitted one, without tangents. Lyapunov exponents are therefore
    those of the fitted system, every horizon is possible, and no data is stored.

    Published runs take 2000 steps and start from θ = (3.116, 3.7), without noise. The reported test loss uses noise =
    1. It is 312 at the published start, and about 0.005 at the true parameters in float32, where the rounding error of
    e^θ grows at the exponent 0.9 per unit of time.

    Args:
      noise: the standard deviation of a perturbation of the start. It is drawn from the key of the episode and shared
        by both trajectories.
      dt: the time step.
      start: (x, y, z) at time 0, before the noise.
      true_a: a of the true system.
      true_r: r of the true system.
      b: the third parameter, the same for both systems.

    Returns:
      A problem with θ: `[2]`, state: `LorenzState`.

    Raises:
      TypeError: `noise`, `dt`, `true_a`, `true_r` or `b` is not a real number.
      ValueError: `start` is not three finite numbers, another argument is not finite, `dt`, `true_a` or `true_r` is not
        positive, or `noise` is negative.

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
