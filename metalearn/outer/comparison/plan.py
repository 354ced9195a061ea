"""Plan the runs of a comparison: the estimators, and each reference that their reports need, once."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from metalearn.estimators import Description, GradientEstimator
from metalearn.estimators.directions import known_sigma
from metalearn.outer.comparison.perturbations import check_perturbation
from metalearn.outer.comparison.targets import (
    count_parts,
    describe_smoothing,
    gradient_target,
    needs_rematerialisation,
    noise_period,
    smoothed_target,
)
from metalearn.types import Theta

EPISODE_PAIRS = 64  # the largest number of pairs in one episode of a smoothed reference
GROUPS = 8  # the least number of episodes, whose spread gives the error of the target
FEWEST_PAIRS, MOST_PAIRS = 16, 4096  # limits of the default size of a reference

Tag = Any


class PlannedEpisodes(NamedTuple):
    """Independent episodes: the estimator, its θ (or the argument in its place), and their number."""

    estimator: GradientEstimator
    theta: Any
    count: int


class Plan(NamedTuple):
    """The runs of a comparison.

    Attributes:
      runs: tag -> run; the tag of an estimator is its name.
      target: estimator's name -> the tag of its own smoothed target; missing if the target is given or unknown.
      gradient: estimator's name -> the tag of ∇L; missing if ∇L is not requested.
    """

    runs: dict[Tag, PlannedEpisodes]
    target: dict[str, Tag]
    gradient: dict[str, Tag]

    def needed(self, name: str) -> list[Tag]:
        """Return the tags of the runs that one report needs."""
        return list(dict.fromkeys([name, *(tags[name] for tags in (self.target, self.gradient) if name in tags)]))

    def order(self) -> list[Tag]:
        """Return the tags of all runs; those that the first report needs come first."""
        names = [tag for tag in self.runs if isinstance(tag, str)]
        return list(dict.fromkeys(tag for name in names for tag in self.needed(name)))


def plan_runs(
    estimators: Mapping[str, GradientEstimator],
    theta: Theta,
    num_episodes: int,
    reference_pairs: int | None,
    *,
    measured: bool,
    unsmoothed: bool,
) -> Plan:
    """Plan the runs of a comparison.

    Args:
      estimators, theta, num_episodes, reference_pairs, unsmoothed: as in `compare`.
      measured: True to measure the targets, False if they are given.
    """
    plan = Plan({name: PlannedEpisodes(one, theta, num_episodes) for name, one in estimators.items()}, {}, {})
    described = {name: one.description for name, one in estimators.items() if one.description is not None}
    pairs = reference_pairs or (_enough(list(described.values()), num_episodes) if described else 0)
    groups: dict[Tag, list[Description]] = {}
    for description in described.values():
        groups.setdefault(_place(description), []).append(description)
    for name, description in described.items():
        place = _place(description)
        if unsmoothed:
            plan.gradient[name] = place
            plan.runs[place] = _gradient_run(description, theta, reference_pairs or max(pairs // 4, FEWEST_PAIRS))
        if measured and description.perturbs:
            if description.perturbation is not None:
                check_perturbation(name, description.perturbation, theta)
            smoothing = known_sigma(description.sigma), noise_period(description), id(description.perturbation)
            plan.target[name] = (*place, *smoothing)
            smoothed = [one for one in groups[place] if one.perturbs]
            plan.runs[plan.target[name]] = _smoothed_run(description, theta, pairs, count_parts(smoothed))
        elif measured and unsmoothed:
            plan.target[name] = place
    return plan


def _enough(described: list[Description], num_episodes: int) -> int:
    """Return the largest number of pairs of an estimator, so that the target is as precise as the means."""
    run = num_episodes * max(description.num_particles for description in described)
    return min(MOST_PAIRS, max(run, FEWEST_PAIRS))


def _whole(description: Description):
    """Return the truncation of the references: whole episodes, with the same key."""
    whole = description.truncation
    return type(whole)(whole.horizon, whole.horizon, key=whole.key)


def _gradient_run(description: Description, theta: Theta, episodes: int) -> PlannedEpisodes:
    problem, whole = description.problem, _whole(description)
    try:
        rematerialise = needs_rematerialisation(problem, theta, whole.horizon)
    except Exception:
        rematerialise = False  # no reverse mode: compiling the reference raises the error
    return PlannedEpisodes(
        gradient_target(problem, whole, rematerialise), theta, 2 if whole.key is not None else episodes
    )


def _smoothed_run(description: Description, theta: Theta, pairs: int, parts: int) -> PlannedEpisodes:
    together = min(EPISODE_PAIRS, max(1, pairs // GROUPS))
    target = smoothed_target(description.problem, _whole(description), parts, together, description.perturbation)
    return PlannedEpisodes(target, describe_smoothing(description, theta, parts), -(-pairs // together))


def _place(description: Description) -> Tag:
    """Return what references can share: the problem, the horizon and the key of repeated episodes."""
    key = description.truncation.key
    repeated = None if key is None else (str(key.dtype), *np.ravel(jax.random.key_data(key)).tolist())
    return (*map(id, description.problem[:3]), description.truncation.horizon, repeated)
