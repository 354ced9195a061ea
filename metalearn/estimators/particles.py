"""The parts that all estimators share: particles, episodes, resets and divergence.

A *particle* is one worker that follows its own episodes: one trajectory for backprop, a pair θ ± ε for evolution
strategies. A `Method` defines the memory of a particle between windows, and computes a gradient from one window. This
file does the rest:

* At the start of an episode, `run` calls `problem.init` at the given θ, which may be perturbed or differentiated, and
  ignores the earlier state. By the chain rule, tangents restart at ∂s_0/∂θ. A method resets only its
  accumulators (`accumulator.py`).
* An episode has one key. The start and step t draw from it independently of the window length, so that an episode in
  windows and a whole episode use the same random numbers. The members of a pair share the key.
* Shared minibatches are drawn from the key of the estimate instead, one for each inner step.
* Divergence is detected step by step by the rule of `metalearn/inner/divergence.py`, and counted. The average leaves
  out particles whose gradient is not finite, and counts them too. If no particle remains, the estimate is zero.
"""

import dataclasses
import functools
import operator

import jax
import jax.numpy as jnp
from jax.core import Tracer

from metalearn import trees
from metalearn.compilation import jit
from metalearn.estimators.average import average
from metalearn.estimators.base import Description, GradientEstimator, Metrics
from metalearn.estimators.chunk_size import cache_chunk, even_chunk
from metalearn.estimators.devices import spread_here
from metalearn.estimators.method import Method, Particles
from metalearn.inner.checks import check_count
from metalearn.inner.counts import count, count_type
from metalearn.inner.differentiable import check_derivative
from metalearn.inner.divergence import read_window
from metalearn.inner.problem import (
    InnerProblem,
    check_horizon,
    check_inner,
    check_key,
    check_problem,
    check_theta,
    split_episode,
)
from metalearn.inner.unroll import Truncation, check_truncation, meta_loss, unroll
from metalearn.types import Key, Theta

SHARED = 2**32 - 1  # folded into the key of an estimate to get the key of shared minibatches
TOGETHER = 2**32 - 2  # folded into the key of an estimate to get the key of joint draws of the particles


def from_method(
    method: Method,
    problem: InnerProblem,
    truncation: Truncation,
    num_particles: int,
    chunk_size: int | None,
    description: Description,
    rematerialise: bool = False,
) -> GradientEstimator:
    """Return the estimator that averages a method over particles.

    Args:
      method: a gradient estimator written for one particle.
      problem: the inner problem.
      truncation: the horizon and the windows of episodes, and whether particles are in lockstep or staggered.
      num_particles: the number of particles that one estimate averages; each follows its own episodes.
      chunk_size: particles advanced together; None for as many as fit the cache.
      description: the description of the estimator; its `most_steps` is replaced by the value computed here.
      rematerialise: recompute the steps of a window in the backward pass, as in `unroll`.

    Returns:
      A compiled estimator. It resets episodes, draws their keys, shares minibatches, runs the burn-in of staggered
      particles, leaves particles whose gradient is not finite out of the average, and computes all metrics.
    """
    share, spread = spread_here(num_particles)
    steps, most = _inner_steps(method, truncation, num_particles)
    description = dataclasses.replace(description, most_steps=most)

    def advance(theta, memory, episodes, clock, key):
        """Run one window of every particle; return gradients, readings, memories and episodes."""
        clocks = clock if clock.ndim else None
        shared = jax.random.fold_in(key, SHARED) if truncation.shared_minibatches else None
        keys = jax.random.split(key, (num_particles, 2))
        own = (memory, episodes, keys[:, 0], _draw(method, theta, key, keys[:, 1]), clocks)
        return advance_shares((theta, clock, shared), own)

    def advance_share(common, particles):
        room = cache_chunk(problem, common[0], 2 * num_particles) // min(method.num_unrolls, 2)
        chunk = even_chunk(share, max(room, 1)) if chunk_size is None else chunk_size
        one = functools.partial(_one_window, method, problem, truncation, rematerialise, common)
        return jax.vmap(one)(particles) if chunk >= share else jax.lax.map(one, particles, batch_size=chunk)

    advance_shares = spread(advance_share)
    start = functools.partial(_begin, method, problem, truncation, num_particles, advance)
    begin = jit(start, f"the start of {description.name}", calls=1)
    one = functools.partial(
        _first_window, method, problem, truncation, rematerialise
    )  # one object, because JAX caches traces by function
    plain = functools.partial(meta_loss, problem, horizon=truncation.horizon)

    def init(theta: Theta, key: Key) -> Particles:
        check_theta(theta)
        check_key(key)
        check_problem(problem, theta)
        method.check(theta)
        if method.derivatives is not None:
            check_derivative(description.name, method.derivatives, one, plain, trees.strong(theta), key)
        return begin(trees.strong(theta), key)

    def estimate(theta: Theta, state: Particles, key: Key) -> tuple[Theta, Particles, Metrics]:
        check_theta(theta)
        check_key(key)
        _check_same(theta, state.variance)
        theta = trees.strong(theta)
        gradients, readings, memory, episodes = advance(theta, state.memory, state.episodes, state.clock, key)
        gradient, variance, metrics = average(method.finish(gradients, readings), readings)
        metrics["inner_steps"] = count(steps, count_type(most)) + state.unreported_steps
        clock = jnp.where(state.clock + 1 == truncation.num_windows, 0, state.clock + 1)
        none = jnp.zeros_like(state.unreported_steps)
        return trees.like(gradient, theta), Particles(memory, episodes, clock, none, variance), metrics

    return GradientEstimator(init, jit(estimate, description.name), description)


def _begin(method, problem, truncation, num_particles, advance, theta, key) -> Particles:
    blank = trees.zeros_from_shapes(jax.eval_shape(problem.init, theta, key))
    memory = trees.broadcast(method.start(theta, blank), num_particles)
    episodes = jnp.broadcast_to(key, (num_particles,))  # in lockstep, the first window draws new keys
    steps, most = _inner_steps(method, truncation, num_particles)
    clock, unreported = jnp.zeros((), jnp.int32), count(0, count_type(most))
    if truncation.stagger:
        key_episodes, key_clock, key_burn_in = jax.random.split(key, 3)
        episodes = jax.random.split(key_episodes, num_particles)
        clock = jax.random.randint(key_clock, (num_particles,), 0, truncation.num_windows, jnp.int32)
        memory, episodes = _burn_in(truncation, advance, theta, memory, episodes, clock, key_burn_in)
        unreported = count(most - steps, count_type(most))
    return Particles(memory, episodes, clock, unreported, trees.unknown_like(trees.wide(theta)))


def _burn_in(truncation, advance, theta, memory, episodes, clock, key):
    """Advance each particle to the window of its clock, with θ frozen."""

    def body(window, carry):
        window = jnp.asarray(window, jnp.int32)  # without jit a loop counts in Python
        _, _, *moved = advance(theta, carry[0], carry[1], window, jax.random.fold_in(key, window))
        return jax.vmap(trees.where)(window < clock, tuple(moved), carry)

    return jax.lax.fori_loop(0, truncation.num_windows - 1, body, (memory, episodes))


def _inner_steps(method, truncation, num_particles) -> tuple[int, int]:
    """Return the inner steps of one window of all particles, and the largest number that one estimate reports.

    With staggered particles the first estimate also reports the burn-in, which runs all windows but one.
    """
    steps = operator.index(num_particles) * truncation.length * method.num_unrolls
    return steps, steps * (truncation.num_windows if truncation.stagger else 1)


def _draw(method, theta, key, keys):
    """Return the keys, or the results of `Method.draw`, for the windows of the particles, `[num_particles, ...]`."""
    return keys if method.draw is None else method.draw(theta, jax.random.fold_in(key, TOGETHER), len(keys))


def _one_window(method, problem, truncation, rematerialise, common, particle):
    """Run one window of one particle; `common` is θ, the clock in lockstep and the key of shared minibatches."""
    theta, clock, shared = common
    memory, episode, key_episode, drawn, own_clock = particle
    own_clock = clock if own_clock is None else own_clock
    episode = jnp.where(own_clock == 0, key_episode, episode)
    source = episode if truncation.key is None else truncation.key
    run = functools.partial(_run_window, problem, truncation, source, own_clock, shared, rematerialise)
    gradient, memory, reading = method.window(run, theta, memory, own_clock, drawn)
    return gradient, reading, memory, episode


def _first_window(method, problem, truncation, rematerialise, theta, key):
    """Run the first window of one particle."""
    memory = method.start(theta, trees.zeros_from_shapes(jax.eval_shape(problem.init, theta, key)))
    common, (own, key_noise) = (theta, jnp.zeros((), jnp.int32), None), jax.random.split(key)
    drawn = jax.tree.map(lambda leaf: leaf[0], _draw(method, theta, key, key_noise[None]))
    return _one_window(method, problem, truncation, rematerialise, common, (memory, key, own, drawn, None))


def _run_window(problem, truncation, episode, clock, shared, rematerialise, theta, state):
    key_start, key_steps = split_episode(episode)

    def begin():
        return trees.strong(problem.init(theta, key_start))

    state = begin() if truncation.num_windows == 1 else jax.lax.cond(clock == 0, begin, lambda: state)
    start = clock * truncation.length
    if shared is not None:
        key_steps, start = shared, 0
    length = truncation.length
    state, losses = unroll(problem, state, theta, key_steps, length, start=start, rematerialise=rematerialise)
    return read_window(problem, losses, state), state


def _check_same(theta: Theta, first: Theta) -> None:
    if not trees.alike(theta, first):
        raise ValueError(
            "theta must have the structure and shapes that init was given; init was given "
            f"{jax.tree.map(jnp.shape, first)}, estimate was given {jax.tree.map(jnp.shape, theta)}."
        )


def check_sigma(sigma: float) -> None:
    """Check that `sigma` is positive and finite. A traced value passes, because its number is not known.

    Raises:
      TypeError: `sigma` is not one number.
      ValueError: `sigma` is not positive and finite.
    """
    if isinstance(sigma, Tracer):
        return
    try:
        number = float("nan") if isinstance(sigma, (bool, str)) else float(sigma)
    except (TypeError, ValueError):
        number = None
    if number is None or isinstance(sigma, (bool, str)):
        raise TypeError(f"sigma must be one number, the standard deviation of the perturbation; {sigma!r} was given.")
    if not 0 < number < float("inf"):
        raise ValueError(
            f"sigma must be positive and finite, the standard deviation of the perturbation in the space of theta; {sigma} was given."
        )


def check_common(problem: InnerProblem, truncation: Truncation, chunk_size: int | None) -> None:
    """Check the arguments that all estimators share: the problem, the truncation and the chunk size.

    Raises:
      TypeError: `problem` is not an `InnerProblem`, `truncation` is not a `Truncation`, or `chunk_size` is neither a
        whole number nor None.
      ValueError: `problem` is made for another horizon, or `chunk_size` is below 1.
    """
    check_inner(problem)
    check_truncation(truncation)
    check_horizon(problem, truncation.horizon)
    if chunk_size is not None:
        check_count("chunk_size", chunk_size)
