"""A small stand-in for the interface of google/learned_optimization's TruncatedPES, with its rule at the end of episodes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Out(NamedTuple):
    loss: Any
    is_done: Any
    task_param: Any
    iteration: Any
    mask: Any


class Weights(NamedTuple):
    theta: Any
    theta_model_state: Any
    outer_state: Any


class Worker(NamedTuple):
    pos_state: Any
    neg_state: Any
    accumulator: Any


class Estimate(NamedTuple):
    mean_loss: Any
    grad: Any
    unroll_state: Any
    unroll_info: Any


class Vectorized:
    """Maps the functions of a TruncatedStep over tasks."""

    def __init__(self, truncated_step, num_tasks):
        self.step, self.num_tasks = truncated_step, num_tasks

    def init_step_state(self, theta, outer_state, key, theta_is_vector=False):
        one = lambda theta, key: self.step.init_step_state(theta, outer_state, key)
        return jax.vmap(one, (0 if theta_is_vector else None, 0))(theta, jax.random.split(key, self.num_tasks))

    def unroll_step(self, theta, unroll_state, key, data, outer_state, theta_is_vector=False):
        one = lambda theta, state, key: self.step.unroll_step(theta, state, key, None, outer_state)
        keys = jax.random.split(key, self.num_tasks)
        return jax.vmap(one, (0 if theta_is_vector else None, 0, 0))(theta, unroll_state, keys)


class TruncatedPES:
    """Persistent ES for states of tasks `[num_tasks, ...]`; from the step that ends an episode on, only the newest noise
    is credited, and it stays in the accumulator."""

    def __init__(self, truncated_step, trunc_length=10, std=0.01, steps_per_jit=10):
        assert trunc_length % steps_per_jit == 0
        self.step, self.length, self.std = truncated_step, trunc_length, std

    def init_worker_state(self, worker_weights, key):
        theta, key = worker_weights.theta, jax.random.wrap_key_data(key)
        state = self.step.init_step_state(theta, worker_weights.outer_state, key)
        return Worker(state, state, jnp.zeros((self.step.num_tasks, *theta.shape)))

    def compute_gradient_estimate(self, worker_weights, key, state, with_summary=False):
        theta, key = worker_weights.theta, jax.random.wrap_key_data(key)
        key_noise, key_steps = jax.random.split(key)
        noise = self.std * jax.random.normal(key_noise, (self.step.num_tasks, *theta.shape))

        def unroll(vector, state):
            body = lambda state, key: self.step.unroll_step(vector, state, key, None, None, theta_is_vector=True)
            return jax.lax.scan(body, state, jax.random.split(key_steps, self.length))

        positive, above = unroll(theta + noise, state.pos_state)
        negative, below = unroll(theta - noise, state.neg_state)
        contribution = jnp.mean(above.loss - below.loss, axis=0) / (2 * self.std**2)
        accumulator = state.accumulator + noise
        finished = (jnp.cumsum(above.is_done, axis=0) > 0)[..., None]
        credit = jnp.where(finished, noise, accumulator)
        gradient = jnp.mean(jnp.mean(credit, axis=0) * contribution[:, None], axis=0)
        after = Worker(positive, negative, jnp.where(finished[-1], noise, accumulator))
        return Estimate(jnp.mean(above.loss), gradient, after, None), {}
