"""Measure the bias of estimators while θ moves, along trajectories of several outer learning rates.

    python -m benchmarks.hysteresis [--problems toy digits] [--rates 0 0.003 0.03 0.3] [--copies 64] [--into FOLDER]

Each trajectory is that of noise-reuse ES with Adam. Every estimator follows it, each time from a new start. Its mean
over each episode's windows is compared with the gradient of its own smoothed meta-loss at the θ in the middle of the
episode (`ml.compare(..., along=...)`). The results are hysteresis.json, which is written after every row and keeps the
rows of other problems and rates, and hysteresis.png.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import metalearn as ml
from benchmarks.tables import SUBJECT, read, write

RATES = (0.0, 0.003, 0.03, 0.3)
EPISODES = 8
COLOURS = {"PES": "#0072B2", "NRES": "#E69F00", "truncated ES": "#009E73", "TBPTT": "#CC79A7"}


def settings(name):
    """Return the problem, its truncation, σ and the first θ."""
    if name == "toy":
        return ml.problems.toy_regression(horizon=100), ml.Truncation(100, 10), 0.3, jnp.log(jnp.array([0.01, 0.01]))
    return (
        ml.problems.digits_training(num_steps=100, num_examples=512),
        ml.Truncation(100, 10),
        0.1,
        jnp.array([-0.5, -0.5]),
    )


def measure_rows(name, rates, copies):
    """Yield one dictionary for each outer learning rate and estimator."""
    problem, windows, sigma, start = settings(name)
    smooth = {"sigma": sigma, "num_pairs": 16}
    estimators = {
        "PES": ml.persistent_es(problem, windows, **smooth),
        "NRES": ml.noise_reuse_es(problem, windows, **smooth),
        "truncated ES": ml.evolution_strategies(problem, windows, **smooth),
        "TBPTT": ml.backprop(problem, windows, num_particles=16),
    }
    steps = EPISODES * windows.num_windows
    for rate in rates:
        outer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
        guide = ml.noise_reuse_es(problem, windows, sigma=sigma, num_pairs=64)
        _, history = ml.meta_train(guide, outer, start, jax.random.key(1), steps)
        found = ml.compare(
            estimators, start, jax.random.key(2), num_episodes=copies, along=history.theta, unsmoothed=True, timed=False
        )
        travelled = float(np.linalg.norm(np.diff(np.asarray(history.theta), axis=0), axis=1).sum() / EPISODES)
        for report in found.reports:
            yield {
                "problem": name,
                "outer learning rate": rate,
                "estimator": report.name,
                "path of an episode / sigma": travelled / sigma,
                "bias": report.bias.value,
                "error": report.bias.error,
                "diverged": report.fraction_diverged,
                "capped": report.fraction_capped,
            }


def draw(rows, path):
    names = list(dict.fromkeys(row["problem"] for row in rows))
    figure, axes = plt.subplots(1, len(names), figsize=(5.2 * len(names), 3.8), layout="constrained", squeeze=False)
    for axis, name in zip(axes[0], names):
        for place, (estimator, colour) in enumerate(COLOURS.items()):
            own = [row for row in rows if (row["problem"], row["estimator"]) == (name, estimator)]
            own.sort(key=lambda row: row["outer learning rate"])
            x = np.arange(len(own)) + 0.08 * (place - 1.5)
            bias, error = ([row[field] for row in own] for field in ("bias", "error"))
            axis.errorbar(x, bias, error, fmt="o", color=colour, capsize=3, label=estimator)
        rates = sorted({row["outer learning rate"] for row in rows if row["problem"] == name})
        labels = [f"{rate:g}" if rate else "frozen" for rate in rates]
        axis.set(xticks=range(len(labels)), xticklabels=labels, xlabel="outer learning rate of Adam", title=name)
        axis.set_ylabel("‖bias‖ / ‖target‖ over 8 episodes")
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", alpha=0.3)
    axes[0, -1].legend()
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=["toy", "digits"], choices=["toy", "digits"])
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    parser.add_argument("--copies", type=int, default=64)
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path("runs"))
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    ml.cache_programs()
    path = arguments.into / "hysteresis.json"
    rows = read(path) if path.exists() else []
    for name in arguments.problems:
        for row in measure_rows(name, arguments.rates, arguments.copies):
            subject = lambda one: tuple(one[field] for field in SUBJECT["hysteresis"])
            rows = [one for one in rows if subject(one) != subject(row)] + [row]
            write(path, rows)
            print(
                {field: f"{value:.3g}" if isinstance(value, float) else value for field, value in row.items()},
                flush=True,
            )
    draw(rows, arguments.into / "hysteresis.png")


if __name__ == "__main__":
    main()
