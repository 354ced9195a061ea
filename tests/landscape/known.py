"""Random cuts with known roughness and random borders with known dimension; each takes a NumPy generator."""

import math

import numpy as np

KOCH = math.log(4) / math.log(3)


def brownian(exponent, count, random):
    """Fractional Brownian motion of any exponent, with the exact distribution (Davies & Harte 1987)."""
    lag = np.arange(count + 1.0)
    power = 2 * exponent
    correlation = ((lag + 1) ** power - 2 * lag**power + np.abs(lag - 1) ** power) / 2
    spectrum = np.fft.fft(np.concatenate([correlation, correlation[-2:0:-1]])).real
    noise = random.normal(size=len(spectrum)) + 1j * random.normal(size=len(spectrum))
    return np.cumsum(np.fft.fft(np.sqrt(np.maximum(spectrum, 0) / len(spectrum)) * noise).real[:count])


def waves(exponent, count, random, length=1.0, wave=np.cos):
    """A Weierstrass function Σ 2^(−Hk) wave(2^k x) with random phases, on a stretch of its period."""
    x = np.arange(count) / count * length
    phases = random.uniform(0, 1, 30)
    return sum(2.0 ** (-exponent * k) * wave(2 * np.pi * (2.0**k * x + phases[k])) for k in range(30))


def triangles(exponent, count, random):
    """The same sum with triangle waves (Takagi)."""
    return waves(exponent, count, random, wave=lambda angle: np.abs((angle / (2 * np.pi)) % 1 - 0.5))


def under(cut, side):
    """Labels of the area under a graph. For a cut of roughness H, the border has dimension 2 − H."""
    height = (cut - cut.min()) / (cut.max() - cut.min()) * 0.8 * side + 0.1 * side
    return np.arange(side)[:, None] < height


def koch(side, random, *, angle=math.pi / 3, both_sides=False):
    """A snowflake of random place, size and rotation, optionally with bumps on random sides.

    D = ln 4 / ln(2 + 2 cos).
    """
    curve = np.exp(2j * np.pi * np.arange(4) / 3) * side * random.uniform(0.25, 0.38)
    ratio = 1 / (2 + 2 * math.cos(angle))
    while abs(curve[1] - curve[0]) > 0.5:
        step = np.diff(curve) * ratio
        sign = random.choice([-1, 1], len(step)) if both_sides else -1
        left, right = curve[:-1] + step, curve[1:] - step
        middle = left + step * np.exp(1j * sign * angle)
        curve = np.append(np.stack([curve[:-1], left, middle, right], axis=1).ravel(), curve[-1])
    centre = side * (0.5 + random.uniform(-0.06, 0.06) + 1j * (0.5 + random.uniform(-0.06, 0.06)))
    return inside(curve[:-1] * np.exp(2j * np.pi * random.uniform()) + centre, side)


def inside(corners, side):
    """Labels of the pixels inside a polygon with complex corners, by the even-odd rule."""
    ends = np.roll(corners, -1)
    low, high = (f(corners.imag, ends.imag) for f in (np.minimum, np.maximum))
    first, crossings = np.ceil(low).astype(int), np.ceil(high).astype(int) - np.ceil(low).astype(int)
    edge = np.repeat(np.arange(len(corners)), crossings)
    row = np.arange(crossings.sum()) + np.repeat(first - np.cumsum(crossings) + crossings, crossings)
    share = (row - corners.imag[edge]) / (ends - corners).imag[edge]
    column = np.clip(np.ceil(corners.real[edge] + share * (ends - corners).real[edge]).astype(int), 0, side)
    seen = (row >= 0) & (row < side)
    toggles = np.zeros((side, side + 1), int)
    np.add.at(toggles, (row[seen], column[seen]), 1)
    return np.cumsum(toggles, axis=1)[:, :side] % 2 == 1


def disc(side, random):
    y, x = np.mgrid[:side, :side]
    (x_0, y_0), radius = side * (0.5 + random.uniform(-0.1, 0.1, 2)), side * random.uniform(0.2, 0.38)
    return (x - x_0) ** 2 + (y - y_0) ** 2 < radius**2


def half_plane(side, random):
    y, x = np.mgrid[:side, :side] - side / 2
    angle = random.uniform(0, 2 * np.pi)
    return np.cos(angle) * x + np.sin(angle) * y < random.uniform(-0.2, 0.2) * side
