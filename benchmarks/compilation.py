"""Measure compile time and run time for each effort of the compiler: `python -m benchmarks.compilation`.

Each program is compiled with every effort, and the results run in turn, several times. The medians over all programs
are the constants of `metalearn/compilation.py`.
"""

import argparse
import statistics
import time

import jax
import jax.numpy as jnp

import metalearn as ml
from metalearn.compilation import EFFORTS
from metalearn.operations import measure


def programs():
    """Return outer steps of two estimators on two trainings: `name -> (function, arguments)`."""
    digits = ml.problems.digits_training(200), jnp.array([0.5, 0.0]), ml.Truncation(200, 20)
    learned = ml.learned.nominal_optimizer((8, 8), learning_rate=0.03)
    weights = learned.init(jax.random.key(0))
    problems = {
        "digits": digits,
        "learned optimiser": (
            ml.problems.digits_benchmark(num_steps=500).problem(learned),
            weights,
            ml.Truncation(500, 50),
        ),
    }
    found = {}
    for place, (problem, theta, windows) in problems.items():
        methods = {
            "persistent ES": ml.persistent_es(problem, windows, sigma=0.1, num_pairs=8),
            "truncated backprop": ml.backprop(problem, windows, num_particles=8),
        }
        for name, estimator in methods.items():
            state = estimator.init(theta, jax.random.key(1))
            found[f"{name}, {place}"] = jax.jit(estimator.estimate.__wrapped__), (theta, state, jax.random.key(2))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    costs, slowdowns = ({effort: [] for effort in EFFORTS} for _ in range(2))
    for name, (function, arguments) in programs().items():
        traced = function.trace(*arguments)
        equations, estimated = measure(traced.jaxpr.jaxpr)
        compiled, times = {}, {effort: [] for effort in EFFORTS}
        for effort, (options, _, _) in EFFORTS.items():
            began = time.perf_counter()
            compiled[effort] = traced.lower().compile(compiler_options=options)
            costs[effort].append((time.perf_counter() - began) / equations)
            jax.block_until_ready(compiled[effort](*arguments))
        for _ in range(rounds):
            for effort, run in compiled.items():
                began = time.perf_counter()
                jax.block_until_ready(run(*arguments))
                times[effort].append(time.perf_counter() - began)
        full = times["full"]
        print(
            f"{name}: {equations} equations, {1e3 * statistics.median(full):.1f} ms, estimated {1e3 * estimated:.1f} ms"
        )
        for effort in EFFORTS:
            slowdowns[effort].append(statistics.median(one / other for one, other in zip(times[effort], full)))
            seconds, slower = costs[effort][-1] * equations, slowdowns[effort][-1]
            print(f"  {effort:8s} compiled in {seconds:5.2f} s, {slower:5.2f} times the run time of full")
    print("medians")
    for effort in EFFORTS:
        each, slower = statistics.median(costs[effort]), statistics.median(slowdowns[effort])
        print(f"  {effort:8s} {each:.1e} s per equation, {slower:.2f} times the run time of full")


if __name__ == "__main__":
    main()
