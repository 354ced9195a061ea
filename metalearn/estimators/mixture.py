"""A gradient estimator for several problems that share θ."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import debugging, trees
from metalearn.compilation import jit
from metalearn.estimators.average import join_sizes
from metalearn.estimators.base import SHARES, GradientEstimator, check_is_estimator
from metalearn.inner.checks import check_number
from metalearn.inner.counts import total
from metalearn.inner.problem import check_key, check_theta
from metalearn.types import Theta


class Mixed(NamedTuple):
    """The state of a mixture: the states of its estimators, and the variance of the last estimate."""

    states: dict[str, Any]
    variance: Theta


def mixture(
    estimators: Mapping[str, GradientEstimator], weights: Mapping[str, float] | None = None
) -> GradientEstimator:
    """Return an estimator of the gradient of a weighted mean of meta-losses, L = Σ_i w_i L_i / Σ_i w_i.

    Each L_i has its own estimator. Use it if one θ serves several problems, for instance a learned optimiser for
    networks of different widths or for different data. Problems with large losses dominate the mean; the weights w_i =
    1 / (the loss of a tuned baseline on problem i) balance them.

    Args:
      estimators: a mapping of names to estimators, with at least one; problems, windows and methods may differ.
      weights: a mapping of the same names to positive weights; by default all weights are equal.

    Returns:
      An estimator that advances all its parts by one window. A part whose particles all diverged contributes zero to
      the gradient. The metrics are `loss` (the weighted mean over the parts that have a finite loss and a particle that
      did not diverge), `loss/<name>`, `worst_share`, `fraction_diverged` and `fraction_capped` (the means),
      `gradient_variance` and `inner_steps` (the sum). The estimator has no description, because there is no single
      problem, so `ml.compare` examines one window of it.

    Raises:
      TypeError: `estimators` is not a non-empty mapping to `GradientEstimator`s, or `weights` is not a mapping to real
        numbers.
      ValueError: `weights` and `estimators` have different names, or a weight is not positive.
    """
    if not isinstance(estimators, Mapping) or not estimators:
        raise TypeError(f"estimators must map at least one name to an estimator; {estimators!r} was given.")
    for estimator in estimators.values():
        check_is_estimator("Every one of estimators", estimator)
    estimators = dict(estimators)
    shares = _shares(list(estimators), weights)
    most = _most_steps(estimators.values())

    def init(theta, key):
        check_theta(theta)
        check_key(key)
        keys = jax.random.split(key, len(estimators))
        states = {name: part.init(theta, one) for (name, part), one in zip(estimators.items(), keys)}
        return Mixed(states, trees.unknown_like(trees.wide(trees.strong(theta))))

    def estimate(theta, state, key):
        gradients, states, reports = {}, {}, {}
        keys = jax.random.split(key, len(estimators))
        for (name, part), one in zip(estimators.items(), keys):
            gradients[name], states[name], reports[name] = part.estimate(theta, state.states[name], one)
        gradient = _sum({name: trees.scale(shares[name], trees.wide(gradients[name])) for name in shares})
        known = all(hasattr(state, "variance") for state in states.values())
        variance = state.variance
        if known:
            variance = _sum({name: trees.scale(shares[name] ** 2, states[name].variance) for name in shares})
        return trees.like(gradient, theta), Mixed(states, variance), _metrics(reports, shares, most)

    return GradientEstimator(init, jit(estimate, "an estimate of a mixture"))


def _most_steps(estimators) -> int | None:
    """Return the largest number of inner steps that one estimate of all parts reports; None if it is unknown."""
    descriptions = [one.description for one in estimators]
    steps = [None if one is None else one.most_steps for one in descriptions]
    known = [one for one in steps if one is not None]
    return sum(known) if len(known) == len(steps) else None


def _metrics(reports, shares, most):
    losses = jnp.stack([trees.wide(reports[name]["loss"]) for name in shares])
    share = jnp.stack([jnp.asarray(one, losses.dtype) for one in shares.values()])
    lost = jnp.stack([reports[name]["fraction_diverged"] for name in shares]) == 1
    finite = debugging.finite(losses) & ~lost
    shared = jnp.sum(jnp.where(finite, share, 0))
    metrics: dict[str, jax.Array] = {
        "loss": jnp.where(shared > 0, jnp.sum(jnp.where(finite, share * losses, 0)) / shared, jnp.nan),
        **join_sizes([reports[name] for name in shares], share),
        **{share: jnp.mean(jnp.stack([one.get(share, 0.0) for one in reports.values()])) for share in SHARES},
        "inner_steps": total([reports[name]["inner_steps"] for name in shares], most),
    }
    variances = [report.get("gradient_variance", debugging.unknown()) for report in reports.values()]
    metrics["gradient_variance"] = sum((v * s**2 for v, s in zip(variances, shares.values())), start=jnp.zeros(()))
    return metrics | {f"loss/{name}": loss for name, loss in zip(shares, losses)}


def _shares(names, weights) -> dict[str, Any]:
    if weights is None:
        weights = dict.fromkeys(names, 1.0)
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights must map the names of the estimators to numbers; {weights!r} was given.")
    if set(weights) != set(names):
        raise ValueError(
            f"weights must have the names of the estimators, {sorted(names)}; {sorted(weights)} were given."
        )
    for name in names:
        check_number(f"The weight of {name}", weights[name], 0, open_low=True)
    total = sum(weights[name] for name in names)
    return {name: weights[name] / total for name in names}


def _sum(parts):
    return jax.tree.map(lambda *leaves: sum(leaves), *parts.values())
