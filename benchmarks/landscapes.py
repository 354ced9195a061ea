"""Compare the speed of trainability landscapes with the published method: `python -m benchmarks.landscapes`.

The published notebook is reimplemented unchanged: a Python loop over a jitted, vmapped training step of all pixels,
layers `x @ W`, and the whole history of losses is kept. All competitors run in turn in one process and in float64; each
row is the best of the rounds. The ceiling is the time of the two large matrix products and the tanh of a step alone, on
as many threads as there are cores.
"""

import argparse
import multiprocessing
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import metalearn as ml
from benchmarks.speed import shortest_times, show
from metalearn.landscape import condition, convergence_measure, trainability
from metalearn.words import percent

SIDE, STEPS, PUBLISHED_STEPS = 64, 500, 100
CHUNK, CEILING_STEPS = 16, 2000

MEMORY = """
import pathlib, re
from metalearn.landscape import condition, trainability
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
chosen = condition("tanh")
trainability(chosen.problem, chosen.plane, num_steps=4, resolution=64)
before = peak()
found = trainability(chosen.problem, chosen.plane, num_steps=4, resolution=1024)
print(before, peak(), found.measure.size)
"""


def published(plane, num_steps):
    """Return the measure of every pixel by the published method."""
    data = ml.data.two_layer_data()
    x, y = np.meshgrid(plane.x.values(SIDE), plane.y.values(SIDE))

    def error(weights):
        outputs = jnp.tanh(np.sqrt(2 / 16) * (data["X"] @ weights[0])) @ weights[1] / 16
        return jnp.mean(jnp.square(outputs - data["Y"]))

    @jax.jit
    @jax.vmap
    def step(weights, rates):
        loss, gradient = jax.value_and_grad(error)(weights)
        return tuple(w - rate * g for w, rate, g in zip(weights, rates, gradient)), loss

    @jax.enable_x64(True)
    def run():
        rates = (jnp.asarray(x.ravel()), jnp.asarray(y.ravel()))
        weights = tuple(jnp.broadcast_to(data[name], (SIDE**2, *data[name].shape)) for name in ("W0", "W1"))
        losses = []
        for _ in range(num_steps):
            weights, loss = step(weights, rates)
            losses.append(loss)
        return convergence_measure(np.stack(losses, axis=-1))

    return run


def ours(plane):
    """Return the same by the library."""
    chosen = condition("tanh")
    return lambda: trainability(chosen.problem, plane, num_steps=STEPS, resolution=SIDE).measure


def ceiling(parts):
    """Run CEILING_STEPS of a chunk on every core at once: the matrix products, the tanh, or both."""
    inputs = ml.data.two_layer_data()["X"].T

    @jax.jit
    def run(weights):
        def body(_, carry):
            weights, hidden = carry
            if "products" in parts:
                hidden = weights @ inputs
            if "tanh" in parts:
                hidden = jnp.tanh(hidden)
            if "products" in parts:
                weights = weights - 1e-9 * (hidden @ inputs.T)
            return weights, hidden

        hidden = jnp.full((CHUNK, 16, 272), 0.3)
        return jax.lax.fori_loop(0, CEILING_STEPS, body, (weights, hidden))

    @jax.enable_x64(True)
    def one(seed):
        return jax.block_until_ready(run(jax.random.normal(jax.random.key(seed), (CHUNK, 16, 16))))

    def everywhere():
        with ThreadPoolExecutor(multiprocessing.cpu_count()) as pool:
            return list(pool.map(one, range(multiprocessing.cpu_count())))

    return everywhere


def speed_table(rounds):
    """Measure pixel-steps per second; pixels that settle early count with all their steps."""
    chosen = condition("tanh")
    competitors = {
        "published method, tile": published(chosen.tile, PUBLISHED_STEPS),
        "published method, full window": published(chosen.plane, PUBLISHED_STEPS),
        "metalearn, tile": ours(chosen.tile),
        "metalearn, full window": ours(chosen.plane),
        "ceiling: matrix products": ceiling(("products",)),
        "ceiling: tanh": ceiling(("tanh",)),
        "ceiling: both": ceiling(("products", "tanh")),
    }
    steps = {
        "p": SIDE**2 * PUBLISHED_STEPS,
        "m": SIDE**2 * STEPS,
        "c": CHUNK * CEILING_STEPS * multiprocessing.cpu_count(),
    }
    seconds = shortest_times(competitors, rounds)
    speed = {name: steps[name[0]] / seconds[name] for name in competitors}
    top = speed["ceiling: both"]
    rows = []
    for name, value in speed.items():
        window = name.rpartition(", ")[2]
        times = f"{value / speed[f'published method, {window}']:.1f}" if name.startswith("metalearn") else ""
        rows.append((name, f"{value:,.0f}", times, f"{value / top:.2f}"))
    title = f"tanh, {SIDE}², float64, {STEPS} steps (published method: {PUBLISHED_STEPS})"
    return title, ("", "pixel-steps/s", "times published", "of the ceiling"), rows


def memory_table():
    """Measure the peak memory of a new process at 1024²; four steps need as much memory as 500. Needs /proc."""
    finished = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    before, after, pixels = map(int, finished.stdout.split())
    rows = [
        ("after a picture of 64²", f"{before / 1024:.0f} MiB"),
        (f"after one of {pixels:,} pixels", f"{after / 1024:.0f} MiB"),
    ]
    return "Peak memory of the process", ("", "resident"), rows


def adaptive_rows(frames, side):
    """Measure the share of pixels that an adaptive landscape trains on the widest frames of a zoom, and its growth."""
    chosen = condition("tanh")
    x, y = ml.landscape.border_point(chosen.problem, chosen.tile, num_steps=STEPS)
    for plane in ml.landscape.zoom(chosen.plane, x, y, frames, factor=10.0):
        counts = {}
        for size in (side // 4 + 1, side // 2 + 1, side + 1):
            began = time.perf_counter()
            found = trainability(chosen.problem, plane, num_steps=STEPS, resolution=size, adaptive=True)
            counts[size] = found.computed.sum()
            yield (
                f"{plane.x.high - plane.x.low:.1e} wide, {size}²: {percent(found.computed.mean())} trained, "
                f"{found.wrong} of {found.checked} filled ones wrong, {time.perf_counter() - began:.0f} s"
            )
        growth = np.polyfit(np.log(list(counts)), np.log(list(counts.values())), 1)[0]
        yield f"    trained pixels grow like N to the power {growth:.2f}"


def main():
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2, help="number of rounds; the best is reported")
    parser.add_argument(
        "--adaptive", type=int, default=0, metavar="SIDE", help="measure adaptive landscapes up to this side"
    )
    arguments = parser.parse_args()
    console = Console()
    if arguments.adaptive:
        console.print("Adaptive pictures of the tanh zoom, 500 steps")
        for row in adaptive_rows(3, arguments.adaptive):
            console.print(row)
        return
    console.print(f"jax {jax.__version__} on {jax.default_backend()}, {multiprocessing.cpu_count()} cores")
    show(console, *speed_table(arguments.rounds))
    show(console, *memory_table())


if __name__ == "__main__":
    main()
