"""Check a problem, check my_file.py:my_problem or check digits: print derivatives, speed, memory, and missing parts."""

import sys
import time
from typing import Any

import jax
import numpy as np

from metalearn import trees
from metalearn.application.build import UNKNOWN_SIGMA, parse_seed
from metalearn.application.command_line import application
from metalearn.application.studies import read_study
from metalearn.estimators import noise_reuse_es
from metalearn.inner.checks import check_count
from metalearn.inner.differentiable import check_problem
from metalearn.inner.unroll import meta_loss
from metalearn.outer import Study
from metalearn.outer.study import leaf_paths
from metalearn.usage import CONFIGS
from metalearn.words import counted

MOST_LEAVES = 20
SECONDS = 0.3  # the least time for a measurement of speed


def main(config: Any) -> None:
    """Print the properties of `config.problem`, one on each line, after checking that it is valid."""
    key, study = parse_seed(config.seed), read_study(config)
    check_count("pairs", config.pairs)
    for name, words in describe(study).items():
        print(f"  {name:16s}{words}", flush=True)
    for name, words in measure(study, key, config.pairs):
        print(f"  {name:16s}{words}", flush=True)


def describe(study: Study) -> dict[str, str]:
    """Return the properties of a study that are known without running it."""
    leaves, windows = leaf_paths(study.theta), study.windows(jax.random.key(0))
    named = [f"{path}{list(leaf.shape) if leaf.shape else ''}" for path, leaf in leaves.items()]
    more = f" and {len(named) - MOST_LEAVES} more" if len(named) > MOST_LEAVES else ""
    sentences = check_problem(study.problem, study.theta)
    plane = study.plane
    drawn = f"{plane.x.name} × {plane.y.name}: landscape, zoom and explain work" if plane is not None else (
        "none: compare and meta_train work; landscape, zoom and explain need a plane"
    )  # fmt: skip
    if plane is not None and study.sigma_on_plane() is None:
        drawn = f"{plane.x.name} × {plane.y.name}: landscape and zoom work. {UNKNOWN_SIGMA}"
    return {
        "name": study.name,
        "theta": f"{counted(trees.size(study.theta), 'number')} in {', '.join(named[:MOST_LEAVES])}{more}",
        "episode": f"{counted(windows.horizon, 'step')} in {counted(windows.num_windows, 'window')} of {windows.length}",
        "sigma": f"{study.sigma:g}",
        "plane": drawn,
        "searches": "in the box" if study.searched is not None else "none: they need a box",
        "held out": "a problem of its own" if study.held_out is not None else "the problem on fresh episodes",
        "derivatives": " ".join(sentences) or "in reverse and forward mode",
    }


def measure(study: Study, key: jax.Array, pairs: int):
    """Yield the cost of one training and of one estimate, as pairs of a name and a text."""
    train = jax.jit(lambda theta, key: meta_loss(study.problem, theta, key, study.horizon))
    compiled, seconds, took, loss = _timed(train, trees.strong(study.theta), key)
    memory = compiled.memory_analysis()
    used = (
        f"{_size(memory.temp_size_in_bytes + memory.argument_size_in_bytes)} of memory in addition to its data"
        if memory
        else "memory unknown"
    )
    speed = f"{study.horizon / took:,.0f} inner steps a second"
    yield "one training", f"{took:.3g} s, {speed}, {used}, compiled in {seconds:.1f} s"
    value = float(loss)
    known = (
        "" if np.isfinite(value) else ": it diverges at this theta; start elsewhere, or give it a cap with ml.saturate"
    )
    yield "meta-loss", f"{value:.6g} at theta, in one episode{known}"
    windows = study.windows(key)
    estimator = noise_reuse_es(study.problem, windows, sigma=study.sigma, num_pairs=pairs)
    state = estimator.init(study.theta, key)
    estimate = jax.jit(lambda theta, state, key: estimator.estimate(theta, state, key))
    _, seconds, took, _ = _timed(estimate, trees.strong(study.theta), state, key)
    steps = 2 * pairs * windows.length
    yield (
        "one estimate",
        f"{took:.3g} s for {pairs} pairs over a window, {steps:,} inner steps, compiled in {seconds:.1f} s",
    )


def _timed(function, *arguments):
    """Return the compiled function, the seconds for compilation and for one call, and the result of the call."""
    began = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    compiling, calls = time.perf_counter() - began, 0
    found = jax.block_until_ready(compiled(*arguments))
    began = time.perf_counter()
    while (passed := time.perf_counter() - began) < SECONDS:
        jax.block_until_ready(compiled(*arguments))
        calls += 1
    return compiled, compiling, passed / calls, found


def _size(count: float) -> str:
    unit = next(unit for unit in ("B", "kB", "MB", "GB", "TB") if (count := count / 1000) < 1 or unit == "TB")
    return f"{count * 1000:.3g} {unit}"


if __name__ == "__main__":
    first = next((i for i, word in enumerate(sys.argv) if i and "=" not in word and not word.startswith("-")), None)
    if first is not None:
        sys.argv[first] = f"problem={sys.argv[first]}"
    application(main, "check", CONFIGS)
