"""Checks that use a problem that records its steps: windows, counts, particles, divergence."""

from typing import Any

import jax
import numpy as np

from metalearn import trees
from metalearn.estimators.base import GradientEstimator
from metalearn.inner.problem import Key
from metalearn.inner.unroll import Truncation
from metalearn.outer.comparison.perturbations import check_perturbation
from metalearn.testing.agreement import check_metrics, check_result
from metalearn.testing.requirements import attempt, require
from metalearn.testing.watched import ALL, HIGHEST, LOWEST, SOME, THETA, Step, Watched, at


def check_windows(estimator: GradientEstimator, watched: Watched, truncation: Truncation, key: Key) -> None:
    """Check that estimates run the windows of an episode in order, report their steps, and start the next episode."""
    start, key = jax.random.split(key)  # separate keys, so that init and estimates do not draw equal numbers
    state, taken = watched.watch(estimator.init, THETA, start)
    before, unreported = frozenset(step.luck for step in taken), len(taken)
    for index in range(truncation.num_windows + 1):
        own = jax.random.fold_in(key, index)
        (_, state, metrics), steps = watched.watch(estimator.estimate, THETA, state, own)
        window = index % truncation.num_windows
        first = window * truncation.length
        wanted, found = set(range(first, first + truncation.length)), {step.index for step in steps}
        require(
            found == wanted,
            f"Estimate {index} must take steps {_span(wanted)} of its episodes, window {window} of horizon {truncation.horizon} "
            f"and length {truncation.length}; it took steps {_span(found)}.",
        )
        spent, reported = len(steps) + (unreported if index == 0 else 0), float(metrics["inner_steps"])
        require(
            reported == spent,
            f"inner_steps must count the applications of the map: estimate {index} took {spent}"
            f"{' with those of init' if index == 0 and unreported else ''} and reported {reported:g}.",
        )
        _check_loss(metrics)
        episodes = frozenset(step.luck for step in steps)
        require(
            window > 0 or not episodes & before,
            "Each episode must draw its own random numbers; the second episode repeated those of the first.",
        )
        before = episodes


def _check_loss(metrics) -> None:
    loss = float(metrics["loss"])
    require(
        LOWEST <= loss <= HIGHEST,
        f"The metric loss must be the mean over the window and the particles; each loss lies between {LOWEST} and {HIGHEST}, "
        f"and {loss:g} was reported.",
    )
    diverged = float(metrics["fraction_diverged"])
    require(diverged == 0, f"fraction_diverged must be 0 if no particle diverged; it is {diverged:g}.")


def _span(indices) -> str:
    return f"{min(indices)} to {max(indices)}" if indices else "none"


def check_divergence(estimator: GradientEstimator, watched: Watched, truncation: Truncation, key: Key) -> None:
    """Check that diverged particles are counted, leave the gradient finite, and restart with the next episode."""
    state = estimator.init(at(SOME), key)
    for switch in (SOME, SOME, ALL, SOME, 0.0):
        for _ in range(truncation.num_windows):
            key = jax.random.fold_in(key, 1)
            (gradient, state, metrics), steps = watched.watch(estimator.estimate, at(switch), state, key)
            _check_diverged(gradient, metrics, steps, {SOME: 0.5, ALL: 2.0, 0.0: 0.0}[switch])


def _check_diverged(gradient, metrics, steps: frozenset[Step], threshold: float) -> None:
    well = any(step.luck >= threshold for step in steps)
    ill = any(not step.luck >= threshold for step in steps)  # NaN after a cap has ended the episode
    which = "none" if not ill else "some" if well else "all"
    require(
        all(np.all(np.isfinite(np.asarray(leaf))) for leaf in jax.tree.leaves(gradient)),
        f"The gradient must be finite even if particles diverge; {which} of the episodes diverged and it is not finite.",
    )
    check_metrics(metrics)
    share = float(max(metrics["fraction_diverged"], metrics.get("fraction_capped", 0.0)))
    require(
        {"none": share == 0, "some": 0 < share < 1, "all": share == 1}[which],
        "fraction_diverged, or fraction_capped if the factory caps the losses, must be the share of the particles that diverged "
        f"in the present episode; {which} of the episodes diverged and {share:g} was reported.",
    )


def check_description(estimator: GradientEstimator, watched: Watched, key: Key) -> None:
    """Check the description against the steps of one estimate of the first window."""
    description: Any = estimator.description
    (_, _, metrics), steps = watched.watch(estimator.estimate, THETA, estimator.init(THETA, key), key)
    episodes, sizes = {step.luck for step in steps}, {abs(step.switch) for step in steps}
    require(
        description.num_particles in (len(episodes), len(sizes)),
        f"The description says num_particles={description.num_particles}; an estimate took steps in {len(episodes)} episodes and "
        f"at {len(sizes)} perturbations.",
    )
    perturbed = sizes != {0.0}
    require(
        perturbed == description.perturbs,
        f"The description says sigma={description.sigma}, and theta was {'' if perturbed else 'not '}perturbed.",
    )
    if description.perturbation is not None:
        with attempt("The check of the description's perturbation"):
            check_perturbation("the factory", description.perturbation, THETA)
    memory = description.memory(THETA)
    require(
        memory >= 0 and memory == int(memory),
        f"The description's memory must be a whole number of bytes; it is {memory!r}.",
    )
    _check_most(estimator, float(metrics["inner_steps"]))


def _check_most(estimator: GradientEstimator, reported: float) -> None:
    most = None if estimator.description is None else estimator.description.most_steps
    require(
        most is None or reported <= most,
        f"The description says that an estimate takes at most {most} inner steps; one reported {reported:g}.",
    )


def check_staggered(estimator: GradientEstimator, watched: Watched, truncation: Truncation, key: Key) -> None:
    """Check that staggered particles start at random windows, and that the steps of their burn-in are reported."""
    places = set()
    for own in jax.random.split(key, 8):
        before, burn_in = watched.watch(estimator.init, THETA, own)
        result, steps = watched.watch(estimator.estimate, THETA, before, own)
        places |= {step.index // truncation.length for step in steps}
        if places != {0}:
            break
    require(
        places != {0},
        "Truncation(stagger=True) must start each particle at a random window of its episode; all started at window 0.",
    )
    check_result(THETA, before, result)
    check_metrics(result[2])
    again = estimator.estimate(THETA, result[1], key)
    first, later = (float(one[2]["inner_steps"]) for one in (result, again))
    require(
        first > later or not burn_in,
        f"The first estimate must also report the steps of the burn-in; it reported {first:g} and the second {later:g}.",
    )
    _check_most(estimator, first)


def check_precision(estimator: GradientEstimator, theta: Any) -> None:
    """Check, without computing values, that the gradient and the state keep the structure and precision of θ."""
    theta, key = trees.strong(theta), jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(estimator.init, theta, key)
    check_result(theta, state, jax.eval_shape(estimator.estimate, theta, state, key))
