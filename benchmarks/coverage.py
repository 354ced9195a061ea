"""Measure how often the stated errors of roughness, dimensions and Lyapunov exponents cover the known answer.

    python -m benchmarks.coverage [--only roughness "3-point rule" "Lyapunov exponent"] [--into FOLDER]

The answers for 200 random cuts, borders and orbits are theorems (tests/landscape/known.py,
tests/dynamics/test_lyapunov.py). After every row coverage.json is written; the row replaces that of the same problem.
"""

import argparse
import functools
import math
import pathlib

import numpy as np

from benchmarks.results import read, write
from metalearn.landscape import roughness, uncertainty_dimension
from tests.coverage import REPETITIONS, coverage, repeated
from tests.dynamics.test_lyapunov import exponents
from tests.landscape.known import KOCH, brownian, disc, half_plane, inside, koch, triangles, under, waves

DEGREE = math.pi / 180
ORBITS = {
    "skew tent": "skew tent",
    "driven": "a product driven by an autoregression",
    "Gaussian matrices": "products of Gaussian matrices",
    "constant slope": "logistic map at 4, where the sum of logarithms is bounded",
}


def koch_dimension(angle):
    return math.log(4) / math.log(2 + 2 * math.cos(angle))


def quadratic(side, random):
    """Return a square whose sides are quadratic Koch curves, at a random place, size and rotation; D = 1.5."""
    curve = np.exp(0.5j * np.pi * np.arange(5)) * side * random.uniform(0.2, 0.3)
    turns = np.exp(0.5j * np.pi * np.array([0, 1, 0, -1, -1, 0, 1, 0]))
    while abs(curve[1] - curve[0]) > 0.5:
        steps = np.diff(curve)[:, None] / 4 * turns
        curve = np.append((curve[:-1, None] + np.cumsum(steps, axis=1) - steps).ravel(), curve[-1])
    centre = side * (0.5 + random.uniform(-0.06, 0.06) + 1j * (0.5 + random.uniform(-0.06, 0.06)))
    return inside(curve[:-1] * np.exp(2j * np.pi * random.uniform()) + centre, side)


def field(side, random, exponent=0.5, finer=4):
    """Return where a random field of roughness H on a torus is positive, sampled from a finer grid; D = 2 − H."""
    count = side * finer
    wave = np.hypot(*np.meshgrid(*[np.fft.fftfreq(count)] * 2))
    wave[0, 0] = np.inf
    rough = np.fft.ifft2(np.fft.fft2(random.normal(size=(count, count))) * wave ** -(exponent + 1)).real
    return rough[::finer, ::finer] > 0


def cuts():
    """Yield `(problem, roughness of one cut, answer)`."""
    shorter = functools.partial(waves, length=0.63)
    for name, make, cases in (
        ("fractional Brownian motion", brownian, ((0.2, 2048), (0.5, 2048), (0.8, 2048), (0.6, 256))),
        ("Weierstrass function", waves, ((0.6, 2048), (0.8, 2048), (0.6, 256))),
        ("triangle waves", triangles, ((0.2, 8192), (0.8, 8192))),
        ("Weierstrass function on .63 of a period", shorter, ((0.8, 2048),)),
    ):
        for exponent, count in cases:
            yield f"{name}, H = {exponent}, {count} points", functools.partial(make, exponent, count), exponent


def borders():
    """Yield `(problem, labels of one border, answer)`."""
    for name, make, dimension, sides in (
        ("snowflake", koch, KOCH, (128, 256, 512)),
        ("snowflake with bumps on random sides", functools.partial(koch, both_sides=True), KOCH, (128, 256, 512)),
        ("snowflake of 46°", functools.partial(koch, angle=46 * DEGREE), koch_dimension(46 * DEGREE), (256, 512)),
        ("snowflake of 74°", functools.partial(koch, angle=74 * DEGREE), koch_dimension(74 * DEGREE), (256, 512)),
        ("quadratic Koch curve", quadratic, 1.5, (256, 512)),
        ("disc", disc, 1.0, (256,)),
        ("half plane", half_plane, 1.0, (256,)),
        (
            "graph of a Weierstrass function",
            lambda side, random: under(waves(0.5, side, random), side),
            1.5,
            (256, 512),
        ),
        ("graph of Brownian motion", lambda side, random: under(brownian(0.5, side, random), side), 1.5, (256,)),
        ("graph of Brownian motion", lambda side, random: under(brownian(0.8, side, random), side), 1.2, (256,)),
        ("level set of a random field", field, 1.5, (256,)),
    ):
        for side in sides:
            yield f"{name}, D = {dimension:.4g}, {side}²", functools.partial(make, side), dimension


def _pair(found, name):
    return getattr(found, name), found.standard_error


def measurements(numbers):
    """Yield `(number, problem, values, errors, answer)`."""
    rough = lambda values: _pair(roughness(values, 1.0), "exponent")
    dimension = lambda labels: _pair(uncertainty_dimension(labels), "dimension")
    for number, measure, problems in (("roughness", rough, cuts()), ("3-point rule", dimension, borders())):
        for problem, make, answer in problems if number in numbers else ():
            yield number, problem, *repeated(measure, make), answer
    for name, problem in ORBITS.items() if "Lyapunov exponent" in numbers else ():
        yield "Lyapunov exponent", problem, *exponents(name, num_steps=1100, transient=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path("runs"))
    numbers = ("roughness", "3-point rule", "Lyapunov exponent")
    parser.add_argument("--only", nargs="+", choices=numbers, default=numbers)
    arguments = parser.parse_args()
    path = arguments.into / "coverage.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {(row["number"], row["problem"]): row for row in (read(path) if path.exists() else [])}
    for number, problem, values, errors, answer in measurements(arguments.only):
        share = coverage(values, errors, answer)
        found[number, problem] = {
            "number": number,
            "problem": problem,
            "repetitions": REPETITIONS,
            "within 1": share.one,
            "within 2": share.two,
            "mean minus answer": round(float(np.mean(values) - answer), 4),
            "median error": round(float(np.median(errors)), 4),
        }
        write(path, found.values())
        print(found[number, problem], flush=True)


if __name__ == "__main__":
    main()
