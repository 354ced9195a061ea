"""Measure the speed of metalearn as ratios: `python -m benchmarks.speed`.

On a shared machine ratios are more reliable than seconds. Therefore competitors run in turn in one process, each row is
the best of several rounds, and the machine's ceilings (a matrix product, a tanh) are measured between them.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import optax
from rich.console import Console
from rich.table import Table

import metalearn as ml

WIDTH, EXAMPLES = 16, 272
PAIRS, LENGTH, HORIZON, SIGMA, OUTER_RATE = 64, 20, 100, 0.1, 1e-3
THETA = {"learning_rate": 0.0}

FRESH = """
import json, os, sys, time
began = time.perf_counter()
import jax
jax_ready = time.perf_counter() - began
import metalearn as ml
imported = time.perf_counter() - began
if sys.argv[1] == "estimate":
    compilations = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, seconds, **_: compilations.append(seconds) if event.endswith("backend_compile_duration") else None
    )
    theta = jax.numpy.zeros(2)
    estimator = ml.persistent_es(ml.problems.toy_regression(), ml.Truncation(100, 10), sigma=0.3, num_pairs=50)
    state = estimator.init(theta, jax.random.key(0))
    jax.block_until_ready(estimator.estimate(theta, state, jax.random.key(1)))
    print(json.dumps([time.perf_counter() - began, len(compilations), sum(compilations)]))
else:
    print(json.dumps([imported, jax_ready]))
"""


def shortest_times(competitors, rounds):
    """Return the shortest time of each competitor in seconds: all run once per round, after one call that compiles."""
    for run in competitors.values():
        jax.block_until_ready(run())
    times = {name: [] for name in competitors}
    for _ in range(rounds):
        for name, run in competitors.items():
            began = time.perf_counter()
            jax.block_until_ready(run())
            times[name].append(time.perf_counter() - began)
    return {name: min(seconds) for name, seconds in times.items()}


def network_problem():
    """Build the network of the fractal boundary: (1/n) W1 tanh(√(2/n) W0 x), full batch, one learning rate e^θ."""
    data = ml.data.gaussian_regression(jax.random.key(0), WIDTH, EXAMPLES)
    network = ml.mlp((WIDTH, WIDTH, 1), "tanh", "mean_field", bias=False)
    return data, ml.training(ml.regression(network, data), ml.sgd(ml.hyperparameters.exp("learning_rate")))


def by_library(problem, theta, num_outer, sigma, outer_rate, chunk_size=None):
    """Run the library's persistent ES with SGD on θ, `num_outer` windows in one program."""
    estimator = ml.persistent_es(
        problem, ml.Truncation(HORIZON, LENGTH), sigma=sigma, num_pairs=PAIRS, chunk_size=chunk_size
    )
    optimizer = optax.sgd(outer_rate)
    theta = jax.tree.map(jnp.asarray, theta)

    def outer_step(carry, key):
        theta, state, memory = carry
        gradient, state, metrics = estimator.estimate(theta, state, key)
        updates, memory = optimizer.update(gradient, memory, theta)
        return (optax.apply_updates(theta, updates), state, memory), metrics["loss"]

    keys = jax.random.split(jax.random.key(1), num_outer)
    carry = (theta, estimator.init(theta, keys[0]), optimizer.init(theta))
    run = jax.jit(lambda carry, keys: jax.lax.scan(outer_step, carry, keys))
    return lambda: run(carry, keys)


def by_hand(data, num_outer, chunk_size=PAIRS):
    """Do the same without the library: one `value_and_grad` per inner step, both members of a pair in one vmap."""
    inputs, targets = data

    def loss(params):
        first, last = params
        hidden = jnp.tanh((jnp.sqrt(2 / WIDTH) * first) @ inputs)
        return jnp.mean((last @ hidden / WIDTH - targets) ** 2)

    def follow(theta, params):
        rate = jnp.exp(theta)

        def body(params, _):
            value, (first, last) = jax.value_and_grad(loss)(params)
            return (params[0] - rate * first, params[1] - rate * last), value

        params, values = jax.lax.scan(body, params, length=LENGTH)
        return (jnp.sum(values[1:]) + loss(params)) / LENGTH, params

    def start(key):
        first, last = jax.random.split(key)
        return jax.random.normal(first, (WIDTH, WIDTH)), jax.random.normal(last, (1, WIDTH))

    def one_pair(theta, noise, params):
        return jax.vmap(lambda sign, params: follow(theta + sign * noise, params))(jnp.array([1.0, -1.0]), params)

    def outer_step(carry, index_and_key):
        index, key = index_and_key
        theta, params, credit = carry
        key_start, key_noise = jax.random.split(key)

        def begin():
            fresh = jax.vmap(start)(jax.random.split(key_start, PAIRS))
            return jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], 2, axis=1), fresh), jnp.zeros(PAIRS)

        params, credit = jax.lax.cond(index % (HORIZON // LENGTH) == 0, begin, lambda: (params, credit))
        noise = SIGMA * jax.random.normal(key_noise, (PAIRS,))
        advance = lambda pair: one_pair(theta, *pair)
        losses, params = jax.lax.map(advance, (noise, params), batch_size=chunk_size)
        credit = credit + noise
        gradient = jnp.mean(credit * (losses[:, 0] - losses[:, 1])) / (2 * SIGMA**2)
        return (theta - OUTER_RATE * gradient, params, credit), jnp.mean(losses)

    blank = (jnp.zeros((PAIRS, 2, WIDTH, WIDTH)), jnp.zeros((PAIRS, 2, 1, WIDTH)))
    carry = (jnp.asarray(THETA["learning_rate"]), blank, jnp.zeros(PAIRS))
    keys = jax.random.split(jax.random.key(1), num_outer)
    run = jax.jit(lambda carry, keys: jax.lax.scan(outer_step, carry, (jnp.arange(num_outer), keys)))
    return lambda: run(carry, keys)


def ceilings():
    """Return lower bounds of an inner step of all members: its two large matrix products alone, its tanh alone."""
    members = 2 * PAIRS
    weights = jax.random.normal(jax.random.key(2), (members, WIDTH, WIDTH))
    inputs = jax.random.normal(jax.random.key(3), (WIDTH, EXAMPLES))
    hidden = jax.random.normal(jax.random.key(4), (members, WIDTH, EXAMPLES))

    @jax.jit
    def products(weights):
        forward = lambda weights, _: ((weights @ inputs) @ inputs.T / EXAMPLES, None)
        return jax.lax.scan(forward, weights, length=LENGTH)[0]

    @jax.jit
    def tanhs(hidden):
        return jax.lax.scan(lambda hidden, _: (jnp.tanh(hidden), None), hidden, length=LENGTH)[0]

    return {"ceiling: two matrix products": lambda: products(weights), "ceiling: tanh": lambda: tanhs(hidden)}


def network_table(num_outer, rounds):
    """Compare inner steps per second of the library and of the hand-written loop, by chunk size."""
    data, problem = network_problem()
    choice = "chosen by the library"
    library = {
        f"library, chunks of {chunk or choice}": by_library(problem, THETA, num_outer, SIGMA, OUTER_RATE, chunk)
        for chunk in (None, 8, 16, 32)
    }
    hand = {f"by hand, chunks of {chunk}": by_hand(data, num_outer, chunk) for chunk in (8, 16, 32, 64)}
    steps = 2 * PAIRS * LENGTH
    seconds = shortest_times(library | hand | ceilings(), rounds)
    speed = {name: steps * (num_outer if name in library | hand else 1) / time for name, time in seconds.items()}
    best = max(speed[name] for name in hand)
    rows = [(name, f"{value:,.0f}", f"{value / best:.2f}") for name, value in speed.items()]
    title = f"Persistent ES, {WIDTH}-{WIDTH}-1 tanh network, {EXAMPLES} points, {PAIRS} pairs, windows of {LENGTH}"
    return title, ("", "inner steps/s", "of the best by hand"), rows


def toy_table(num_outer, rounds):
    """Measure the published toy problem: 50 pairs, windows of 10, Adam."""
    estimator = ml.persistent_es(
        ml.problems.toy_regression(objective="sum"), ml.Truncation(100, 10), sigma=0.3, num_pairs=50
    )
    optimizer = optax.adam(0.01, b1=0.99)
    theta = jnp.full(2, -4.0)

    def outer_step(carry, key):
        theta, state, memory = carry
        gradient, state, _ = estimator.estimate(theta, state, key)
        updates, memory = optimizer.update(gradient, memory)
        return (optax.apply_updates(theta, updates), state, memory), None

    keys = jax.random.split(jax.random.key(0), num_outer)
    carry = (theta, estimator.init(theta, keys[0]), optimizer.init(theta))
    run = jax.jit(lambda: jax.lax.scan(outer_step, carry, keys)[0][0])
    seconds = shortest_times({"toy": run}, rounds)["toy"]
    rows = [
        (f"{num_outer:,} outer steps", f"{seconds:.2f} s"),
        ("one outer step", f"{seconds / num_outer * 1e6:.0f} µs"),
    ]
    return "Persistent ES, toy regression, 50 pairs, windows of 10, after compilation", ("", "time"), rows


def fresh_table():
    """Measure the time of a new process until its first number."""
    imported, jax_ready = _in_fresh_process("import")
    first, compilations, compiling = _in_fresh_process("estimate")
    rows = [
        ("import metalearn", f"{imported:.2f} s"),
        ("  of which jax", f"{jax_ready:.2f} s"),
        ("import to the first estimate", f"{first:.2f} s"),
        ("  of which the compiler", f"{compiling:.2f} s"),
        ("programs compiled", f"{compilations}"),
    ]
    return "A fresh process, persistent ES on the toy regression", ("", ""), rows


def _in_fresh_process(mode):
    finished = subprocess.run([sys.executable, "-c", FRESH, mode], capture_output=True, text=True, check=True)
    return json.loads(finished.stdout.splitlines()[-1])


def memory_table(num_steps, rounds):
    """Compare backprop through a training with and without rematerialisation."""
    problem = network_problem()[1]
    theta, key = jax.tree.map(jnp.asarray, THETA), jax.random.key(0)
    runs, rows, gradients = {}, [], {}
    for rematerialise in (False, True):
        estimator = ml.backprop(problem, ml.Truncation(num_steps, num_steps), rematerialise=rematerialise)
        state = estimator.init(theta, key)
        program = estimator.estimate.lower(theta, state, key).compile()
        name = "rematerialised" if rematerialise else "stored"
        gradients[name] = float(program(theta, state, key)[0]["learning_rate"])
        runs[name] = lambda program=program, state=state: program(theta, state, key)
        assert estimator.description is not None
        formula = estimator.description.memory(theta)
        rows.append([name, program.memory_analysis().temp_size_in_bytes / 2**20, formula / 2**20])
    seconds = shortest_times(runs, rounds)
    rows = [
        (name, f"{temp:.2f} MiB", f"{formula:.2f} MiB", f"{seconds[name]:.3f} s", f"{gradients[name]:.6g}")
        for name, temp, formula in rows
    ]
    header = ("", "temporary memory", "by formula", "time", "gradient")
    return f"Backprop through {num_steps} training steps of the network", header, rows


def show(console, title, header, rows):
    table = Table(title=title, title_justify="left", title_style="bold", min_width=100)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; the best is reported")
    parser.add_argument("--quick", action="store_true", help="a tenth of the outer steps")
    arguments = parser.parse_args()
    fewer = 10 if arguments.quick else 1
    console = Console()
    load = lambda: f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    console.print(f"jax {jax.__version__} on {jax.default_backend()}, {os.cpu_count()} cores, load average {load()}")
    show(console, *fresh_table())
    show(console, *network_table(20 // fewer, arguments.rounds))
    show(console, *toy_table(20_000 // fewer, min(arguments.rounds, 3)))
    show(console, *memory_table(1000, min(arguments.rounds, 3)))
    console.print(f"load average at the end {load()}")


if __name__ == "__main__":
    main()
