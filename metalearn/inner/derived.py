"""Problems derived from other problems: losses read less often or only at the end, and a θ for every window."""

import operator

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.inner.checks import check_count
from metalearn.inner.problem import InnerProblem, check_horizon, check_inner, take_step


def strided(problem: InnerProblem, stride: int) -> InnerProblem:
    """Combine `stride` steps of a problem into one step.

    The loss is read after the last of them, so the meta-loss is the mean over every stride-th step and needs fewer
    evaluations. Step i within a stride uses the key fold_in(key, i). Horizons, windows and the `inner_steps` of an
    estimator count strides.

    Args:
      problem: the inner problem.
      stride: the number of steps to combine.

    Raises:
      TypeError: the stride is not a whole number, or the problem is not an InnerProblem.
      ValueError: the stride is below 1, or it is above 1 and the loss must be read after every step, as that of
        `final_loss`.
    """
    check_count("stride", stride)
    check_inner(problem)
    if problem.horizon is not None and stride > 1:
        raise ValueError(
            f"The losses of this problem, made for {problem.horizon} steps, must be read after every step; with a "
            f"stride of {stride} some are skipped. Wrap the other way round: "
            f"ml.final_loss(ml.strided(problem, {stride}), horizon // {stride})."
        )

    def step(state, theta, key):
        def body(index, state):
            return take_step(problem, state, theta, jax.random.fold_in(key, index))

        return jax.lax.fori_loop(0, stride, body, trees.strong(state))

    return problem._replace(step=step)


def final_loss(problem: InnerProblem, horizon: int) -> InnerProblem:
    """Make the last loss of an episode the meta-loss: ℓ'_t = T (ℓ_t − ℓ_{t−1}), with ℓ_0 set to zero.

    The mean over an episode is (1/T) Σ ℓ'_t = ℓ_T, so every estimator, online or not, estimates the gradient of the
    final loss. All losses of an episode use one key, drawn at its start. With fresh evaluation data at each step the
    differences would not telescope (docs/theory.md §3.4).

    Args:
      problem: the inner problem.
      horizon: T, the number of steps of an episode. Estimators and losses with another horizon raise an error.

    Raises:
      TypeError: the horizon is not a whole number, or the problem is not an InnerProblem.
      ValueError: the horizon is below 1, or the problem is made for another horizon.
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
    """Give every window of an episode its own θ: leaves are `[num_windows, ...]`, and window t uses row t.

    Window t consists of the steps t·length + 1 … (t + 1)·length. The start uses row 0, and steps beyond the last row
    use the last row.

    Args:
      problem: the inner problem.
      length: the number of steps of a window.

    Raises:
      TypeError: the length is not a whole number, or the problem is not an InnerProblem.
      ValueError: the length is below 1. The functions of the problem raise it if the leaves of θ differ in their first
        axis or have none.
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
