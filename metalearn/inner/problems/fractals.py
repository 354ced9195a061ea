"""Classical fractals as inner problems: what a renderer and an estimator of dimensions are checked with.

θ = {"x": …, "y": …} is a point of the plane that the picture shows, the state an array `[2]` or `[4]` of real and
imaginary parts. The loss is |z|², which `ml.landscape.escape_time` compares with a bound; where there are several
attractors it is zero in one of them.
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
    """z ← z² + c from 0, with θ = c. Escapes beyond |z| = 2. Its border has dimension 2 (Shishikura 1998)."""
    return InnerProblem(_origin, lambda z, theta, key: _square(z) + _point(theta), _modulus)


def julia(c: complex = -1.0) -> InnerProblem:
    """z ← z² + c from θ, for a fixed c. Escapes beyond max(2, |c|).

    Dimensions of the border: 1 at c = 0, 1.26835 at −1, 1.3934 at the rabbit −0.122561 + 0.744862i (McMullen 1998).

    Raises:
      TypeError, ValueError: c is no finite number.
    """
    if isinstance(c, (str, bool)) or not cmath.isfinite(complex(c)):
        raise ValueError(f"c must be a finite complex number; {c!r} was given.")
    number = complex(c)
    constant = (number.real, number.imag)
    return InnerProblem(_point, lambda z, theta, key: _square(z) + jnp.asarray(constant, z.dtype), _modulus)


def burning_ship() -> InnerProblem:
    """z ← (|Re z| + i |Im z|)² + c from 0, with θ = c. Escapes beyond |z| = 2."""
    return InnerProblem(_origin, lambda z, theta, key: _square(jnp.abs(z)) + _point(theta), _modulus)


def magnet() -> InnerProblem:
    """z ← ((z² + c − 1) / (2z + c − 2))² from 0, with θ = c; the magnetic model I. Escapes beyond |z| = 100, or converges to 1."""

    def step(z, theta, key):
        c = _point(theta)
        one = jnp.array([1.0, 0.0], z.dtype)
        return _square(_over(_square(z) + c - one, 2 * z + c - 2 * one))

    return InnerProblem(_origin, step, _modulus)


def newton(root: complex = 1.0) -> InnerProblem:
    """Newton's method for z³ = 1 from θ; the loss is |z − root|².

    The border between the three basins has dimension 1.4444.

    Args:
      root: the root whose basin is asked for, a cube root of 1.

    Raises:
      ValueError: no cube root of 1.
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
    """The logistic map whose r alternates between θ["x"] and θ["y"] as the pattern says; the picture of Markus and Hess.

    The state is (x, t), the loss ln|r (1 − 2x)|, whose mean over a run is the Lyapunov exponent: below zero where the
    orbit is stable. It is bounded below by −50, for superstable orbits.

    Args:
      pattern: a word of A and B; A takes θ["x"].
      start: x_0.

    Raises:
      TypeError, ValueError: another pattern, or no finite start.

    References:
      Markus & Hess, Lyapunov exponents of the logistic map with periodic forcing, 1989.
    """
    if not isinstance(pattern, str) or not pattern or set(pattern) - {"A", "B"}:
        raise ValueError(f'pattern must be a word of A and B, such as "AABAB"; {pattern!r} was given.')
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
