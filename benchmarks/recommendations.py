"""How often the estimator that `ml.diagnose` recommends is a good one: measured again, with fresh randomness.

    python -m benchmarks.recommendations [--points 14] [--problems digits fractal toy] [--into FOLDER]

At random points of three planes that train: the signal to noise per inner step of the recommended candidate over that of
the best one whose mean is within 0.3 of ∇L_σ, and over that of the best of all, biased ones included.
"""

import argparse
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import metalearn as ml
from metalearn.outer.diagnosis.cloud import measure_cloud
from metalearn.outer.diagnosis.recommend import make_candidates, trusted, with_target_error

EPISODES, PAIRS = 32, 512
PLANES = {
    "digits": ((-2.0, 2.5), (-4.0, 2.5)),
    "fractal": ((-1.0, 5.0), (-1.0, 3.0)),
    "toy": ((-6.0, 6.0), (-6.0, 4.0)),
}


def make_problem(name):
    """The problem, its truncation and σ."""
    key = jax.random.key(3)
    if name == "digits":
        return ml.problems.digits_training(num_steps=200), ml.Truncation(200, 20, key=key), 0.1
    if name == "fractal":
        return ml.problems.fractal_training(), ml.Truncation(500, 50, key=key), 0.1
    return ml.problems.toy_regression(horizon=100), ml.Truncation(100, 10, key=key), 0.3


def places(problem, truncation, name, count):
    """Random points of the plane at which training converges."""
    random = np.random.default_rng(7)
    loss = jax.jit(lambda theta: ml.meta_loss(problem, theta, truncation.key, truncation.horizon))
    start = float(loss(jnp.array([low for low, _ in PLANES[name]])))  # the smallest rates: it hardly moves
    while count:
        theta = jnp.array([random.uniform(*axis) for axis in PLANES[name]])
        if float(loss(theta)) < 0.95 * start:
            count -= 1
            yield theta


def row_at(problem, theta, truncation, sigma, index):
    """What is recommended, and what every candidate does when it is measured again."""
    card = ml.diagnose(problem, theta, sigma, truncation, jax.random.key(1000 + index))
    again, apart = jax.random.split(jax.random.key(2000 + index))
    cloud = measure_cloud(problem, theta, truncation, sigma, apart, PAIRS)
    candidates = make_candidates(
        problem, truncation, sigma, "perturbed backprop" in [r.name for r in card.comparison.reports], (False, False)
    )
    target = ravel_pytree(theta)[1](jnp.asarray(cloud.mean, theta.dtype))
    found = ml.compare(
        candidates, theta, again, num_episodes=EPISODES, reference=dict.fromkeys(candidates, target), reference_pairs=2,
        unsmoothed=False,
    )  # fmt: skip
    reports = with_target_error(found, cloud.uncertainty).reports
    snr = {r.name: r.signal_to_noise_per_step.value for r in reports if np.isfinite(r.signal_to_noise_per_step.value)}
    right = [r.name for r in reports if r.name in snr and trusted(r)]
    chosen = card.recommendation.method
    best = max((snr[name] for name in right), default=0.0)
    return {
        "theta": np.asarray(theta).tolist(),
        "exponent": card.exponent.value,
        "kappa": card.kappa,
        "recommended": chosen,
        "best": max(right, key=snr.__getitem__, default=None),
        "share of the best": snr[chosen] / best if chosen in right else 0.0,
        "share of all": snr.get(chosen, 0.0) / max(max(snr.values()), 1e-300),
        "recommended is right": chosen in right,
        "snr": snr,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=14)
    parser.add_argument("--problems", nargs="+", default=list(PLANES))
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path("runs"))
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    everything = []
    for name in arguments.problems:
        with jax.enable_x64(name == "fractal"):
            problem, truncation, sigma = make_problem(name)
            for index, theta in enumerate(places(problem, truncation, name, arguments.points)):
                began = time.perf_counter()
                row = {"problem": name} | row_at(problem, theta, truncation, sigma, index)
                everything.append(row)
                (arguments.into / "recommendations.json").write_text(json.dumps(everything, indent=1))
                words = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in row.items()}
                print(
                    f"{time.perf_counter() - began:4.0f} s", {k: v for k, v in words.items() if k != "snr"}, flush=True
                )
    shares = np.array([row["share of the best"] for row in everything])
    known = sum(row["best"] is not None for row in everything)
    print(
        f"within a factor 2 of the best candidate whose mean is right: {np.sum(shares >= 0.5)} of {len(shares)} points,"
    )
    print(f"at {len(shares) - known} of which no candidate's mean is known to be right")


if __name__ == "__main__":
    main()
