"""Classical fractals as inner problems, for tests of rendering and of estimates of fractal dimensions.

θ = {"x": …, "y": …} is a point of the plane of the picture. The state z is an array `[2]` of a real and an imaginary
part. The loss is |z|², which `ml.landscape.escape_time` compares with a bound, or the squared distance from one of
several attractors (`newton`). `lyapunov_logistic` has a real state and its own loss.
"""

import cmath
import math

import jax.numpy as jnp

from metalearn.inner.checks import check_number
from metalearn.inner.problem import InnerProblem


def _square(z):
    return jnp.stack([z[0] * z[0] - z[1] * z[1], 2 * z[0] * z[1]])


def _times(a, b):
    return jnp.stack([a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]])


def _over(a, b):
    return _times(a, jnp.stack([b[0], -b[1]])) / jnp.sum(jnp.square(b))


def _point(theta, key=None):
    return jnp.stack([jnp.asarray(theta["x"], float), jnp.asarray(theta["y"], float)])


def _origin(theta, key=None):
    return jnp.zeros_like(_point(theta))


def _modulus(z, theta, key):
    return jnp.sum(jnp.square(z))


def mandelbrot() -> InnerProblem:
    """Return the Mandelbrot set: z ← z² + c from 0, with θ = c. Orbits with |z| > 2 escape.

    The boundary has dimension 2 (Shishikura 1998).
    """
    return InnerProblem(_origin, lambda z, theta, key: _square(z) + _point(theta), _modulus)


def julia(c: complex = -1.0) -> InnerProblem:
    """Return a Julia set: z ← z² + c from θ, for a fixed c. Orbits with |z| > max(2, |c|) escape.

    The boundary has dimension 1 at c = 0, 1.26835 at −1 and 1.3934 at −0.122561 + 0.744862i, Douady's rabbit (McMullen
    1998).

    Args:
      c: the constant.

    Raises:
      TypeError: `c` cannot be converted to a complex number.
      ValueError: `c` is a string or a bool, or it is not finite.
    """
    if isinstance(c, (str, bool)) or not cmath.isfinite(complex(c)):
        raise ValueError(f"c must be a finite complex number; {c!r} was given.")
    number = complex(c)
    constant = (number.real, number.imag)
    return InnerProblem(_point, lambda z, theta, key: _square(z) + jnp.asarray(constant, z.dtype), _modulus)


def burning_ship() -> InnerProblem:
    """Return the burning ship: z ← (|Re z| + i |Im z|)² + c from 0, with θ = c. Orbits with |z| > 2 escape."""
    return InnerProblem(_origin, lambda z, theta, key: _square(jnp.abs(z)) + _point(theta), _modulus)


def magnet() -> InnerProblem:
    """Return the magnetic model I: z ← ((z² + c − 1) / (2z + c − 2))² from 0, with θ = c.

    Orbits with |z| > 100 escape. Other orbits may converge to 1.
    """

    def step(z, theta, key):
        c = _point(theta)
        one = jnp.array([1.0, 0.0], z.dtype)
        return _square(_over(_square(z) + c - one, 2 * z + c - 2 * one))

    return InnerProblem(_origin, step, _modulus)


def newton(root: complex = 1.0) -> InnerProblem:
    """Return Newton's method for z³ = 1 from θ, with the loss |z − root|².

    The boundary between the three basins of attraction has dimension 1.4444.

    Args:
      root: a cube root of 1; the loss tends to zero in its basin.

    Raises:
      ValueError: `root` is not a cube root of 1.
    """
    number = complex(root)
    if abs(number**3 - 1) > 1e-3:
        raise ValueError(
            f"root must be a cube root of 1, such as 1 or {cmath.exp(2j * math.pi / 3):.4f}; {root!r} was given."
        )
    target = (number.real, number.imag)

    def step(z, theta, key):
        cube = _times(_square(z), z)
        return z - _over(cube - jnp.array([1.0, 0.0], z.dtype), 3 * _square(z))

    def loss(z, theta, key):
        return jnp.sum(jnp.square(z - jnp.asarray(target, z.dtype)))

    return InnerProblem(_point, step, loss)


def lyapunov_logistic(pattern: str = "AB", start: float = 0.5) -> InnerProblem:
    """Return the logistic map with r alternating between θ["x"] and θ["y"] in a given pattern (Markus and Hess).

    The state is (x, t). The loss is ln|r (1 − 2x)|, whose mean over a run is the Lyapunov exponent. It is negative for
    stable orbits. The loss is bounded below by −50 because of superstable orbits.

    Args:
      pattern: a string of the letters A and B, repeated periodically. A stands for θ["x"] and B for θ["y"].
      start: x_0.

    Raises:
      TypeError: `start` is not a real number.
      ValueError: `pattern` is not a string of A and B, or `start` is not finite.

    References:
      Markus & Hess, Lyapunov exponents of the logistic map with periodic forcing, 1989.
    """
    if not isinstance(pattern, str) or not pattern or set(pattern) - {"A", "B"}:
        raise ValueError(f'pattern must be a string of A and B, such as "AABAB"; {pattern!r} was given.')
    check_number("start", start)
    letters = tuple(letter == "A" for letter in pattern)

    def rate(clock, theta):
        return jnp.where(jnp.asarray(letters)[clock % len(letters)], theta["x"], theta["y"])

    def init(theta, key):
        return jnp.full_like(_point(theta)[0], start), jnp.zeros((), jnp.int32)

    def step(state, theta, key):
        x, clock = state
        return rate(clock, theta) * x * (1 - x), clock + 1

    def loss(state, theta, key):
        x, clock = state
        return jnp.maximum(jnp.log(jnp.abs(rate(clock, theta) * (1 - 2 * x))), -50.0)

    return InnerProblem(init, step, loss)
