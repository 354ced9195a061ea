"""Population-based training: members train in parallel, bad members copy good ones, and θ is perturbed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.brief import brief_help
from metalearn.compilation import jit
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem, check_horizon, check_key, check_problem
from metalearn.inner.unroll import Truncation, check_truncation, unroll
from metalearn.memoization import memoize
from metalearn.types import Key, State, Theta


@brief_help
class Population(NamedTuple):
    """The result of population-based training.

    Attributes:
      theta: θ of every member in every window, `[num_windows, num_members, ...]`.
      loss: the mean loss of every window, `[num_windows, num_members]`.
      parents: the member that each member continues from after the window; a member that is not replaced is its own
        parent, `[num_windows, num_members]`.
      states: the inner states at the end, before the last exchange, `[num_members, ...]`.
      best: the member with the smallest loss in the last window, or −1 if no loss is finite.
      schedule: θ of the best member and of its ancestors, `[num_windows, ...]`. This is the result of population-based
        training; run it again with `ml.in_windows(problem, length)`. NaN if `best` is −1.
    """

    theta: Theta
    loss: jax.Array
    parents: jax.Array
    states: State
    best: jax.Array
    schedule: Theta


def population_based_training(
    problem: InnerProblem,
    truncation: Truncation,
    sample: Callable[[Key], Theta],
    key: Key,
    *,
    num_members: int,
    sigma: float,
    exchanged: float = 0.25,
) -> Population:
    """Train a population with truncation selection after every window of one episode.

    Members are ranked by the mean loss of the window. The worst `exchanged` of them copy state and θ from members drawn
    from the best `exchanged`, and add σ N(0, 1) to every number of θ. A member whose loss is not finite counts as the
    worst. The cost is `num_members · horizon` inner steps.

    Args:
      problem: the inner problem.
      truncation: horizon and window length; its other fields are not used.
      sample: `key -> theta`, the initial θ of a member, such as `ml.search.uniform(low, high)`.
      key: a typed key.
      num_members: at least 2.
      sigma: the standard deviation of a mutation.
      exchanged: the share of the members that is replaced, at most one half. At least one member is replaced.

    Raises:
      TypeError: `problem` is not an `InnerProblem` or cannot be traced with a drawn θ, `truncation` is not a
        `Truncation`, `sample` is not a function, `key` is not a typed key, or a number is of another type.
      ValueError: `num_members` is below 2, `sigma` is negative, `exchanged` is outside of (0, 0.5], or `problem` is
        made for another horizon.

    References:
      Jaderberg et al. 2017, Population based training of neural networks (arXiv 1711.09846).
    """
    check_key(key)
    check_count("num_members", num_members, 2)
    check_number("sigma", sigma, 0)
    check_number("exchanged", exchanged, 0, 0.5, open_low=True)
    check_truncation(truncation)
    if not callable(sample):
        raise TypeError(
            f"sample must be a function key -> theta, such as ml.search.uniform(low, high); {sample!r} was given."
        )
    check_horizon(problem, truncation.horizon)
    check_problem(problem, jax.eval_shape(sample, key))
    num_exchanged = max(1, int(exchanged * num_members + 1e-9))
    return _train(problem, truncation, sample, num_members, float(sigma), num_exchanged)(key)


@memoize
def _train(problem, truncation, sample, num_members, sigma, num_exchanged) -> Any:
    def window(carry, index_and_key):
        (index, key), (states, thetas, episodes) = index_and_key, carry
        start = index * truncation.length
        run = lambda state, theta, episode: unroll(problem, state, theta, episode, truncation.length, start=start)
        states, losses = jax.vmap(run)(states, thetas, episodes)
        loss = jnp.mean(losses, axis=1)
        key_parents, key_mutations = jax.random.split(key)
        parents, children = _exchange(loss, num_exchanged, key_parents)
        copied = jax.tree.map(lambda leaf: leaf[parents], (states, thetas))
        mutated = trees.add(copied[1], trees.normal_like(key_mutations, thetas, sigma))
        after = jax.vmap(trees.where)(children, mutated, thetas)
        return (copied[0], after, episodes), (thetas, loss, parents, states)

    def train(key):
        key_theta, key_start, key_steps, key_exchange = jax.random.split(key, 4)
        thetas = trees.strong(jax.vmap(sample)(jax.random.split(key_theta, num_members)))
        states = trees.strong(jax.vmap(problem.init)(thetas, jax.random.split(key_start, num_members)))
        count = truncation.num_windows
        steps = (jnp.arange(count), jax.random.split(key_exchange, count))
        carry = (states, thetas, jax.random.split(key_steps, num_members))
        _, (seen, loss, parents, states) = jax.lax.scan(window, carry, steps)
        last = jnp.where(jnp.isfinite(loss[-1]), loss[-1], jnp.inf)
        best = jnp.argmin(last)
        known = jnp.where(jnp.isfinite(last[best]), best, -1)
        schedule = jax.tree.map(lambda leaf: jnp.where(known < 0, jnp.nan, leaf), _ancestors(seen, parents, best))
        return Population(seen, loss, parents, jax.tree.map(lambda leaf: leaf[-1], states), known, schedule)

    return jit(train, "population-based training", calls=1)


def _exchange(loss, count, key):
    """Return the parents `[members]`, and whether each member was replaced."""
    members = len(loss)
    order = jnp.argsort(jnp.where(jnp.isfinite(loss), loss, jnp.inf))
    alive = jnp.clip(jnp.sum(jnp.isfinite(loss)), 1, count)
    chosen = order[jax.random.randint(key, (count,), 0, alive)]
    parents = jnp.arange(members).at[order[-count:]].set(chosen)
    return parents, parents != jnp.arange(members)


def _ancestors(thetas, parents, best):
    """Return θ of a member's ancestors, from the first window to the last."""

    def back(member, window):
        theta, parent = window
        ancestor = parent[member]
        return ancestor, jax.tree.map(lambda leaf: leaf[ancestor], theta)

    earlier = jax.tree.map(lambda leaf: leaf[:-1], thetas)
    _, line = jax.lax.scan(back, best, (earlier, parents[:-1]), reverse=True)
    last = jax.tree.map(lambda leaf: leaf[-1][best][None], thetas)
    return jax.tree.map(lambda line, end: jnp.concatenate([line, end]), line, last)
