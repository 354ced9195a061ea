"""Meta-losses other than the mean over the horizon, as problems whose mean loss is that meta-loss.

Every estimator then estimates the gradient of the new meta-loss, windows and persistent perturbations included. The
loss at the end of an episode is `final_loss`, which combines with these.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner.checks import check_count, check_number, is_known
from metalearn.inner.derived import final_loss
from metalearn.inner.problem import InnerProblem, check_horizon, check_inner, take_step
from metalearn.types import Scalar, State

READING = 2**32 - 3  # folded into the key of a step to get the key of the loss that the step reads


def weighted_loss(problem: InnerProblem, weights: Sequence[float] | np.ndarray) -> InnerProblem:
    """Make a weighted sum of the losses the meta-loss: Σ_t w_t ℓ_t, by ℓ'_t = T w_t ℓ_t.

        discounted = ml.weighted_loss(problem, 0.9 ** np.arange(horizon))

    Args:
      problem: the inner problem.
      weights: w_1 … w_T, `[T]`, at least one not zero. T is the horizon; estimators with another one raise an error.

    Raises:
      TypeError: the problem is not an InnerProblem, or the weights are not real numbers or are traced.
      ValueError: the weights are not a vector of finite numbers, all of them are zero, or the problem is made for
        another horizon.
    """
    check_inner(problem)
    needed = "weights must be a vector of finite numbers, one for each step and not all zero"
    if not is_known(weights):
        raise TypeError(f"{needed}; a traced array was given. Make the problem outside of the transformed function.")
    try:
        numbers = np.asarray(weights)
        numbers = numbers.astype(float, casting="same_kind") if numbers.dtype.kind in "biuf" else None
    except (TypeError, ValueError):
        numbers = None
    if numbers is None:
        raise TypeError(f"{needed}; {weights!r} was given.")
    if numbers.ndim != 1 or not numbers.size or not np.all(np.isfinite(numbers)) or not np.any(numbers):
        raise ValueError(f"{needed}; {np.array2string(numbers, threshold=6)} was given.")
    horizon = len(numbers)
    check_horizon(problem, horizon)
    factors = horizon * numbers

    def at(clock, dtype):
        return jnp.asarray(factors, dtype)[jnp.clip(clock - 1, 0, horizon - 1)]

    def loss(carry, theta, key):
        value = trees.wide(problem.loss(carry[0], theta, key))
        factor = at(carry[1], value.dtype)
        return jnp.where(factor == 0, 0.0, factor * value)  # a diverged loss that does not count is not 0 · inf

    def cap(carry):
        value = jnp.asarray(inner(carry[0]), jnp.result_type(float))  # pyright: ignore[reportOptionalCall]
        factor = at(carry[1], value.dtype)
        return jnp.where(factor > 0, factor * value, jnp.inf)

    inner = problem.cap
    return InnerProblem(*_counting(problem), loss, horizon, None if inner is None else cap)


def minimum_loss(problem: InnerProblem, horizon: int) -> InnerProblem:
    """Make the smallest loss of an episode the meta-loss: min_t ℓ_t.

    It is the last of the running minima M_t = min(M_{t−1}, ℓ_t), read by `final_loss`: ℓ'_t = T (M_t − M_{t−1}). The
    gradient is that of the smallest loss; evolution strategies smooth the minimum. The evaluation data of ℓ_t are drawn
    from the key of the step, so the minimum is also taken over their noise. A loss that is NaN does not count: an
    episode that diverges keeps the minimum it had, and counts as diverged only if its first loss does.

    Args:
      problem: the inner problem.
      horizon: T, the number of steps of an episode. Estimators and losses with another horizon raise an error.

    Raises:
      TypeError: the horizon is not a whole number, or the problem is not an InnerProblem.
      ValueError: the horizon is below 1, or the problem is made for a number of steps, as by `final_loss`.
    """
    check_count("horizon", horizon)
    return final_loss(_running_minimum(problem, "minimum_loss"), horizon)


def time_to_reach(problem: InnerProblem, horizon: int, level: float) -> InnerProblem:
    """Make the number of steps before the loss reaches a level the meta-loss: Σ_t 1[min_{u ≤ t} ℓ_u > level].

    It is t − 1 if ℓ_t is the first loss at most `level`, and T if there is none. The sum is over ℓ'_t = T times the
    indicator. It is piecewise constant in θ: its derivative is zero where it exists and says nothing, so methods that
    differentiate raise an error. Evolution strategies estimate the gradient of its smoothed version.

    Args:
      problem: the inner problem.
      horizon: T, the number of steps of an episode. Estimators and losses with another horizon raise an error.
      level: the loss to reach.

    Raises:
      TypeError: the horizon is not a whole number, the level is not a number, or the problem is not an InnerProblem.
      ValueError: the horizon is below 1, the level is not finite, or the problem is made for a number of steps.
    """
    check_count("horizon", horizon)
    check_number("level", level)
    running = _running_minimum(problem, "time_to_reach")

    def loss(carry, theta, key):
        return horizon * _above(trees.wide(running.loss(carry, theta, key)), jnp.asarray(level, jnp.result_type(float)))

    return running._replace(loss=loss, horizon=horizon, cap=None)


def quantile_loss(problem: InnerProblem, num_runs: int, quantile: float) -> InnerProblem:
    """Make the mean over the horizon of a quantile over runs the meta-loss: ℓ'_t = quantile of ℓ_t¹ … ℓ_tᴷ.

    An episode consists of K runs with one θ and independent starts, data and noise. The quantile interpolates linearly
    between the sorted losses, as `jnp.quantile`: 0 is the best run, 0.5 the median and 1 the worst. Diverged losses are
    the largest. `final_loss(quantile_loss(...), horizon)` is the quantile of the final losses. For finite K this is the
    mean of an order statistic, which tends to the quantile of the distribution as K grows. A step costs K steps.

    Args:
      problem: the inner problem, which is random.
      num_runs: K.
      quantile: the quantile, from 0 to 1.

    Raises:
      TypeError: `num_runs` is not a whole number, `quantile` not a number, or the problem is not an InnerProblem.
      ValueError: `num_runs` is below 1, `quantile` is outside [0, 1], or the problem is made for a number of steps.
    """
    check_count("num_runs", num_runs)
    check_number("quantile", quantile, 0, 1)
    _check_any_horizon(problem, "quantile_loss")
    split = lambda key: jax.random.split(key, num_runs)
    each = lambda function: lambda states, theta, key: jax.vmap(lambda s, k: function(s, theta, k))(states, split(key))

    def step(states, theta, key):
        return each(lambda state, theta, key: take_step(problem, state, theta, key))(states, theta, key)

    def loss(states, theta, key):
        values = trees.wide(each(problem.loss)(states, theta, key))
        return jnp.quantile(jnp.where(jnp.isnan(values), jnp.inf, values), quantile, method="linear")

    inner = problem.cap
    return InnerProblem(
        lambda theta, key: jax.vmap(lambda key: problem.init(theta, key))(split(key)),
        step,
        loss,
        cap=None if inner is None else lambda states: jnp.max(jax.vmap(lambda s: jnp.asarray(inner(s)))(states)),
    )


def averaged_loss(problem: InnerProblem, decay: float) -> InnerProblem:
    """Read the losses at an exponential average of the state: a_t = β a_{t−1} + (1 − β) s_t, a_0 = s_0, ℓ'_t = ℓ(a_t).

    All floating-point numbers of the state are averaged; integers and keys are the latest. The dynamics do not change.
    For networks whose optimiser keeps such an average, or is schedule-free, see `training(evaluate_at=...)`.

    Args:
      problem: the inner problem.
      decay: β, from 0 (the state itself) to below 1.

    Raises:
      TypeError: the decay is not a number, or the problem is not an InnerProblem.
      ValueError: the decay is outside [0, 1), or the problem is made for a number of steps, as by `final_loss`.
    """
    check_number("decay", decay, 0, 1, open_high=True)
    _check_any_horizon(problem, "averaged_loss")

    def init(theta, key):
        state = trees.strong(problem.init(theta, key))
        return state, state

    def step(carry, theta, key):
        state = take_step(problem, carry[0], theta, key)
        mix = lambda old, new: (decay * old + (1 - decay) * new).astype(new.dtype) if trees.is_inexact(new) else new
        return state, jax.tree.map(mix, carry[1], state)

    inner = problem.cap
    return InnerProblem(
        init,
        step,
        lambda carry, theta, key: problem.loss(carry[1], theta, key),
        cap=None if inner is None else lambda carry: inner(carry[1]),
    )


def _counting(problem: InnerProblem):
    """Return `init` and `step` of a problem that counts its steps."""
    init = lambda theta, key: (problem.init(theta, key), jnp.zeros((), jnp.int32))
    return init, lambda carry, theta, key: (problem.step(carry[0], theta, key), carry[1] + 1)


def _running_minimum(problem: InnerProblem, name: str) -> InnerProblem:
    """Return a problem whose loss is the smallest loss so far."""
    _check_any_horizon(problem, name)

    def init(theta, key) -> tuple[State, Scalar]:
        state = problem.init(theta, key)
        reading = trees.wide(jnp.zeros((), jax.eval_shape(problem.loss, state, theta, key).dtype))
        return state, jnp.full_like(reading, jnp.inf)

    def step(carry, theta, key):
        state = take_step(problem, carry[0], theta, key)
        reading = trees.wide(problem.loss(state, theta, jax.random.fold_in(key, READING)))
        return state, jnp.where(reading < carry[1], reading, carry[1])

    inner = problem.cap
    cap = None if inner is None else lambda carry: inner(carry[0])
    return InnerProblem(init, step, lambda carry, theta, key: carry[1], cap=cap)


@jax.custom_jvp
def _above(value, level):
    return jnp.where(value > level, 1.0, 0.0).astype(value.dtype)


@_above.defjvp
def _refuse(primals, tangents):
    raise TypeError(
        "time_to_reach is piecewise constant, and its derivative is zero wherever it exists. Use evolution strategies, such as "
        "ml.persistent_es, which estimate the gradient of its smoothed version."
    )


def _check_any_horizon(problem: InnerProblem, name: str) -> None:
    check_inner(problem)
    if problem.horizon is not None:
        raise ValueError(
            f"{name} needs a problem for any number of steps; this one is made for {problem.horizon}, like "
            f"ml.final_loss(problem, {problem.horizon}). Wrap the other way round, or leave out one of the wrappers."
        )
