"""Changes of a meta-training on a proxy that may keep the goal from getting worse."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.estimators import GradientEstimator
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problem import InnerProblem
from metalearn.outer import Study
from metalearn.outer.observables import observable_names, observe, with_loss


@dataclasses.dataclass(frozen=True)
class Switches:
    """A change of a meta-training on the proxy.

    Attributes:
      arguments: arguments of the function that makes the study, such as more data or another width.
      penalty: p; adds p/2 ‖θ − θ_0‖² to the proxy.
      outer_noise: the standard deviation of noise on the estimate of the gradient.
      share: a in [0, 1]; minimises (1 − a) proxy + a goal.
      stop_on: the observable for early stopping; the θ with its smallest reading is returned.
      patience: the number of readings without an improvement after which to stop, 4 by default.

    Raises:
      TypeError, ValueError: a number is out of range, or patience is given without `stop_on`.
    """

    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    penalty: float = 0.0
    outer_noise: float = 0.0
    share: float = 0.0
    stop_on: str | None = None
    patience: int | None = None

    def __post_init__(self):
        check_number("penalty", self.penalty, 0)
        check_number("outer_noise", self.outer_noise, 0)
        check_number("share", self.share, 0, 1)
        if self.patience is None:
            return
        check_count("patience", self.patience)
        if self.stop_on is None:
            raise ValueError("patience is used with stop_on only; give stop_on too, or omit patience.")


def altered(study: Study, proxy: str, goal: str, switches: Switches) -> InnerProblem:
    """Return the problem to minimise: the proxy with its penalty, and with a share of the goal."""
    problem, wanted = observe(study, proxy, "proxy"), observe(study, goal, "goal")
    if not switches.penalty and not switches.share:
        return problem

    def loss(state, theta, key):
        value = problem.loss(state, theta, key)
        if switches.share:
            value = (1 - switches.share) * value + switches.share * wanted.loss(state, theta, key)
        away = trees.add(theta, trees.scale(-1.0, study.theta))
        return value + switches.penalty / 2 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(away))

    return with_loss(problem, loss)


def noisy(estimator: GradientEstimator, strength: float) -> GradientEstimator:
    """Return an estimator with Gaussian noise on its gradient."""

    def estimate(theta, state, key):
        inside, added = jax.random.split(key)  # fold_in(key, 1) would be a key that the estimator uses
        gradient, state, metrics = estimator.estimate(theta, state, inside)
        noise = trees.normal_like(added, gradient, strength)
        return trees.add(gradient, noise), state, metrics

    return estimator._replace(estimate=estimate)


def check_switches(switches: Switches, study: Study, problem: Mapping[str, Any], ours: bool) -> str:
    """Return why a mitigation does not apply to a problem; "" if it does.

    Args:
      switches: the mitigation.
      study: the study without the mitigation.
      problem: the part `problem` of the configuration.
      ours: whether the study is the default one, to which every mitigation applies.
    """
    given = problem.get("arguments") or {}
    if missing := [name for name in switches.arguments if not ours and name not in given]:
        return f"problem.arguments.{missing[0]} is missing, and the mitigation changes it."
    if switches.stop_on and not ours and switches.stop_on not in (known := observable_names(study)):
        return f"the problem has no observable {switches.stop_on!r} to stop on; it has: {', '.join(known)}."
    return ""
