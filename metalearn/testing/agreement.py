"""Checks that apply to an estimator of any problem: shapes and dtypes, metrics, randomness, transformations."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.compilation import jit
from metalearn.estimators.base import SHARES, GradientEstimator
from metalearn.inner.problem import Key, Theta
from metalearn.testing.requirements import attempt, forms, largest_difference, require, same_bits, through_host

METRICS = ("loss", "fraction_diverged", "gradient_variance", "inner_steps")


def check_result(theta: Theta, before: Any, result: Any) -> None:
    """Check the structures, shapes and dtypes of the gradient, the state and the metrics of an estimate.

    The arguments may be results of `jax.eval_shape`.
    """
    require(
        isinstance(result, tuple) and len(result) == 3,
        f"estimate must return (gradient, state, metrics); a {type(result).__name__} was returned.",
    )
    gradient, after, metrics = result
    require(
        jax.tree.structure(gradient) == jax.tree.structure(theta),
        f"The gradient must have the structure of theta, {jax.tree.structure(theta)}; it has {jax.tree.structure(gradient)}.",
    )
    wanted, found = forms(trees.strong(theta)), forms(gradient)
    require(wanted == found, f"The gradient must have the shapes and dtypes of theta, {wanted}; it has {found}.")
    _check_state(before, after)
    require(isinstance(metrics, dict), f"The metrics must be a dictionary; a {type(metrics).__name__} was returned.")
    missing = [name for name in METRICS if name not in metrics]
    require(not missing, f"The metrics must contain {', '.join(METRICS)}; {', '.join(missing)} is missing.")
    odd = [name for name, value in metrics.items() if not hasattr(value, "dtype") or value.shape != ()]
    require(not odd, f"Every metric must be an array of one number; {', '.join(odd)} is not.")


def _check_state(before, after) -> None:
    odd = [type(leaf).__name__ for leaf in jax.tree.leaves(before) if not hasattr(leaf, "dtype")]
    require(
        not odd,
        f"Every leaf of the state must be an array, so that it can be scanned and saved; it contains a {''.join(odd[:1])}.",
    )
    require(
        jax.tree.structure(before) == jax.tree.structure(after),
        f"estimate must return a state of the structure that init returns, {jax.tree.structure(before)}; it returned "
        f"{jax.tree.structure(after)}.",
    )
    old, new = forms(before), forms(after)
    changed = [f"{place} from {old[place]} to {new[place]}" for place in old if old[place] != new[place]]
    require(not changed, f"The state must keep its shapes and dtypes; an estimate changed {', '.join(changed)}.")
    weak = [getattr(leaf, "weak_type", False) for leaf in jax.tree.leaves(before)]
    drift = [place for place, was, leaf in zip(old, weak, jax.tree.leaves(after)) if was and not _is_weak(leaf)]
    require(
        not drift,
        f"The state's leaf {', '.join(drift)} has a weak type after init and a strong type after estimate, so every program "
        "is compiled twice; specify its dtype in init.",
    )


def _is_weak(leaf) -> bool:
    return getattr(leaf, "weak_type", False)


def check_metrics(metrics: dict[str, Any]) -> None:
    """Check the values of the metrics of an estimate, which may contain diverged particles."""
    values = {name: float(value) for name, value in metrics.items()}
    require(
        np.isfinite(values["loss"]) or values["fraction_diverged"] == 1,
        f"The metric loss must be finite unless every particle diverged; it is {values['loss']}.",
    )
    for name in SHARES:
        share = values.get(name, 0.0)
        require(0 <= share <= 1, f"The metric {name} must lie between 0 and 1; it is {share}.")
    variance, steps = values["gradient_variance"], values["inner_steps"]
    require(not variance < 0, f"The metric gradient_variance must not be negative; it is {variance}.")
    require(
        steps >= 0 and steps == round(steps),
        f"The metric inner_steps must be a whole number of applications of the map; it is {steps}.",
    )


def check_undiverged(estimator: GradientEstimator, metrics: dict[str, Any]) -> None:
    """Check that the metrics of an estimate are finite if no particle diverged."""
    description = estimator.description
    few = description is None or description.num_particles < 2
    unknown = [name for name, value in metrics.items() if not np.isfinite(float(value))]
    unknown = [name for name in unknown if name != "gradient_variance" or not few]
    require(
        not unknown or float(metrics["fraction_diverged"]) > 0,
        "Metrics must be finite if no particle diverged (gradient_variance only for two or more particles); "
        f"{', '.join(unknown)} is not.",
    )
    least = 1 if description is None else description.num_particles * description.truncation.length
    require(
        float(metrics["inner_steps"]) >= least,
        f"inner_steps must be at least {least}, the steps of one window of all particles; it is "
        f"{float(metrics['inner_steps']):g}.",
    )


def check_purity(estimator: GradientEstimator, theta: Theta, key: Key) -> None:
    """Check that `init` and `estimate` are pure: equal arguments give equal bits, also after other calls or a copy."""
    first, other = jax.random.split(jax.random.fold_in(key, 1))
    state = estimator.init(theta, key)
    require(
        same_bits(state, estimator.init(theta, key)),
        "init must return the same bits for the same theta and key; two calls returned different states.",
    )
    copy = through_host(state)
    result = estimator.estimate(theta, state, first)
    require(same_bits(state, copy), "estimate must not change the state that it is given; it was changed in place.")
    estimator.estimate(theta, result[1], other)
    require(
        same_bits(result, estimator.estimate(theta, state, first)),
        "estimate must return the same bits for the same theta, state and key; two calls returned different results.",
    )
    with attempt("An estimate from a state that was copied to the host and back, as in a checkpoint,"):
        copied = estimator.estimate(theta, copy, first)
    require(
        same_bits(result, copied),
        "A state that was copied to the host and back, as in a checkpoint, must give the same bits; it gave different ones.",
    )


def run(estimator: GradientEstimator, theta: Theta, key: Key, count: int) -> list[Any]:
    """Call `init` and then `estimate` `count` times, and return the results of the estimates."""
    state, results = estimator.init(theta, key), []
    for index in range(count):
        results.append(estimator.estimate(theta, state, jax.random.fold_in(key, index)))
        state = results[-1][1]
    return results


def check_randomness(estimator: GradientEstimator, theta: Theta, key: Key, count: int) -> None:
    """Check that the estimates of a run depend on their keys."""
    state = estimator.init(theta, key)

    def gradients(seed):
        after, found = state, []
        for index in range(count):
            gradient, after, _ = estimator.estimate(theta, after, jax.random.fold_in(jax.random.key(seed), index))
            found.append(gradient)
        return found

    require(
        not same_bits(gradients(1), gradients(2)),
        "estimate must draw its random numbers from its key; different keys gave the same bits for a random problem.",
    )


def check_transformations(estimator: GradientEstimator, theta: Theta, key: Key, count: int, tolerance: float) -> None:
    """Check that estimates under `jax.jit`, `jax.vmap` and `jax.lax.scan` equal those of a Python loop."""

    def scanned(key):
        def body(state, index):
            gradient, state, metrics = estimator.estimate(theta, state, jax.random.fold_in(key, index))
            return state, (gradient, metrics["loss"])

        return jax.lax.scan(body, estimator.init(theta, key), jnp.arange(count))[1]

    keys = jax.random.split(key, 2)
    with attempt("Running the estimator under jax.jit, jax.vmap and jax.lax.scan"):
        mapped = jit(jax.vmap(scanned), "estimates under jax.vmap and jax.lax.scan", calls=1)(keys)
    for row, own in enumerate(keys):
        for index, (gradient, _, metrics) in enumerate(run(estimator, theta, own, count)):
            here = jax.tree.map(lambda leaf, row=row, index=index: leaf[row, index], mapped)
            difference = largest_difference(here, (gradient, metrics["loss"]))
            require(
                difference <= tolerance,
                "Estimates under jax.jit, jax.vmap and jax.lax.scan must equal those of a Python loop up to a relative "
                f"difference of {tolerance:g}; at estimate {index} they differ by {difference:.2g}.",
            )


def check_reset(estimator: GradientEstimator, theta: Theta, key: Key, num_windows: int, adapts: bool) -> None:
    """Check that an episode does not depend on states, accumulated noise or θ of earlier episodes.

    If the estimator adapts its weights to earlier episodes, only the loss is compared.
    """
    moved = jax.tree.map(lambda leaf: jnp.asarray(1.01 * leaf + 0.003, jnp.result_type(leaf)), theta)
    used, fresh, last = jax.random.split(key, 3)
    state = run(estimator, theta, used, num_windows)[-1][1]
    for window in range(num_windows):
        if window == 0:
            other = estimator.init(moved, fresh)
        own = jax.random.fold_in(last, window)
        gradient, state, metrics = estimator.estimate(moved, state, own)
        expected, other, expected_metrics = estimator.estimate(moved, other, own)
        pair = (metrics["loss"], expected_metrics["loss"]) if adapts else (gradient, expected)
        require(
            same_bits(*pair),
            f"Each episode must start anew, from init at the present theta: window {window} of a second episode must give the "
            "same bits as after init; it gave different ones. State or accumulated noise was kept from the first episode.",
        )
