"""Estimates of the cost of a program from its operations, before it is compiled."""

import math

from jax.extend.core import jaxprs_in_params

# Seconds per array element, per floating-point operation of a matrix product, and per operation of the program.
ELEMENT, FLOP, EQUATION = 1e-9, 3e-11, 1e-7
RANDOM = 20  # the cost of a random number, in elements


def measure(jaxpr) -> tuple[int, float]:
    """Return the number of equations of a program, inner programs included, and its estimated run time in seconds.

    The run time of the body of a scan is counted once per step. Other loops, whose number of steps is unknown, are
    counted once.
    """
    equations, seconds = 0, 0.0
    for equation in jaxpr.eqns:
        inner = [measure(body) for body in jaxprs_in_params(equation.params)]
        repeats = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        equations += sum(count for count, _ in inner) or 1
        seconds += repeats * sum(spent for _, spent in inner) if inner else _seconds(equation)
    return equations, seconds


def primitives(jaxpr) -> set[str]:
    """Return the names of the operations of a program, inner programs included."""
    inner = (primitives(body) for equation in jaxpr.eqns for body in jaxprs_in_params(equation.params))
    return {equation.primitive.name for equation in jaxpr.eqns}.union(*inner)


def _seconds(equation) -> float:
    """Estimate the run time of one operation. Broadcasts are free, and an update of an array costs its new entries."""
    name, elements = equation.primitive.name, sum(math.prod(_shape(out)) for out in equation.outvars)
    if name == "broadcast_in_dim":
        return 0.0
    if name == "dynamic_update_slice" or name.startswith("scatter"):
        elements = math.prod(_shape(equation.invars[1 if name == "dynamic_update_slice" else 2]))
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return EQUATION + 2 * FLOP * elements * math.prod(_shape(equation.invars[0])[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return EQUATION + 2 * FLOP * elements * math.prod(_shape(equation.invars[1])[1:])
    return EQUATION + ELEMENT * elements * (RANDOM if name.startswith(("random_", "threefry")) else 1)


def _shape(variable) -> tuple[int, ...]:
    return getattr(variable.aval, "shape", ())
