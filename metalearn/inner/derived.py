"""Problems made of problems: losses read less often or at the end, a θ for every window."""

import operator

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.inner.checks import check_count
from metalearn.inner.problem import InnerProblem, check_horizon, check_inner, take_step


def strided(problem: InnerProblem, stride: int) -> InnerProblem:
    """The map of `stride` steps in one, whose loss is read after the last of them: L is then a mean over every
    stride-th step, and costs that many readings less. Its i-th step within a stride draws from fold_in(key, i).
    Horizons, windows and the `inner_steps` of an estimator count strides.

    Raises:
      TypeError, ValueError: the stride is not a whole number of at least 1, the problem is not an InnerProblem, or its
        loss must be read after every step, as that of `final_loss`.
    """
    check_count("stride", stride)
    check_inner(problem)
    if problem.horizon is not None and stride > 1:
        raise ValueError(
            f"The losses of this problem, made for {problem.horizon} steps, add up only where each of them is read; with a stride of "
            f"{stride} some are not. Wrap the other way round: ml.final_loss(ml.strided(problem, {stride}), horizon // {stride})."
        )

    def step(state, theta, key):
        def body(index, state):
            return take_step(problem, state, theta, jax.random.fold_in(key, index))

        return jax.lax.fori_loop(0, stride, body, trees.strong(state))

    return problem._replace(step=step)


def final_loss(problem: InnerProblem, horizon: int) -> InnerProblem:
    """The loss at the end of the episode as a mean over its steps: ℓ'_t = T (ℓ_t − ℓ_{t−1}), with ℓ_0 read as zero.

    (1/T) Σ ℓ'_t = ℓ_T, so every estimator, online or not, estimates the gradient of the final loss. All readings of an
    episode use one key, drawn at its start: with fresh evaluation data the differences would not telescope
    (docs/theory.md §3.4).

    Args:
      problem: the problem whose last loss counts.
      horizon: T, the number of steps of an episode. Estimators and losses with another horizon refuse the problem.

    Raises:
      TypeError, ValueError: the horizon is not a whole number of at least 1, or the problem not an InnerProblem, or
        made for another horizon.
    """
    check_count("horizon", horizon)
    horizon = operator.index(horizon)
    check_horizon(problem, horizon)

    def init(theta, key):
        key, evaluation = jax.random.split(key)
        state = problem.init(theta, key)
        reading = jax.eval_shape(problem.loss, state, theta, key)
        zero = jnp.zeros((), reading.dtype)
        return (state, zero, zero, jax.random.key_data(evaluation))

    def step(carry, theta, key):
        state, reading, _, evaluation = carry
        state = problem.step(state, theta, key)
        return (
            state,
            problem.loss(state, theta, jax.random.wrap_key_data(evaluation, impl=jax.random.key_impl(key))),
            reading,
            evaluation,
        )

    def loss(carry, theta, key):
        _, reading, previous, _ = carry
        return horizon * (trees.wide(reading) - trees.wide(previous))

    last = problem.cap
    if last is None:
        return InnerProblem(init, step, loss, horizon)
    return InnerProblem(init, step, loss, horizon, lambda carry: horizon * (last(carry[0]) - trees.wide(carry[2])))


def in_windows(problem: InnerProblem, length: int) -> InnerProblem:
    """The problem whose θ is a schedule `[num_windows, ...]`: steps t·length + 1 … (t + 1)·length use its row t.

    The start uses row 0, and steps beyond the last row use the last.

    Raises:
      TypeError, ValueError: the length is no whole number of at least 1, the problem no InnerProblem, or θ has leaves
        without windows, or with different numbers of them.
    """
    check_count("length", length)
    check_inner(problem)

    def row(thetas, count):
        rows = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(thetas)}
        if len(rows) != 1 or rows == {()}:
            raise ValueError(f"Every leaf of theta must be [num_windows, ...]; their first axes are {sorted(rows)}.")
        return jax.tree.map(lambda leaf: leaf[jnp.clip(count // length, 0, leaf.shape[0] - 1)], thetas)

    def init(thetas, key):
        return problem.init(row(thetas, 0), key), jnp.zeros((), jnp.int32)

    def step(carry, thetas, key):
        state, count = carry
        return problem.step(state, row(thetas, count), key), count + 1

    def loss(carry, thetas, key):
        state, count = carry
        return problem.loss(state, row(thetas, jnp.maximum(count - 1, 0)), key)

    cap = problem.cap
    return problem._replace(init=init, step=step, loss=loss, cap=None if cap is None else lambda carry: cap(carry[0]))
