"""Measurements of `experiments/misgeneralisation.py`: an agent is trained with one guide and tested with others."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metalearn.compilation import jit
from metalearn.estimators import evolution_strategies, noise_reuse_es, persistent_es
from metalearn.inner.problem import split_episode
from metalearn.inner.problems.guided_walk import GUIDES, SEEN, guided_walk, walker_weights
from metalearn.inner.unroll import Truncation, unroll
from metalearn.outer import meta_train
from metalearn.types import Key, Theta

METHODS = {"ES": evolution_strategies, "PES": persistent_es, "NRES": noise_reuse_es}


def follower(hidden: int) -> Theta:
    """Return the weights of an agent that almost surely walks to the guide, to measure the best reward."""
    weights = jax.tree.map(jnp.zeros_like, walker_weights(jax.random.key(0), hidden))
    reflex = np.zeros((5, SEEN), np.float32)
    reflex[1:, :2] = 100 * np.array([[1, 0], [-1, 0], [0, 0.9], [0, -0.9]])
    reflex[0, 2] = 50.0  # stays in its cell next to the guide
    return {**weights, "reflex": jnp.asarray(reflex)}


def train_walkers(
    method: str, mixtures: Sequence[dict[str, float]], keys: Sequence[Key], settings: Any, num_readings: int = 20
) -> dict[str, np.ndarray]:
    """Train agents with mixtures of guides, all seeds and mixtures in one program, and test them with every guide.

    Args:
      method: "ES" with whole episodes; "PES" or "NRES" with windows.
      mixtures: the shares of guides in training.
      keys: the keys of the seeds.
      settings: the configuration, with `world`, `horizon`, `length`, `pairs`, `sigma`, `learning_rate`, `episodes` and
        `tests`.
      num_readings: the number of tests during training.

    Returns:
      "reward" `[mixtures, seeds, readings, guides]`, the mean total reward of an episode; "episodes" `[readings]` per
      training; and "theta/…", the last weights `[mixtures, seeds, ...]`.
    """
    length = settings.horizon if method == "ES" else settings.length
    windows = settings.horizon // length
    num_steps = max(settings.episodes * windows // num_readings, 1) * num_readings
    every, world = num_steps // num_readings, dict(settings.world)

    def run(shares, key):
        problem = guided_walk(dict(zip(GUIDES, shares)), **world)
        cut = Truncation(settings.horizon, length)
        estimator = METHODS[method](problem, cut, sigma=settings.sigma, num_pairs=settings.pairs)
        optimizer = optax.adam(settings.learning_rate[method])
        first, training, tested = jax.random.split(key, 3)
        start = walker_weights(first, world["hidden"])
        theta, history = meta_train(estimator, optimizer, start, training, num_steps, keep=every)
        path = jax.tree.map(lambda rows, last: jnp.concatenate([jnp.asarray(rows), last[None]]), history.theta, theta)
        return jax.lax.map(lambda one: rewards(one, tested, world, settings.horizon, settings.tests), path), theta

    shares = jnp.array([[mixture.get(name, 0.0) for name in GUIDES] for mixture in mixtures])
    program = jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)), f"walkers by {method}", calls=1)
    reward, theta = jax.tree.map(np.asarray, program(shares, jnp.stack(list(keys))))
    done = np.arange(num_readings + 1) * every / windows
    return {"reward": reward, "episodes": done} | {f"theta/{name}": leaf for name, leaf in theta.items()}


def rewards(theta: Theta, key: Key, world: dict[str, Any], horizon: int, num_episodes: int) -> jax.Array:
    """Return the mean total reward of an episode with every guide, `[guides]`."""

    def one(shares, key):
        problem = guided_walk(dict(zip(GUIDES, shares)), **world)
        start, steps = split_episode(key)
        return unroll(problem, problem.init(theta, start), theta, steps, horizon)[0].total

    keys = jax.random.split(key, num_episodes)
    return jax.vmap(lambda shares: jnp.mean(jax.vmap(lambda key: one(shares, key))(keys)))(jnp.eye(len(GUIDES)))


def episode(theta: Theta, guide: str, key: Key, world: dict[str, Any], horizon: int) -> dict[str, np.ndarray]:
    """Return one episode: "agent", "guide" `[steps, 2]`, "total" and "needed" `[steps]`, and "places" `[places, 2]`."""
    problem = guided_walk(guide, **world)
    start, steps = split_episode(key)
    first = problem.init(theta, start)

    def move(state, index):
        after = problem.step(state, theta, jax.random.fold_in(steps, index))
        return after, (state.agent, state.guide, state.total, state.needed)

    walked = jit(lambda first: jax.lax.scan(move, first, jnp.arange(horizon + 1))[1], "an episode")(first)
    names = ("agent", "guide", "total", "needed")
    return {name: np.asarray(part) for name, part in zip(names, walked)} | {"places": np.asarray(first.places)}


def reward_rows(part: dict[str, np.ndarray], names: Sequence[str], method: str) -> list[dict[str, Any]]:
    """Return a row for every mixture: the last reward with every guide, with its standard error over seeds."""
    rows = []
    for name, last in zip(names, part["reward"][:, :, -1]):
        row: dict[str, Any] = {"method": method, "training": name, "seeds": len(last)}
        for guide, values in zip(GUIDES, last.T):
            error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
            row |= {guide: float(values.mean()), f"{guide}_error": float(error)}
        rows.append(row)
    return rows
