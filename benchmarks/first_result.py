"""Measure the seconds until the first result, with an empty program cache: `python -m benchmarks.first_result`.

Every row is a separate process, so that nothing is compiled before it. If there is a baseline written by hand, the
library and the baseline run in one process, one after the other, and the ratio is printed: seconds depend on the
machine and its load, ratios less so. `--only import,example` chooses rows, `--rounds 3` repeats them.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parent.parent

HEAD = """
import json, time
began = time.perf_counter()
import jax, jax.numpy as jnp, optax, flax
others = time.perf_counter()
import metalearn as ml
imported = time.perf_counter()
def ready(value):
    jax.block_until_ready(value)
    return time.perf_counter()
"""

IMPORT = """
print(json.dumps({"jax, optax and flax": others - began, "metalearn beyond them": imported - others}))
"""

ESTIMATES = """
problem, theta, key = ml.problems.digits_training(200), jnp.array([0.5, 0.0]), jax.random.key(0)
windows, whole, es = ml.Truncation(200, 20), ml.Truncation(200, 200), {"sigma": 0.1, "num_pairs": 16}
jax.block_until_ready(jax.jit(lambda: jax.random.normal(key, (3,)))())
estimators = {
    "persistent ES": ml.persistent_es(problem, windows, **es),
    "noise-reuse ES": ml.noise_reuse_es(problem, windows, **es),
    "truncated ES": ml.evolution_strategies(problem, windows, **es),
    "full ES": ml.evolution_strategies(problem, whole, **es),
    "truncated backprop": ml.backprop(problem, windows, num_particles=16),
    "backprop": ml.backprop(problem, whole, num_particles=16),
    "forward mode": ml.forward_mode(problem, windows, num_particles=16),
    "forward gradients": ml.forward_gradient(problem, windows, num_directions=16),
    "UORO": ml.uoro(problem, windows, num_particles=16),
    "ARTBP": ml.artbp(problem, whole, num_particles=16, cut_probability=0.05),
}
times = {}
for name, estimator in estimators.items():
    start = time.perf_counter()
    state = estimator.init(theta, key)
    times[name] = ready(estimator.estimate(theta, state, key)) - start
print(json.dumps(times))
"""

BY_HAND = """
from benchmarks.by_hand import persistent_es_by_hand
problem, theta, key = ml.problems.toy_regression(), jnp.zeros(2), jax.random.key(0)
jax.block_until_ready(jax.jit(lambda: jax.random.normal(key, (3,)))())
def library():
    estimator = ml.persistent_es(problem, ml.Truncation(100, 10), sigma=0.3, num_pairs=50)
    return estimator.estimate(theta, estimator.init(theta, key), key)
def hand():
    begin, estimate = persistent_es_by_hand(problem, 100, 10, 0.3, 50)
    return jax.jit(estimate)(theta, jax.jit(begin)(theta, key), key)
times = {}
for name, run in {"by hand": hand, "library": library}.items():
    start = time.perf_counter()
    times[name] = ready(run()) - start
print(json.dumps({**times, "ratio": times["library"] / times["by hand"]}))
"""

DIAGNOSE = """
start = time.perf_counter()
ml.diagnose(ml.problems.digits_training(200), jnp.array([0.5, 0.0]), 0.1, ml.Truncation(200, 20), jax.random.key(0))
print(json.dumps({"first point, everything included": time.perf_counter() - began}))
"""

NETWORK = """
from benchmarks.networks import NETWORKS
problem, theta = NETWORKS["NAME"]()
windows, count, episodes = ml.Truncation(60, 10), 8, 16
if "NAME" == "LSTM":  # whose steps take milliseconds
    windows, count, episodes = ml.Truncation(20, 5), 4, 4
if "NAME" == "transformer":  # of which one step takes more than ten: see "a step of transformer"
    windows, count, episodes = ml.Truncation(8, 4), 2, 4
estimators = {
    "PES": ml.persistent_es(problem, windows, sigma=0.1, num_pairs=count),
    "NRES": ml.noise_reuse_es(problem, windows, sigma=0.1, num_pairs=count),
    "TBPTT": ml.backprop(problem, windows, num_particles=count),
}
times = {}
for name, at in {"first point": theta, "next point": {"learning_rate": theta["learning_rate"] - 1}}.items():
    start = time.perf_counter()
    found = ml.compare(estimators, at, jax.random.key(0), num_episodes=episodes)
    times[name] = time.perf_counter() - start
print(json.dumps(times))
"""

STEPS = """
from benchmarks.networks import NETWORKS
problem, theta = NETWORKS["NAME"]()
length, runs, key = 4, 8, jax.random.key(0)
whole = ml.Truncation(length, length)
def hand(theta, key):
    def one(shift, key):
        at = jax.tree.map(lambda leaf: leaf + 0.01 * shift, theta)
        def body(state, key):
            state = problem.step(state, at, key)
            return state, problem.loss(state, at, key)
        return jax.lax.scan(body, problem.init(at, key), jax.random.split(key, length))[1].mean()
    return jax.vmap(one)(jnp.arange(runs, dtype=jnp.float32), jax.random.split(key, runs))
es = ml.evolution_strategies(problem, whole, sigma=0.1, num_pairs=runs // 2)
reverse = ml.backprop(problem, whole, num_particles=runs)
state, tapes, by_hand = es.init(theta, key), reverse.init(theta, key), jax.jit(hand)
times = {}
for name, run in {
    "vmapped loop by hand, ms": lambda: by_hand(theta, key),
    "full ES, ms": lambda: es.estimate(theta, state, key)[0],
    "backprop, ms": lambda: reverse.estimate(theta, tapes, key)[0],
}.items():
    jax.block_until_ready(run())
    start = time.perf_counter()
    for _ in range(5):
        ready(run())
    times[name] = (time.perf_counter() - start) / (5 * runs * length) * 1e3
print(json.dumps(times))
"""

FIRST_ESTIMATE = """
from benchmarks.networks import NETWORKS
problem, theta = NETWORKS["NAME"]()
windows, key, times = ml.Truncation(60, 10), jax.random.key(0), {}
estimators = {
    "PES": ml.persistent_es(problem, windows, sigma=0.1, num_pairs=8),
    "NRES": ml.noise_reuse_es(problem, windows, sigma=0.1, num_pairs=8),
    "TBPTT": ml.backprop(problem, windows, num_particles=8),
}
for name, estimator in estimators.items():
    start = time.perf_counter()
    times[name] = ready(estimator.estimate(theta, estimator.init(theta, key), key)) - start
print(json.dumps(times))
"""


def python(code):
    """Run code in a new process, and parse the last line that it prints."""
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "XDG_CACHE_HOME": empty, "PYTHONPATH": str(ROOT)}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, "-c", HEAD + code]
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout.splitlines()[-1])


def example():
    """Run the first example of getting started as a script."""
    code = (ROOT / "docs/getting_started.md").read_text().split("```python\n")[1].split("```")[0]
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "XDG_CACHE_HOME": empty}
        subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=ROOT, env=environment, check=True)
    return {"whole process": time.perf_counter() - began}


def demo():
    """Run `make demo` after the set-up: seconds until the first row of the table, and until the end."""
    times = {}
    with tempfile.TemporaryDirectory() as empty:
        environment = {**os.environ, "XDG_CACHE_HOME": empty, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "experiments/compare.py", f"folder={empty}/runs"]
        began = time.perf_counter()
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            for line in process.stdout or ():
                if "diverged" in line:
                    times.setdefault("first row", time.perf_counter() - began)
        times["whole"] = time.perf_counter() - began
    return times


ROWS = {
    "import": lambda: python(IMPORT),
    "persistent ES, toy regression": lambda: python(BY_HAND),
    "first example": example,
    "first estimates, digits": lambda: python(ESTIMATES),
    "diagnose, digits": lambda: python(DIAGNOSE),
    "demo": demo,
}
for _name in ("BatchNorm", "convolutional", "transformer", "LSTM"):
    ROWS[f"compare, {_name}"] = lambda name=_name: python(NETWORK.replace("NAME", name))
    ROWS[f"a step of {_name}"] = lambda name=_name: python(STEPS.replace("NAME", name))
    ROWS[f"first estimates, {_name}"] = lambda name=_name: python(FIRST_ESTIMATE.replace("NAME", name))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="parts of the names of rows, separated by commas")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    wanted = [part for part in options.only.split(",") if part]
    for name, run in ROWS.items():
        if wanted and not any(part in name for part in wanted):
            continue
        rounds = [run() for _ in range(options.rounds)]
        print(name)
        for label in rounds[0]:
            values = [found[label] for found in rounds]
            low, high = min(values), max(values)
            spread = f"   {low:.2f} to {high:.2f}" if len(values) > 1 else ""
            print(f"  {label:36s} {statistics.median(values):7.2f}{spread}", flush=True)


if __name__ == "__main__":
    main()
