"""The scan over inner steps, and the division of an episode into windows."""

import dataclasses
import math
import operator

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner.convolutions import prepare
from metalearn.inner.problem import InnerProblem, check_horizon, check_key, split_episode
from metalearn.types import Key, Scalar, State, Theta


@dataclasses.dataclass(frozen=True)
class Truncation:
    """The division of an episode of `horizon` inner steps into windows of `length` steps.

    Attributes:
      horizon: T, the number of inner steps of an episode, after which the problem starts again.
      length: W, the number of inner steps per estimate, a divisor of T. With W = T an estimate uses whole episodes.
      stagger: if False, all particles are at the same window of their episodes (lockstep). If True, each particle
        starts at a random window of its episode, after a burn-in with θ frozen, so that every estimate contains every
        part of the horizon.
      key: if None, every episode draws its own random numbers. If a typed key, every episode of every particle uses
        the random numbers of this key, for its start and its data. The meta-loss is then a deterministic function of
        θ, the function that a landscape shows. In lockstep the particles share each minibatch as one array, which is
        also faster.
      shared_minibatches: if True, the random numbers of each inner step (minibatch, dropout) are drawn once per
        estimate and shared by all particles, and only the starts differ. The mean of the estimate is unchanged. The
        particles are no longer independent, so that their spread understates the variance. This is faster for small
        networks.

    Raises:
      TypeError: `horizon` or `length` is not a whole number, `stagger` or `shared_minibatches` is not a bool, or `key`
        is not a typed key.
      ValueError: `horizon` or `length` is not in 1 … 2³¹ − 1, `length` does not divide `horizon`, or both `key` and
        `shared_minibatches` are given.
    """

    horizon: int
    length: int
    stagger: bool = False
    key: Key | None = None
    shared_minibatches: bool = False

    def __post_init__(self):
        for name in ("horizon", "length"):
            value = getattr(self, name)
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise TypeError(f"{name} must be a whole number of inner steps; {value!r} was given.")
            if not 1 <= value < 2**31:
                raise ValueError(f"{name} must be at least 1 inner step, and below 2³¹; {value} was given.")
            object.__setattr__(self, name, operator.index(value))
        if self.length > self.horizon:
            raise ValueError(
                f"length {self.length} is longer than horizon {self.horizon}; a window must fit into an episode."
            )
        if self.horizon % self.length:
            raise ValueError(
                f"horizon {self.horizon} is not a multiple of length {self.length}; choose a length that divides it, "
                f"such as {nearest_divisor(self.horizon, self.length)}."
            )
        for name in ("stagger", "shared_minibatches"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False; {getattr(self, name)!r} was given.")
        if self.key is not None:
            check_key(self.key)
            if self.shared_minibatches:
                raise ValueError("With a key all episodes share their random numbers; leave shared_minibatches False.")

    def _parts(self):
        key = self.key
        known = None if key is None else (str(key.dtype), np.asarray(jax.random.key_data(key)).tobytes())
        return self.horizon, self.length, self.stagger, self.shared_minibatches, known

    def __eq__(self, other):
        return isinstance(other, Truncation) and self._parts() == other._parts()

    def __hash__(self):
        return hash(self._parts())

    @property
    def num_windows(self) -> int:
        """Return n = T / W, the number of windows of an episode."""
        return self.horizon // self.length


def nearest_divisor(number: int, wanted: int) -> int:
    """Return the divisor of a number that is nearest to `wanted`."""
    return min((d for d in range(1, number + 1) if number % d == 0), key=lambda d: abs(d - wanted))


def check_truncation(truncation: Truncation) -> None:
    """Raise `TypeError` if `truncation` is not a `Truncation`."""
    if not isinstance(truncation, Truncation):
        raise TypeError(f"truncation must be a Truncation(horizon, length); {truncation!r} was given.")


def unroll(
    problem: InnerProblem,
    state: State,
    theta: Theta,
    key: Key,
    num_steps: int,
    *,
    start: int | jax.Array = 0,
    rematerialise: bool = False,
) -> tuple[State, jax.Array]:
    """Iterate the map and compute the loss after each step.

        s_t = F(s_{t−1}, θ; k_{t−1}),   ℓ_t = ℓ(s_t, θ; k_t),   t = 1 … num_steps.

    The keys are k_t = fold_in(key, start + t). The loss at s_t and the step that leaves s_t use the same key, so that
    a training loss and the gradient of the next step share their forward pass, as in an ordinary training loop. The
    minibatch of k_t is independent of s_t, so this does not change any mean.

    Args:
      problem: the inner problem.
      state: s_0.
      theta: the meta-parameters, used in every step.
      key: the key of the episode. All windows of an episode use the same key, with different values of `start`.
      num_steps: the number of steps, at least 1.
      start: the index of `state` in its episode.
      rematerialise: whether to recompute the steps of about √num_steps segments in the backward pass instead of storing
        every step. Reverse mode then needs memory for about 2√num_steps states, at the cost of one more forward pass.
        The gradient is the same.

    Returns:
      `(state, losses)`: s_num_steps and the losses `[num_steps]`, in float32 or wider.

    Raises:
      ValueError: `num_steps` is below 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; {num_steps} was given.")
    wide = trees.wide(theta)  # in reverse mode, the derivatives of all steps are added in this precision
    step, read = (jax.jit(one, inline=True) for one in prepare(problem)[1:3])  # each is traced only once

    def body(state, index):
        here, theta_here = jax.random.fold_in(key, index), trees.like(wide, theta)
        loss = read(*_constant_if(index == start, (state, theta_here)), here)
        moved = step(state, theta_here, here)
        return trees.like(moved, state), trees.wide(loss)

    if num_steps == 1:
        before = trees.strong(state)
        state = trees.like(step(before, theta, jax.random.fold_in(key, start)), before)
        return state, trees.wide(read(state, theta, jax.random.fold_in(key, start + 1)))[None]
    # The loss at s_0 is computed and dropped: a separate first step would be a second copy of the step in the program.
    state, losses = _scan(body, trees.strong(state), start + jnp.arange(num_steps), rematerialise)
    last = read(state, theta, jax.random.fold_in(key, start + num_steps))
    return state, jnp.append(losses[1:], trees.wide(last))


def _constant_if(condition, tree):
    """Set the derivative with respect to a tree to zero under a condition, so that a dropped loss adds no NaN to it."""
    return jax.tree.map(
        lambda leaf: jnp.where(condition, jax.lax.stop_gradient(leaf), leaf) if trees.is_inexact(leaf) else leaf, tree
    )


def _scan(body, carry, indices, rematerialise):
    """Run `lax.scan`, on request in about √n checkpointed segments; an incomplete segment comes last."""
    count = len(indices)
    segment = segment_length(count)
    if not rematerialise or segment < 2:
        return jax.lax.scan(body, carry, indices)

    @jax.checkpoint
    def run_segment(carry, part):
        return jax.lax.scan(body, carry, part)

    whole = count - count % segment
    carry, losses = jax.lax.scan(run_segment, carry, indices[:whole].reshape(-1, segment))
    losses = losses.reshape(-1)
    if whole == count:
        return carry, losses
    carry, rest = run_segment(carry, indices[whole:])
    return carry, jnp.concatenate([losses, rest])


def segment_length(count: int) -> int:
    """Return the largest divisor of `count` from ⌊√count⌋ down to half of it, or ⌊√count⌋ if there is none.

    A segment length that does not divide `count` leaves a remainder, which is compiled in addition to the segments.
    """
    root = math.isqrt(count)
    return next((size for size in range(root, root // 2, -1) if count % size == 0), root)


def unroll_episode(
    problem: InnerProblem, theta: Theta, key: Key, horizon: int, *, rematerialise: bool = False
) -> tuple[State, jax.Array]:
    """Run `unroll` over a whole episode; the start and the steps use the episode key as in every estimator."""
    start, steps = split_episode(key)
    return unroll(problem, problem.init(theta, start), theta, steps, horizon, rematerialise=rematerialise)


def meta_loss(problem: InnerProblem, theta: Theta, key: Key, horizon: int) -> Scalar:
    """Return the meta-loss L(θ) = (1/T) Σ_t ℓ_t of one episode.

    Args:
      problem: the inner problem.
      theta: the meta-parameters.
      key: the key of the episode.
      horizon: T, the number of steps.

    Raises:
      TypeError: `problem` is not an `InnerProblem`.
      ValueError: the problem is made for another horizon, or `horizon` is below 1.
    """
    check_horizon(problem, horizon)
    return jnp.mean(unroll_episode(problem, theta, key, horizon)[1])
