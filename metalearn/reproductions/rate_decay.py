"""The heat map of a decaying learning rate, and descents over it, on digits or MNIST.

θ contains the logarithms of the learning rate at the start and at the end of 500 steps of momentum SGD; the rate is
linear between them. This follows the heat maps of Vicol, Metz & Sohl-Dickstein 2021 (arXiv 2112.13835), which are of
MNIST and of a rate with inverse-time decay over 5000 steps. MNIST is downloaded and has a separate command. There are
three objectives: the mean validation loss, the validation loss at the end, and the mean validation error. The error is
piecewise constant, so that its gradient by backprop is zero; that of an evolution strategy is not. Descents start at
(−7, −7), where nothing is learned. The upper end of the bands is 1.1 times the loss of the best point of the heat map,
measured on the same 64 new trainings.
"""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.application.downloads import mnist
from metalearn.compilation import jit
from metalearn.estimators import GradientEstimator, backprop, noise_reuse_es, persistent_es
from metalearn.figures import draw_trajectories, later
from metalearn.inner.derived import strided
from metalearn.inner.problem import InnerProblem
from metalearn.inner.training.benchmark import Benchmark, digits_benchmark
from metalearn.inner.training.datasets import split
from metalearn.inner.training.networks import mlp
from metalearn.inner.training.optimizers import sgd
from metalearn.inner.training.schedules import linear_schedule
from metalearn.inner.training.transforms import exp
from metalearn.inner.unroll import Truncation, meta_loss
from metalearn.landscape import Axis, Plane, render
from metalearn.outer.held_out import held_out_loss
from metalearn.outer.meta_train import meta_train
from metalearn.reproductions.result import NOT_FOUND, OWN, Picture, Result

SEEDS = (0, 1, 2)
START, NUM_STEPS, SLACK, JUDGES = (-7.0, -7.0), 500, 1.1, 64
PUBLISHED = f"{NOT_FOUND}: heat maps (plot_mnist_lr_decay.py)"
OBJECTIVES: dict[str, dict[str, Any]] = {
    "mean loss": {},
    "loss at the end": {"at_the_end": True},
    "mean error": {"metric": "error_rate"},
}
RATES = {"mean loss": 0.03, "loss at the end": 0.1, "mean error": 0.1}  # of Adam
PLANE = Plane(
    Axis("log rate at the start", -9.0, 1.0), Axis("log rate at the end", -13.0, 1.0), lambda x, y: jnp.stack([x, y])
)


def optimizer(num_steps: int) -> Any:
    """Build momentum SGD whose learning rate is linear from e^θ₀ to e^θ₁."""
    return sgd(linear_schedule(exp(0), exp(1), num_steps), 0.9)


def judged(benchmark: Benchmark, objective: dict[str, Any]) -> tuple[InnerProblem, int]:
    """Return the problem and the horizon of an evaluation on all validation data, every tenth step of a training."""
    problem = benchmark.problem(optimizer(benchmark.num_steps), "validation", **objective)
    if objective.get("at_the_end"):
        return problem, benchmark.num_steps
    return strided(problem, 10), benchmark.num_steps // 10


def heat_map(problem: InnerProblem, horizon: int, resolution: int = 24) -> np.ndarray:
    """Return the meta-loss on the plane, the mean of two trainings: `[resolution, resolution]`."""
    keys = jax.random.split(jax.random.key(5), 2)
    at = lambda theta: jnp.mean(jax.vmap(lambda key: meta_loss(problem, theta, key, horizon))(keys))
    return render(at, PLANE, resolution, chunk_size=16)


def descents(estimator: GradientEstimator, rate: float, seeds: tuple[int, ...], num_steps: int) -> np.ndarray:
    """Return θ before every outer step, `[seeds, num_steps, 2]`."""
    start, adam = jnp.array(START), optax.adam(rate)
    runs = [meta_train(estimator, adam, start, jax.random.key(seed), num_steps)[1].theta for seed in seeds]
    return np.stack([np.asarray(thetas) for thetas in runs])


def results(
    benchmark: Benchmark | None = None,
    name: str = "rate decay",
    objectives: Mapping[str, dict[str, Any]] = OBJECTIVES,
    *,
    resolution: int = 24,
    num_steps: int = NUM_STEPS,
    seeds: tuple[int, ...] = SEEDS,
    published: str = OWN,
) -> Iterator[Result | Picture]:
    """Yield the loss of every objective at the final θ, and the descents over its heat map.

    The final θ is the mean over the last tenth of 500 outer steps (Adam, σ = .3, 8 pairs, windows of 50), 400 thousand
    inner steps. The benchmark is digits by default.
    """
    benchmark = digits_benchmark() if benchmark is None else benchmark
    for title, objective in objectives.items():
        reading, horizon = judged(benchmark, objective)
        values = heat_map(reading, horizon, resolution)
        measure = functools.partial(
            jit(held_out_loss(reading, horizon, JUDGES), "the held-out loss"), key=jax.random.key(77)
        )
        bound, paths = SLACK * float(measure(_lowest(values))), {}
        for label, estimator in _estimators(benchmark, objective).items():
            began = time.perf_counter()
            moves = label != "truncated backprop"
            thetas = descents(estimator, RATES[title], seeds, num_steps if moves else min(num_steps, 20))
            paths[label] = thetas[:, :: max(1, thetas.shape[1] // 100)]
            ends = thetas[:, -max(1, thetas.shape[1] // 10) :].mean(axis=1)
            found = [float(measure(jnp.asarray(end))) if moves else float(np.abs(end - START).max()) for end in ends]
            quantity = f"{label}: {title}" if moves else f"{label}, {title}: distance from the start"
            band = (-np.inf, bound) if moves else (0.0, 0.0)
            yield Result(name, quantity, *band, tuple(found), time.perf_counter() - began, published)
        heading = f"{name[:1].upper()}{name[1:]}: {title} on the validation data; squares start, dots end"
        figure = later(draw_trajectories, values, PLANE, paths, value_name=title, title=heading)
        yield Picture("_".join(f"{name} {title}".replace(",", "").split()), figure)


def mnist_results(**settings: Any) -> Iterator[Result | Picture]:
    """Yield the mean loss of the same network on MNIST, a download: 50 000 training and 2000 validation images.

    Raises:
      ConnectionError: MNIST cannot be downloaded.
    """
    train, validation = split(mnist(), (50_000, 2_000))
    benchmark = Benchmark(mlp((784, 32, 10), "relu"), train, validation, mnist("test"), batch_size=64, num_steps=500)
    return results(
        benchmark, "rate decay, MNIST", {"mean loss": OBJECTIVES["mean loss"]}, published=PUBLISHED, **settings
    )


def _lowest(values):
    """Return θ at the smallest value of a heat map."""
    row, column = np.unravel_index(np.argmin(np.where(np.isnan(values), np.inf, values)), values.shape)
    return PLANE.theta(PLANE.x.values(len(values))[column], PLANE.y.values(len(values))[row])


def _estimators(benchmark, objective):
    """Build the estimators; backprop, whose gradient of the error is zero, only for that objective."""
    windows = Truncation(benchmark.num_steps, 50, stagger=True, shared_minibatches=True)
    problem = benchmark.problem(optimizer(benchmark.num_steps), **objective)
    found = {
        "PES": persistent_es(problem, windows, sigma=0.3, num_pairs=8),
        "NRES": noise_reuse_es(problem, windows, sigma=0.3, num_pairs=8),
    }
    return found | (
        {"truncated backprop": backprop(problem, windows, num_particles=8)} if "metric" in objective else {}
    )
