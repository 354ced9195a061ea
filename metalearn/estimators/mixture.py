"""One gradient for several problems that share θ."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metalearn import debugging, trees
from metalearn.compilation import jit
from metalearn.estimators.average import joint_share
from metalearn.estimators.base import SHARES, GradientEstimator, check_is_estimator
from metalearn.inner.checks import check_number
from metalearn.inner.counts import total
from metalearn.inner.problem import check_key, check_theta
from metalearn.types import Theta


class Mixed(NamedTuple):
    """The state of a mixture: those of its parts, and the variance of the last estimate."""

    states: dict[str, Any]
    variance: Theta


def mixture(
    estimators: Mapping[str, GradientEstimator], weights: Mapping[str, float] | None = None
) -> GradientEstimator:
    """The gradient of a weighted mean of meta-losses, L = Σ_i w_i L_i / Σ_i w_i, each L_i estimated by its own estimator.

    For θ that serves several problems at once: a learned optimiser on networks of other widths or other data. Problems
    with large losses outweigh the rest; w_i = 1 / (the loss of a tuned baseline on problem i) makes them equal.

    Args:
      estimators: by name, at least one; problems, windows and methods may differ.
      weights: by the same names, positive; equal by default.

    Returns:
      An estimator that advances all parts by one window. A part all of whose particles diverged adds nothing. Its
      metrics are `loss` (the weighted mean over the parts with a finite one), `loss/<name>`, `fraction_diverged` (the
      mean), `gradient_variance` and `inner_steps` (the sum). It has no description: there is no single problem;
      `ml.compare` sees one window of it.

    Raises:
      TypeError: `estimators` is not a mapping with at least one `GradientEstimator`, or `weights` is not a mapping to
        real numbers.
      ValueError: `weights` has other names than `estimators`, or a weight is not positive.
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
    """The most inner steps that one estimate of all parts reports; None where a part does not say."""
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
        "worst_share": joint_share(
            jnp.stack([one.get("worst_share", jnp.zeros(())) for one in reports.values()]), share * losses
        ),
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
