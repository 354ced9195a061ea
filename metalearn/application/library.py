"""Studies of the library that YAML cannot describe, because θ has many numbers or the plane is computed."""

import math
from typing import Literal

import jax

from metalearn.hyperparameters import all_hyperparameters
from metalearn.inner.checks import check_seed
from metalearn.inner.divergence import saturate
from metalearn.landscape import Axis, condition, plane_through, random_directions
from metalearn.learned import nominal_optimizer
from metalearn.outer import Study
from metalearn.outer.diagnosis.anatomy import on_plane
from metalearn.problems import digits_benchmark
from metalearn.recording import load_optimizer

WORST = 2 * math.log(10)  # cap of a cross-entropy on ten classes: twice that of equal outputs


def learned_optimizer(
    num_steps: int = 100,
    weights: str | None = None,
    normalise: Literal["filter", "layer", "none"] = "none",
    reach: float = 1.0,
    seed: int = 0,
) -> Study:
    """Return a learned optimiser on digits, along two random directions of its weights.

    The meta-loss is the cross-entropy on fresh minibatches of validation data while a network 64 – 8 – 10 is trained.

    Args:
      num_steps: the number of inner steps of a training run.
      weights: the file of a learned optimiser from meta-training, whose weights are the centre of the plane. By default
        the centre is the initial `nominal_optimizer`, which is Adam.
      normalise: the scaling of the directions, as in `random_directions`. The last layer of Adam's network is zero and
        only "none" changes it. Use "filter" for trained weights.
      reach: the ends of both axes are ±reach.
      seed: the seed of the weights and the directions.

    Raises:
      OSError: `weights` cannot be read.
      TypeError: `num_steps` or `seed` is not a whole number, or `reach` is not a real number.
      ValueError: `weights` is not the file of a learned optimiser, or a number is out of range.
    """
    start, directions = jax.random.split(jax.random.key(check_seed("seed", seed)))
    if weights is None:
        optimizer = nominal_optimizer((8, 8), learning_rate=0.03)
        theta = optimizer.init(start)
    else:
        optimizer, theta = load_optimizer(weights)
    benchmark = digits_benchmark((8,), num_steps=num_steps, batch_size=32)
    x, y = (Axis(f"{name} random direction", -reach, reach) for name in ("first", "second"))
    u, v = random_directions(theta, directions, normalise)
    return Study(
        benchmark.problem(optimizer, cap=WORST),
        theta,
        num_steps,
        sigma=0.03,
        name="learned_optimizer",
        plane=plane_through(theta, x, y, u, v),
        plane_sigma=0.06 * reach,
        held_out=benchmark.problem(optimizer, "validation", cap=WORST),
        repeat_randomness=True,
    )


def hyperparameters(num_steps: int = 500) -> Study:
    """Return the 18 hyperparameters of training a network on digits by AdamW, with the box for searches.

    Args:
      num_steps: the number of inner steps of a training run.
    """
    benchmark = digits_benchmark(num_steps=num_steps)
    tuning = all_hyperparameters(benchmark, learning_rate=0.0005)
    train = lambda reading: benchmark.problem(tuning.optimizer, reading, task=tuning.task)
    return Study(
        train("validation_batch"),
        tuning.theta,
        num_steps,
        sigma=0.3,
        name="digits_hyperparameters",
        held_out=train("validation"),
        box=tuning.box,
        stagger=True,
        shared_minibatches=True,
    )


def fractal_condition(name: str) -> Study:
    """Return a condition of "The boundary of neural network trainability is fractal" in decades of its two numbers.

    The loss is relative to that of the start and at most 1. θ starts a decade below the published window.

    Args:
      name: as in `ml.landscape.condition`.
    """
    found = condition(name)
    problem, plane = on_plane(found.problem, found.plane)

    def loss(state, theta, key):
        return problem.loss(state, theta, key) / problem.loss(problem.init(theta, key), theta, key)

    theta = [math.log10(axis.value(0.0)) - 1 for axis in found.tile[:2]]
    x, y = (Axis(f"log₁₀ {axis.name}", axis.low, axis.high) for axis in plane[:2])
    relative = saturate(problem._replace(loss=loss), 1.0)
    return Study(
        relative,
        jax.numpy.array(theta),
        found.num_steps,
        name=f"fractal_{name}",
        plane=plane._replace(x=x, y=y),
        repeat_randomness=True,
    )
