"""Measurements of `experiments/benchmark.py`: every estimator on six problems, each against its own target."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.application.library import learned_optimizer
from metalearn.estimators import (
    GradientEstimator,
    artbp,
    backprop,
    evolution_strategies,
    forward_gradient,
    forward_mode,
    generalized_persistent_es,
    guided_es,
    implicit_gradient,
    noise_reuse_es,
    persistent_es,
    uoro,
)
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems import (
    digits_training,
    fractal_training,
    influence_balancing,
    ridge_regression,
    toy_regression,
)
from metalearn.inner.unroll import Truncation
from metalearn.outer.comparison import Comparison, Report, compare
from metalearn.types import Key, Progress, Theta

FEW = 20  # forward mode costs one tangent for each meta-parameter
STILL = 1e-9  # a variance below this share of |target|² is rounding


class Case(NamedTuple):
    """A problem at one θ.

    Attributes:
      problem, theta: the inner problem and θ.
      horizon, length: T and W.
      sigma: σ of all estimators that smooth.
      repeated: whether every episode has the same randomness.
    """

    problem: InnerProblem
    theta: Theta
    horizon: int
    length: int
    sigma: float
    repeated: bool


class Way(NamedTuple):
    """An estimator with the target of its mean, and a function that builds it from a problem.

    Attributes:
      target: the name of the gradient that it estimates.
      build: (case, windows, one window, pairs) -> the estimator.
      scaled: whether its mean is a multiple of the target, so that only the cosine is meaningful.
    """

    target: str
    build: Callable[[Case, Truncation, Truncation, int], GradientEstimator]
    scaled: bool = False


def _learned() -> Case:
    study = learned_optimizer(100)
    return Case(study.problem, study.theta, 100, 10, float(study.sigma), True)  # type: ignore[arg-type]


CASES: dict[str, Callable[[], Case]] = {
    "toy regression": lambda: Case(toy_regression(horizon=100), jnp.zeros(2), 100, 10, 0.3, False),
    "influence balancing": lambda: Case(influence_balancing(), jnp.array(0.5), 100, 10, 0.1, False),
    "ridge regression": lambda: Case(ridge_regression(cap=None), jnp.array([-0.7, -1.0]), 400, 40, 0.1, True),
    "learned optimiser": _learned,
    "digits schedule": lambda: Case(
        digits_training(num_steps=200, activation="tanh", meta_loss="training"),
        jnp.array([1.1, 0.6]),
        200,
        20,
        0.1,
        True,
    ),
    "fractal, in the chaos": lambda: Case(fractal_training(), jnp.array([2.0, 1.0]), 500, 50, 0.1, True),
}


def _smoothed(method, target: str, *, whole: bool = False, scaled: bool = False, **settings: Any) -> Way:
    build = lambda case, windows, one, pairs: method(
        case.problem, one if whole else windows, sigma=case.sigma, num_pairs=pairs, **settings
    )
    return Way(target, build, scaled)


PLAIN, SMOOTH, FINAL = "∇L", "∇L_σ", "∇ final loss"
WAYS: dict[str, Way] = {
    "BPTT": Way(PLAIN, lambda case, windows, one, pairs: backprop(case.problem, one)),
    "TBPTT": Way(PLAIN, lambda case, windows, one, pairs: backprop(case.problem, windows)),
    "ARTBP": Way(
        PLAIN, lambda case, windows, one, pairs: artbp(case.problem, one, cut_probability=0.05, num_particles=pairs)
    ),
    "UORO": Way(PLAIN, lambda case, windows, one, pairs: uoro(case.problem, windows, num_particles=pairs)),
    "RTRL": Way(PLAIN, lambda case, windows, one, pairs: forward_mode(case.problem, windows)),
    "DODGE": Way(
        PLAIN, lambda case, windows, one, pairs: forward_gradient(case.problem, windows, num_directions=pairs)
    ),
    "implicit, 20 terms": Way(FINAL, lambda case, windows, one, pairs: implicit_gradient(case.problem, one)),
    "implicit, GMRES": Way(
        FINAL, lambda case, windows, one, pairs: implicit_gradient(case.problem, one, solver="gmres", num_terms=50)
    ),
    "perturbed BPTT": Way(
        SMOOTH,
        lambda case, windows, one, pairs: backprop(
            case.problem, one, sigma=case.sigma, num_particles=pairs, clip_norm=0.1
        ),
    ),
    "full ES": _smoothed(evolution_strategies, SMOOTH, whole=True),
    "full ES, orthogonal": _smoothed(evolution_strategies, SMOOTH, whole=True, directions="orthogonal"),
    "full ES, sphere": _smoothed(evolution_strategies, "∇L_σ, sphere", whole=True, directions="sphere"),
    "full ES, Rademacher": _smoothed(evolution_strategies, "∇L_σ, Rademacher", whole=True, directions="rademacher"),
    "full ES, ranks": _smoothed(evolution_strategies, "∝ ∇L_σ", whole=True, scaled=True, fitness="ranks"),
    "truncated ES": _smoothed(evolution_strategies, SMOOTH),
    "PES": _smoothed(persistent_es, "∇L_σ, 1 window"),
    "GPES": Way(
        "∇L_σ, 2 windows",
        lambda case, windows, one, pairs: generalized_persistent_es(
            case.problem, windows, sigma=case.sigma, num_pairs=pairs, noise_period=2 * case.length
        ),
    ),
    "NRES": _smoothed(noise_reuse_es, SMOOTH),
    "NRES, orthogonal": _smoothed(noise_reuse_es, SMOOTH, directions="orthogonal"),
    "guided ES": _smoothed(guided_es, "Σ ∇L_σ", scaled=True, alpha=0.5, rank=1),
}


def misfit(name: str, case: Case, estimator: GradientEstimator, key: Key) -> tuple[str, float]:
    """Return the reason why an estimator does not apply to a case, or an empty text, and the residual of its solve.

    The residual is that of the linear system of implicit differentiation, over the right-hand side; otherwise NaN.
    """
    if name == "RTRL" and trees.size(case.theta) > FEW:
        return f"one tangent for each of the {trees.size(case.theta)} numbers of theta", np.nan
    if not name.startswith("implicit"):
        return "", np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the sentence below says the same
        try:
            metrics = estimator.estimate(case.theta, estimator.init(case.theta, key), key)[2]
        except (TypeError, ValueError) as error:
            return str(error).partition(";")[0], np.nan
    distance, radius = (float(metrics[one]) for one in ("fixed_point_distance", "spectral_radius"))
    if float(metrics["fraction_unconverged"]) == 0:
        return "", float(metrics["solve_residual"])
    return (
        f"no fixed point: one more step moves the state by {distance:.2g}, the spectral radius is {radius:.3g}",
        np.nan,
    )


def measure(
    case: Case,
    key: Key,
    names: Sequence[str],
    *,
    pairs: int,
    episodes: int,
    reference_pairs: int,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Compare the named estimators on a case, and return the columns of its rows as arrays."""
    own = jax.random.fold_in(key, 0) if case.repeated else None
    windows, one = (Truncation(case.horizon, length, key=own) for length in (case.length, case.horizon))
    estimators = {name: way.build(case, windows, one, pairs) for name, way in WAYS.items() if name in names}
    fits = {name: misfit(name, case, estimator, key) for name, estimator in estimators.items()}
    chosen = {name: estimator for name, estimator in estimators.items() if not fits[name][0]}
    if not chosen:
        return columns([make_row(name, Comparison(case.theta, ()), *fits[name]) for name in estimators])
    found = compare(
        chosen, case.theta, jax.random.fold_in(key, 1), num_episodes=episodes, reference_pairs=reference_pairs,
        progress=progress,
    )  # fmt: skip
    return columns([make_row(name, found, *fits[name]) for name in estimators])


def make_row(name: str, found: Comparison, reason: str, residual: float = np.nan) -> dict[str, Any]:
    """Return the row of an estimator; values that do not apply are NaN."""
    reports = {report.name: report for report in found.reports}
    row = {
        "estimator": name,
        "target": WAYS[name].target,
        "scaled": WAYS[name].scaled,
        "reason": reason or reports[name].reason,
        "residual": residual,
    }
    if reason or not reports[name].num_episodes:
        return row | dict.fromkeys(NUMBERS, np.nan)
    return row | summarise(reports[name], WAYS[name].scaled)


NUMBERS = (
    "bias", "bias_error", "cosine", "cosine_error", "variance", "snr_per_step", "snr_per_step_error", "snr_per_second",
    "snr_per_second_error", "inner_steps", "milliseconds", "memory", "diverged",
)  # fmt: skip


def summarise(report: Report, scaled: bool) -> dict[str, float]:
    """Return the numbers of a report. The variance is relative to |target|². Deterministic estimators have no SNR."""
    unit = float(np.sum(np.square(report.mean if scaled or not np.isfinite(report.target).all() else report.target)))
    relative = report.variance.value / unit if unit > 0 else np.nan
    still = relative < STILL
    step, second = report.signal_to_noise_per_step, report.signal_to_noise_per_second
    ratios = (step.value, step.error, second.value, second.error)
    values = (
        *((np.nan, np.nan) if scaled else (report.bias.value, report.bias.error)),
        report.cosine.value, report.cosine.error, 0.0 if still else relative, *((np.nan,) * 4 if still else ratios),
        report.inner_steps, 1e3 * report.seconds, np.nan if report.memory is None else report.memory,
        report.fraction_diverged,
    )  # fmt: skip
    return dict(zip(NUMBERS, map(float, values), strict=True))


def columns(rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def read_rows(problem: str, stored: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return the rows of the columns from `measure`, with the name of the problem."""
    return [
        {"problem": problem, **{key: values[place].item() for key, values in stored.items()}}
        for place in range(len(stored["estimator"]))
    ]
