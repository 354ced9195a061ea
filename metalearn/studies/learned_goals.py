"""The goals of a learned optimiser: its losses if the loss, the network, its scale or the horizon changes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.compilation import jit
from metalearn.estimators import noise_reuse_es
from metalearn.inner.derived import strided
from metalearn.inner.problem import split_episode
from metalearn.inner.training.benchmark import Benchmark, digits_benchmark
from metalearn.inner.training.task import Task, metric_loss
from metalearn.inner.training.training import training
from metalearn.inner.unroll import Truncation
from metalearn.learned import nominal_optimizer
from metalearn.outer import meta_train
from metalearn.outer.evaluation.results import RATES
from metalearn.types import Key

STRIDE = 10  # steps between readings
WORST = 20.0  # larger losses, and losses that are not finite, are replaced by it
READINGS = "training", "validation"
SWEPT, TUNED = "Adam, swept", "Adam, as tuned"
OPTIMIZERS = "learned", SWEPT, TUNED


class ProbeCondition(NamedTuple):
    """A training run on which a learned optimiser is tested.

    Attributes:
      benchmark: the network, the data and the number of steps.
      loss_factor: a factor of the training loss, and therefore of every gradient.
      weight_factor: the network reads its weights times this number, and they start divided by it. The trained function
        is the same, but a step of the weights changes it by this factor.
    """

    benchmark: Benchmark
    loss_factor: Any = 1.0
    weight_factor: Any = 1.0


def conditions(num_steps: int) -> dict[str, ProbeCondition]:
    """Return the training of meta-training, and then those that differ from it in one respect."""
    usual = digits_benchmark((32,), num_steps=num_steps)
    return {
        "as meta-trained": ProbeCondition(usual),
        "loss × 100": ProbeCondition(usual, loss_factor=100.0),
        "weights × 10": ProbeCondition(usual, weight_factor=10.0),
        "weights / 10": ProbeCondition(usual, weight_factor=0.1),
        "5 × the steps": ProbeCondition(digits_benchmark((32,), num_steps=5 * num_steps)),
        "3 hidden layers": ProbeCondition(digits_benchmark((32, 32, 32), num_steps=num_steps)),
    }


def altered_task(condition: ProbeCondition) -> Task:
    """Return the task of a condition: f(v) = c L(s v) from v_0 = w_0 / s, with c and s the factors."""
    task, scale = condition.benchmark.task(), condition.weight_factor
    resized = lambda params, factor: jax.tree.map(lambda leaf: factor * leaf, params)
    loss = lambda params, key: condition.loss_factor * task.loss(resized(params, scale), key)
    return Task(lambda key: resized(task.init(key), 1 / scale), loss)


def losses(condition: ProbeCondition, optimizer: optax.GradientTransformation, key: Key) -> jax.Array:
    """Return the losses on all training and all validation data while the network is trained, `[2, readings]`."""
    benchmark = condition.benchmark
    measures = [metric_loss(benchmark.network, data) for data in (benchmark.train, benchmark.validation)]
    problem = strided(training(altered_task(condition), lambda theta: optimizer, cap=None), STRIDE)
    start, steps = split_episode(key)
    first = problem.init(jnp.zeros(()), start)

    def read(state):
        weights = jax.tree.map(lambda leaf: condition.weight_factor * leaf, state.params)
        found = jnp.stack([measure(weights, steps) for measure in measures])
        return jnp.where(found < WORST, found, WORST)  # NaN is not smaller

    def move(state, index):
        state = problem.step(state, jnp.zeros(()), jax.random.fold_in(steps, index))
        return state, read(state)

    _, found = jax.lax.scan(move, first, jnp.arange(benchmark.num_steps // STRIDE))
    return jnp.concatenate([read(first)[None], found]).T


def meta_trained(settings: Any, keys: Sequence[Key]) -> dict[str, np.ndarray]:
    """Meta-train an optimiser on the first condition by NRES, once for every key.

    Args:
      settings: `num_steps` of a training, `length` of a window, `outer_steps`, `pairs`, `sigma` and `learning_rate`.
      keys: the keys of the meta-seeds.

    Returns:
      The weights by their path, `[meta-seeds, ...]`.
    """
    optimizer = nominal_optimizer()
    problem = conditions(settings.num_steps)["as meta-trained"].benchmark.problem(optimizer)
    cut = Truncation(settings.num_steps, settings.length, shared_minibatches=True)
    estimator = noise_reuse_es(problem, cut, sigma=settings.sigma, num_pairs=settings.pairs)
    rate = optax.cosine_decay_schedule(settings.learning_rate, settings.outer_steps)
    outer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    draw = jit(optimizer.init, "the first weights")
    pairs = [jax.random.split(key) for key in keys]  # of the first weights and of meta-training
    found = [meta_train(estimator, outer, draw(first), key, settings.outer_steps)[0] for first, key in pairs]
    leaves = [jax.tree_util.tree_leaves_with_path(theta) for theta in found]
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): np.stack([np.asarray(one[place][1]) for one in leaves])
        for place, (path, _) in enumerate(leaves[0])
    }


def probe(
    weights: Mapping[str, np.ndarray], conditions: Mapping[str, ProbeCondition], key: Key, num_seeds: int
) -> dict[str, np.ndarray]:
    """Return the losses of the learned optimisers and of two Adams in every condition.

    The rate of "Adam, swept" is swept for the condition; "Adam, as tuned" keeps that of the first condition.

    Args:
      weights: the result of `meta_trained`.
      conditions: the trainings by name.
      key: the key of the initialisations and minibatches, shared by all optimisers and conditions except the sweep.
      num_seeds: the number of trainings of every optimiser.

    Returns:
      By "condition/", "step" `[readings]`, "learned" `[meta-seeds, seeds, 2, readings]`, "Adam, swept" and "Adam, as
      tuned" `[seeds, 2, readings]`, and "rate" of the swept one.
    """
    optimizer, programs, found, tuned = nominal_optimizer(), {}, {}, None
    structure = jax.tree.structure(jax.eval_shape(optimizer.init, jax.random.key(0)))
    sweeping, testing = (jax.random.split(part, num_seeds) for part in jax.random.split(key))
    leaves, rates = [jnp.asarray(leaf) for leaf in weights.values()], np.array(RATES, np.float32)
    for name, (benchmark, *factors) in conditions.items():
        if id(benchmark) not in programs:  # conditions with the same network and data share programs
            programs[id(benchmark)] = _programs(benchmark, optimizer, structure)
        by_adam, by_learned = programs[id(benchmark)]
        factors = jnp.array(factors, jnp.float32)
        scores = [by_adam(rate, factors, sweeping)[:, 1].mean() for rate in rates]
        rate = rates[np.argmin(scores)]
        tuned = rate if tuned is None else tuned
        values = {SWEPT: by_adam(rate, factors, testing), TUNED: by_adam(tuned, factors, testing), "rate": rate}
        values["learned"] = np.stack(
            [by_learned([leaf[i] for leaf in leaves], factors, testing) for i in range(len(leaves[0]))]
        )
        values["step"] = STRIDE * np.arange(values[SWEPT].shape[-1])
        found |= {f"{name}/{part}": np.asarray(value) for part, value in values.items()}
    return found


def _programs(benchmark, optimizer, structure) -> tuple[Any, Any]:
    """Return the trainings by Adam and by the learned optimiser, `(rate or weights, factors, keys) -> losses`."""

    def trainings(make, factors, keys):
        condition = ProbeCondition(benchmark, *factors)
        return jax.vmap(lambda key: losses(condition, make, key))(keys)

    by_adam = lambda rate, factors, keys: trainings(optax.adam(rate), factors, keys)
    by_learned = lambda leaves, factors, keys: trainings(
        optimizer(jax.tree.unflatten(structure, leaves)), factors, keys
    )
    return jit(by_adam, "Adam"), jit(by_learned, "the learned optimiser", calls=20)


def probe_rows(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
    """Return a row for every condition and optimiser: the last losses, their errors, and the best during training.

    The errors are standard errors over meta-seeds for learned optimisers and over seeds for Adam.
    """
    rows = []
    for name, one in found.items():
        for optimizer in OPTIMIZERS:
            curves = one[optimizer].mean(axis=1) if optimizer == "learned" else one[optimizer]
            row: dict[str, Any] = {"condition": name, "optimizer": optimizer, "count": len(curves)}
            for place, part in enumerate(READINGS):
                last, best = curves[:, place, -1].astype(float), curves[:, place].min(axis=-1).astype(float)
                error = last.std(ddof=1) / np.sqrt(len(last)) if len(last) > 1 else np.nan
                row |= {f"{part}_end": last.mean(), f"{part}_error": error, f"{part}_best": best.mean()}
            rows.append(row | {"rate": float(one["rate"]) if optimizer == SWEPT else np.nan})
    return rows
