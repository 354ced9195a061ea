"""Compare treatments of runs that diverge: leave them out, replace their loss by a penalty, or cap every loss.

    python -m benchmarks.divergence [--problems quartic fractal digits] [--seeds 5] [--into FOLDER]

Full-horizon antithetic ES with clipped Adam, on three problems whose best θ is near the border. The estimator is
implemented here, because the library has only one treatment. The treatments of the losses of a pair:

* leave out: a pair with a mean loss that is not finite is left out of the average;
* largest: every loss that is not finite is replaced by 1.8e19 (the library's treatment without a cap);
* penalty c: a mean loss that is not finite is replaced by c;
* cap c: every loss is at most c; `start`: at most ℓ_0 + 10 max(|ℓ_0|, 1), the default of `ml.training`.

Each final θ, a mean over the last fifth of the outer steps, is evaluated on new episodes: the share of them that
diverge, and the mean loss, in which every loss that is not finite or above a fixed bound counts as the bound.
The result is divergence.json, for `python -m benchmarks.tables`.
"""

import argparse
import functools
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metalearn as ml
from benchmarks.tables import write
from metalearn.inner.divergence import largest
from metalearn.inner.problem import split_episode

PAIRS = 8


class Setting(NamedTuple):
    problem: ml.InnerProblem
    horizon: int
    theta: Any
    sigma: float
    steps: int
    rate: float
    bound: float
    judges: int


def quartic() -> ml.InnerProblem:
    """Build gradient descent on h x²/2 + x⁴/4, with h lognormal over episodes; θ is the log learning rate."""
    value = lambda x, h: h * x**2 / 2 + x**4 / 4

    def init(theta, key):
        place, curvature = jax.random.split(key)
        return {"x": jax.random.normal(place), "h": jnp.exp(0.5 * jax.random.normal(curvature))}

    def step(state, theta, key):
        return state | {"x": state["x"] - jnp.exp(theta) * jax.grad(value)(state["x"], state["h"])}

    return ml.InnerProblem(init, step, lambda state, theta, key: value(state["x"], state["h"]))


SETTINGS = {
    "quartic": lambda: Setting(quartic(), 20, jnp.asarray(-2.0), 0.3, 1500, 0.01, 1.0, 20000),
    "fractal": lambda: Setting(
        ml.problems.fractal_training(cap=None), 100, jnp.array([1.5, 1.0]), 0.2, 400, 0.02, 1.0, 500
    ),
    "digits": lambda: Setting(
        ml.problems.digits_training(activation="relu", cap=None), 200, jnp.array([0.3, 0.3]), 0.3, 300, 0.02, 1.0, 200
    ),
}
TREATMENTS = ("leave out", "largest", "penalty 1", "penalty 10", "cap 1", "cap 10", "cap start")


def episode(setting, theta, key):
    """Return the first loss, and the losses after every step."""
    start, steps = split_episode(key)
    state = setting.problem.init(theta, start)
    first = setting.problem.loss(state, theta, start)
    return first, ml.unroll(setting.problem, state, theta, steps, setting.horizon)[1]


def at_most(losses, cap):
    return jnp.where(jnp.isfinite(losses) & (losses < cap), losses, cap)


def read(treatment, first, losses):
    """Return the mean loss of each member, NaN if the pair is left out."""
    name, _, number = treatment.partition(" ")
    mean = jnp.mean(losses, axis=-1)
    if name == "leave":
        return jnp.where(jnp.isfinite(mean), mean, jnp.nan)
    if name == "largest":
        return jnp.mean(at_most(losses, largest(losses.dtype)), axis=-1)
    if name == "penalty":
        return jnp.where(jnp.isfinite(mean), mean, float(number))
    cap = first + 10 * jnp.maximum(jnp.abs(first), 1) if number == "start" else jnp.full_like(first, float(number))
    return jnp.mean(at_most(losses, cap[..., None]), axis=-1)


def gradient(setting, treatment, theta, key):
    noise, episodes = jax.random.split(key)
    shape = (PAIRS, *jnp.shape(theta))
    shifts = setting.sigma * jax.random.normal(noise, shape)

    def pair(shift, key):
        return jax.vmap(lambda sign: episode(setting, theta + sign * shift, key))(jnp.array([1.0, -1.0]))

    means = read(treatment, *jax.vmap(pair)(shifts, jax.random.split(episodes, PAIRS)))
    slopes = (means[:, 0] - means[:, 1]) / (2 * setting.sigma**2)
    used = jnp.isfinite(slopes)
    weights = jnp.where(used, slopes, 0) / jnp.maximum(jnp.sum(used), 1)
    return jnp.tensordot(weights, shifts, 1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def descend(name, treatment, key):
    setting = SETTINGS[name]()
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(setting.rate))

    def step(carry, key):
        theta, state = carry
        updates, state = optimizer.update(gradient(setting, treatment, theta, key), state)
        theta = jnp.asarray(optax.apply_updates(theta, updates))
        return (theta, state), theta

    first = (setting.theta, optimizer.init(setting.theta))
    path: jax.Array = jax.lax.scan(step, first, jax.random.split(key, setting.steps))[1]
    return jnp.mean(path[-setting.steps // 5 :], axis=0)


@functools.partial(jax.jit, static_argnums=0)
def judge(name, theta):
    """Return the share of new episodes that diverge at one θ, and the mean bounded loss."""
    setting = SETTINGS[name]()
    keys = jax.random.split(jax.random.key(99), setting.judges)
    _, losses = jax.lax.map(lambda key: episode(setting, theta, key), keys, batch_size=50)
    return jnp.mean(~jnp.all(jnp.isfinite(losses), axis=-1)), jnp.mean(at_most(losses, setting.bound))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--into", type=pathlib.Path, default=pathlib.Path("runs"))
    arguments = parser.parse_args()
    arguments.into.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in arguments.problems:
        with jax.enable_x64(name == "fractal"):
            for treatment in TREATMENTS:
                ends = [descend(name, treatment, jax.random.key(seed)) for seed in range(arguments.seeds)]
                shares, losses = np.transpose([np.asarray(judge(name, theta)) for theta in ends])
                error = losses.std(ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else np.nan
                place = np.round(np.mean(np.asarray(ends), axis=0), 2)
                print(
                    f"{name:8s} {treatment:10s}  θ {place}  diverged {shares.mean():.2%}  loss {losses.mean():.4f} ± {error:.4f}",
                    flush=True,
                )
                rows.append(
                    {"problem": name, "treatment": treatment, "seeds": arguments.seeds, "theta": place}
                    | {"diverged": shares.mean(), "loss": losses.mean(), "error": error}
                )
                write(arguments.into / "divergence.json", rows)


if __name__ == "__main__":
    main()
