"""The type of all gradient estimators: two pure functions, as in optax, and a description for `ml.compare`."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from metalearn.brief import brief_help
from metalearn.estimators.directions import is_one_number
from metalearn.inner.checks import is_known
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.types import Key, Theta

EstimatorState = Any
Metrics = dict[str, jax.Array]
SHARES = ("fraction_diverged", "fraction_capped")


@dataclasses.dataclass(frozen=True)
class Description:
    """The target and the costs of an estimator, for `ml.compare`.

    Attributes:
      problem: the inner problem.
      truncation: the horizon and the windows of its episodes.
      num_particles: the number of particles (pairs, directions) that one estimate averages.
      memory: `theta -> bytes`, a formula for the peak memory of the states, accumulators and tapes of all particles.
      sigma: the standard deviation of the smoothing, one number or a tree like θ; 0 if the target is the unsmoothed
        gradient.
      noise_period: the number of inner steps for which the smoothed objective keeps one perturbation; None for the
        whole horizon.
      name: the name that is shown while the program of the estimator is compiled.
      most_steps: the largest number of inner steps that one estimate reports; None if it is unknown.
      adapts: whether an estimate depends on earlier episodes, like the weights of `combine`; "perturbations" if its
        perturbations also depend on them, as in `guided_es`.
      perturbation: `(key, theta) -> noise`, which the estimator multiplies by sigma: mean 0, covariance identity, in
        the structure of θ, symmetric about 0. None is the normal distribution. The target is the mean of antithetic
        pairs with this noise.

    Raises:
      TypeError: `perturbation` is not a function.
      ValueError: `perturbation` is given with sigma = 0.
    """

    problem: InnerProblem
    truncation: Truncation
    num_particles: int
    memory: Callable[[Theta], int]
    sigma: float | Theta = 0.0
    noise_period: int | None = None
    name: str = "an estimate"
    most_steps: int | None = None
    adapts: bool | str = False
    perturbation: Callable[[Key, Theta], Theta] | None = None

    def __post_init__(self):
        if self.perturbation is None:
            return
        if not callable(self.perturbation):
            raise TypeError(
                f"perturbation must be a function (key, theta) -> noise, or None; {self.perturbation!r} was given."
            )
        if is_known(self.sigma) and not self.perturbs:
            raise ValueError("A description with a perturbation needs the sigma that multiplies it; sigma=0 was given.")

    @property
    def perturbs(self) -> bool:
        """Return whether the estimator perturbs θ."""
        return not is_one_number(self.sigma) or bool(self.sigma != 0)


@brief_help
class Family(NamedTuple):
    """Estimators that differ only in numbers and share their compiled programs in `ml.compare`.

    The family is an attribute of the function `estimate`. An estimator whose `estimate` or `init` was changed with
    `_replace` therefore does not count as a member.

    Attributes:
      make: `numbers -> estimator`, also for traced numbers.
      numbers: the numbers of this estimator.
      init: the `init` of this estimator.
    """

    make: Callable[[tuple[Any, ...]], "GradientEstimator"]
    numbers: tuple[Any, ...]
    init: Callable[..., Any]


@brief_help
class GradientEstimator(NamedTuple):
    """An estimator of ∇_θ L(θ), L = (1/T) Σ_t ℓ_t, one window at a time.

    Attributes:
      init: `(theta, key) -> state`.
      estimate: `(theta, state, key) -> (gradient, state, metrics)`. The gradient has the structure and dtypes of θ; the
        mean of the estimates over the windows of an episode estimates the gradient of the mean objective. Metrics are
        scalars:
        `loss`: the mean over the window and the particles.
        `absolute_loss`: the mean over the particles of |loss|, the loss of a particle being its mean over the window.
        `worst_share`: the share of the mean |loss| of the worst 1 % of the particles, at least one.
        `fraction_diverged`: the fraction of particles with a loss or a gradient in this window that is not finite.
        `fraction_capped`: the fraction of particles with a loss at the cap of the problem.
        `gradient_variance`: the trace of the variance, from the spread of the particles; NaN for fewer than two.
        `inner_steps`: the applications of the map that this estimate took; int32, or floating point if the count could
        exceed 2³¹ − 1.
      description: what is estimated, for `ml.compare`; None if it is not known.
    """

    init: Callable[[Theta, Key], EstimatorState]
    estimate: Callable[[Theta, EstimatorState, Key], tuple[Theta, EstimatorState, Metrics]]
    description: Description | None = None


def check_is_estimator(name: str, value: Any) -> None:
    """Check that a value is a gradient estimator.

    Raises:
      TypeError: `value` is not a `GradientEstimator`.
    """
    if not isinstance(value, GradientEstimator):
        raise TypeError(f"{name} must be a GradientEstimator such as ml.persistent_es(...); {value!r} was given.")
