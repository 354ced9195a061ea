"""A standard deviation of the perturbations that follows the signal to noise of the estimates."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.compilation import jit
from metalearn.estimators.average import join_sizes
from metalearn.estimators.base import SHARES, GradientEstimator, check_is_estimator
from metalearn.inner.checks import check_number, refusal
from metalearn.inner.counts import total
from metalearn.types import Theta

HALVES = 2  # independent estimates with each σ


class Adaptive(NamedTuple):
    """The state of an estimator with an adaptive σ.

    Attributes:
      states: the states of the four estimators, `[4, ...]`: two with σ κ, two with σ/κ.
      log_sigma: ln σ, constant during an episode.
      sums: the sums of their estimates in this episode, `[4, ...]`.
      signal: running means of ‖gradient‖² with σ κ and σ/κ, `[2]`.
      noise: running means of the variance, `[2]`.
      window: the index of the next window.
      variance: the variance of the last estimate.
    """

    states: Any
    log_sigma: jax.Array
    sums: Theta
    signal: jax.Array
    noise: jax.Array
    window: jax.Array
    variance: Theta


def adaptive_sigma(
    make: Callable[[Any], GradientEstimator],
    sigma: float,
    *,
    spacing: float = 1.25,
    rate: float = 0.02,
    trust: float = 10.0,
    decay: float = 0.95,
) -> GradientEstimator:
    """Return an estimator whose σ moves towards the best signal to noise, within [σ₀/trust, σ₀ · trust].

        estimator = ml.adaptive_sigma(lambda sigma: ml.persistent_es(problem, windows, sigma=sigma, num_pairs=8), 0.1)

    Four estimators run side by side, two with σ κ and two with σ/κ. The estimate is their average. For one σ, let A and
    B be the mean estimates of its two estimators over an episode. They are independent, so the mean of A·B is
    ‖signal‖², and the mean of ‖A − B‖²/2 is the variance. At the end of an episode ln σ moves by ±rate towards the σ
    whose ratio of the running means of these is larger. σ is constant during an episode and depends on earlier ones, so
    that, given σ, the mean is that of `make(σ κ)` and `make(σ/κ)`: for noise reuse (∇L_{σκ} + ∇L_{σ/κ})/2. The
    objective changes with σ, and `ml.compare` measures the target with σ₀.

    An estimate takes the steps and the memory of four estimators. The metrics have `sigma` in addition.

    Args:
      make: `sigma -> estimator`, for a traced sigma, such as `ml.persistent_es` or `ml.noise_reuse_es` in lockstep.
      sigma: σ₀, the initial value.
      spacing: κ, above 1.
      rate: the change of ln σ per episode.
      trust: the largest factor by which σ may differ from σ₀.
      decay: of the running means, per episode. Their errors move σ by about rate/(1 − decay) in ln σ.

    Raises:
      TypeError: `make` is not a function of one argument, it does not accept a traced sigma, it returns something else
        than a `GradientEstimator`, or a setting is not a number.
      ValueError: `sigma` or `rate` is not positive, `spacing` or `trust` is below 1, `decay` is outside [0, 1), or the
        particles of the estimator are staggered or have no σ.
    """
    for name, value in (("sigma", sigma), ("rate", rate)):
        check_number(name, value, 0, open_low=True)
    check_number("spacing", spacing, 1, open_low=True)
    check_number("trust", trust, 1)
    check_number("decay", decay, 0, 1, open_high=True)
    description = _describe(make, sigma)
    windows = description.truncation.num_windows
    around = jnp.repeat(jnp.array([spacing, 1 / spacing]), HALVES)
    bounds = jnp.log(jnp.array([sigma / trust, sigma * trust]))

    def init(theta, key):
        first = make(sigma)
        states = [first.init(theta, one) for one in jax.random.split(key, len(around))]
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        sums = trees.broadcast(jax.tree.map(jnp.zeros_like, trees.wide(trees.strong(theta))), len(around))
        none = jnp.zeros(2)
        unknown = trees.unknown_like(trees.wide(trees.strong(theta)))
        return Adaptive(
            stacked, jnp.log(jnp.asarray(sigma, float)), sums, none, none, jnp.zeros((), jnp.int32), unknown
        )

    def estimate(theta, state, key):
        keys, sizes = jax.random.split(key, len(around)), jnp.exp(state.log_sigma) * around
        each = lambda size, state, key: make(size).estimate(theta, state, key)
        gradients, states, reports = jax.vmap(each)(sizes, state.states, keys)
        sums = trees.add(state.sums, trees.wide(gradients))
        last = state.window == windows - 1
        moved = _moved(state, sums, windows, decay, rate, bounds)
        log_sigma, signal, noise = trees.where(last, moved, (state.log_sigma, state.signal, state.noise))
        variance = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0) / len(around) ** 2, states.variance)
        metrics = _joined(reports, variance, description) | {"sigma": jnp.exp(state.log_sigma)}
        sums = trees.where(last, jax.tree.map(jnp.zeros_like, sums), sums)
        after = Adaptive(states, log_sigma, sums, signal, noise, (state.window + 1) % windows, variance)
        return (
            trees.like(jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), gradients), trees.strong(theta)),
            after,
            metrics,
        )

    return GradientEstimator(
        jit(init, "the start of an adaptive sigma", calls=1),
        jit(estimate, "an estimate with adaptive sigma"),
        description,
    )


def _describe(make, sigma):
    if not callable(make):
        raise TypeError(f"make must be a function sigma -> estimator; {make!r} was given.")
    try:
        inspect.signature(make).bind(sigma)
    except (TypeError, ValueError) as error:
        raise TypeError(f"make must be a function of one argument, sigma -> estimator: {error}.") from None
    first: Any = make(sigma)
    check_is_estimator("What make returns", first)
    if reason := refusal(lambda size: make(size) and None, jnp.asarray(sigma, float)):
        raise TypeError(f"make must accept a traced sigma, because sigma changes between episodes: {reason}")
    description = first.description
    if description is None or description.truncation.stagger:
        raise ValueError(
            "adaptive_sigma changes sigma between episodes, so it needs an estimator with a description whose particles are in "
            "lockstep; use Truncation(horizon, length) without stagger."
        )
    if not description.perturbs:
        raise ValueError(f"adaptive_sigma needs an estimator that uses sigma; {description.name} has none.")
    most = None if description.most_steps is None else 4 * description.most_steps
    memory = lambda theta: 4 * description.memory(theta)
    return dataclasses.replace(
        description,
        num_particles=4 * description.num_particles,
        memory=memory,
        most_steps=most,
        adapts="perturbations",
        name=f"{description.name} with adaptive sigma",
    )


def _moved(state, sums, windows, decay, rate, bounds):
    """Return ln σ and the running means after an episode."""
    half = lambda index: jax.tree.map(lambda leaf: leaf[index::HALVES] / windows, sums)
    first, second = half(0), half(1)
    signal = jax.vmap(trees.dot)(first, second)
    gap = jax.tree.map(jnp.subtract, first, second)
    noise = 0.5 * jax.vmap(trees.dot)(gap, gap)
    signal = decay * state.signal + (1 - decay) * signal
    noise = decay * state.noise + (1 - decay) * noise
    direction = jnp.sign(signal[0] * noise[1] - signal[1] * noise[0])
    log_sigma = jnp.clip(state.log_sigma + rate * direction, bounds[0], bounds[1])
    return log_sigma.astype(state.log_sigma.dtype), signal.astype(state.signal.dtype), noise.astype(state.noise.dtype)


def _joined(reports, variance, description):
    rows = [jax.tree.map(lambda leaf, row=row: leaf[row], reports) for row in range(2 * HALVES)]
    return {
        "loss": jnp.nanmean(reports["loss"]),
        **join_sizes(rows),
        **{name: jnp.mean(reports[name]) for name in SHARES if name in reports},
        "gradient_variance": jnp.asarray(sum(jnp.sum(leaf) for leaf in jax.tree.leaves(variance)), jnp.float32),
        "inner_steps": total(list(reports["inner_steps"]), description.most_steps),
    }
