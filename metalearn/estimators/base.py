"""The type of every gradient estimator: two pure functions, as in optax, and a description for those who compare."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from metalearn.types import Key, Theta

EstimatorState = Any
Metrics = dict[str, jax.Array]
SHARES = ("fraction_diverged", "fraction_capped")


@dataclasses.dataclass(frozen=True)
class Description:
    """What an estimator estimates, for `ml.compare`.

    Attributes:
      problem: the inner problem.
      truncation: how its episodes are cut.
      num_particles: the particles (pairs, directions) that one estimate averages.
      memory: `theta -> bytes`, the peak memory of the states, accumulators and tapes of all particles, by formula.
      sigma: the standard deviation of the smoothing; 0 where the target is the unsmoothed gradient.
      noise_period: the inner steps for which one perturbation is kept in the smoothed objective; the horizon unless the
        smoothing is independent from block to block.
      name: what it is called while its program is compiled.
      most_steps: the most inner steps that one estimate reports, None where that is unknown.
      adapts: whether an estimate depends on earlier episodes, as the weights of `combine` do.
    """

    problem: InnerProblem
    truncation: Truncation
    num_particles: int
    memory: Callable[[Theta], int]
    sigma: float = 0.0
    noise_period: int | None = None
    name: str = "an estimate"
    most_steps: int | None = None
    adapts: bool = False


class Family(NamedTuple):
    """Estimators that differ by numbers alone, and share their programs in `ml.compare`.

    An estimate carries it as an attribute, so that an estimator with another `estimate` or `init`, made with
    `_replace`, is not taken for one of the family.

    Attributes:
      make: `numbers -> estimator`, also for traced numbers.
      numbers: those of this estimator.
      init: its `init`.
    """

    make: Callable[[tuple[Any, ...]], "GradientEstimator"]
    numbers: tuple[Any, ...]
    init: Callable[..., Any]


class GradientEstimator(NamedTuple):
    """An estimator of ∇_θ L(θ), L = (1/T) Σ_t ℓ_t, one window at a time.

    Attributes:
      init: `(theta, key) -> state`.
      estimate: `(theta, state, key) -> (gradient, state, metrics)`. The gradient has the structure and dtypes of θ; the
        mean of the estimates over the windows of an episode estimates the gradient of the mean objective. Metrics are
        scalars: `loss` (mean over window and particles), `worst_share` (the share of the mean |loss| that is due to the
          worst 1 % of
        the particles, at least one), `fraction_diverged` (of the particles, those with a loss or a gradient in this
        window that is not finite), `fraction_capped` (those at the cap of the problem), `gradient_variance` (trace,
        from the spread of the particles; NaN for fewer than two particles), `inner_steps` (applications of the map
        spent on this estimate; an int32, or a floating-point number where that could pass 2³¹).
      description: what is estimated, for `ml.compare`; None for estimators that do without.
    """

    init: Callable[[Theta, Key], EstimatorState]
    estimate: Callable[[Theta, EstimatorState, Key], tuple[Theta, EstimatorState, Metrics]]
    description: Description | None = None


def check_is_estimator(name: str, value: Any) -> None:
    """Check that a value is a gradient estimator.

    Raises:
      TypeError: it is something else.
    """
    if not isinstance(value, GradientEstimator):
        raise TypeError(f"{name} must be a GradientEstimator such as ml.persistent_es(...); {value!r} was given.")
