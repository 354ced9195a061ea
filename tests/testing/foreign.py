"""Persistent ES written by hand, without this library's estimators, and the same with one mistake each."""

import jax
import jax.numpy as jnp

import metalearn as ml

MEANS = (  # mistakes that change the mean, by the names that `verify` gives them
    "no accumulator",
    "state kept over the reset",
    "last loss credited to the newest window",
    "part of the last window credited to the newest window",
    "newest noise not credited",
    "start at the unperturbed theta",
    "loss at the unperturbed theta",
    "losses read before the steps",
    "last loss for the mean of the losses",
    "sigma is used as a variance",
    "perturbations of signs (Rademacher)",
    "perturbations on a sphere",
    "perturbations of length sigma",
    "wrong sign",
    "sigma^2 for 2 sigma^2",
    "one-sided noise",
    "sigma for sigma^2",
    "sum over the window for its mean",
    "mean over windows for sum",
    "truncated ES",
)
SPREADS = (
    "noise shared between particles",
    "noise kept over the reset",
    "noise of the map not shared within a pair",
)


def persistent_es(problem, truncation, sigma, num_pairs, mistake=""):
    """Return `(init, estimate)` of persistent ES in lockstep, for an array θ."""
    windows, length = truncation.num_windows, truncation.length
    factor = {
        "wrong sign": -1,
        "sigma^2 for 2 sigma^2": 2,
        "sigma for sigma^2": sigma,
        "sum over the window for its mean": length,
        "mean over windows for sum": 1 / windows,
    }.get(mistake, 1)

    if mistake == "losses read before the steps":
        problem = read_before(problem)
    spread = {"sigma is used as a variance": sigma**0.5}.get(mistake, sigma)

    def begin(theta, key):
        return jax.vmap(lambda moved: problem.init(moved, jax.random.fold_in(key, 0)))(theta)

    def init(theta, key):
        keys = jax.random.split(key, num_pairs)
        states = jax.vmap(lambda key: begin(jnp.stack([theta, theta]), key))(keys)
        return states, jnp.zeros((num_pairs, *theta.shape)), jax.random.key_data(keys), jnp.zeros((), jnp.int32)

    def estimate(theta, state, key):
        clock = state[3] % windows
        keys = jax.random.split(key, num_pairs)
        draw = jnp.broadcast_to(key, (num_pairs,)) if mistake == "noise shared between particles" else keys
        one = lambda *pair: estimate_pair(theta, clock, state[3] < windows, *pair)
        gradients, states, accumulated, episodes = jax.vmap(one)(*state[:3], draw, keys)
        return jnp.mean(gradients, axis=0), (states, accumulated, episodes, state[3] + 1), {}

    def estimate_pair(theta, clock, first, states, accumulated, episode, draw, key):
        noise = spread * direction(draw, theta.shape, mistake)
        moved = jnp.stack([theta + noise, theta if mistake == "one-sided noise" else theta - noise])
        new = clock == 0
        fresh = jax.random.fold_in(jax.random.wrap_key_data(episode), 17)
        own = jnp.where(new, jax.random.key_data(fresh), episode)
        begun = jnp.broadcast_to(theta, moved.shape) if mistake == "start at the unperturbed theta" else moved
        start = begin(begun, jax.random.wrap_key_data(own))
        restart = new & first if mistake == "state kept over the reset" else new
        states = jax.tree.map(lambda a, b: jnp.where(restart, a, b), start, states)
        kept = jnp.where(new & (mistake != "noise kept over the reset"), 0.0, accumulated)
        steps = jax.random.fold_in(jax.random.wrap_key_data(own), 1)
        members = jax.random.split(steps) if mistake.startswith("noise of the map") else jnp.stack([steps, steps])
        used = problem
        if mistake == "loss at the unperturbed theta":
            used = problem._replace(loss=lambda state, _, key: problem.loss(state, theta, key))
        run = lambda state, theta, key: ml.unroll(used, state, theta, key, length, start=clock * length)
        after, losses = jax.vmap(run)(states, moved, members)
        if mistake == "truncated ES":
            still = begin(theta[None], jax.random.wrap_key_data(own))
            still = jax.tree.map(lambda a, b: jnp.where(new, a[0], b[0]), still, states)
            middle = run(still, theta, steps)[0]
            after = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), middle)
        if mistake == "last loss for the mean of the losses":
            losses = losses.at[:, :-1].set(0) * jnp.where(clock == windows - 1, length * windows, 0)
        slope = factor * jnp.mean(losses[0] - losses[1]) / (2 * spread**2)
        return slope * credit(kept, noise, clock == windows - 1), after, kept + noise, own

    def credit(kept, noise, last):
        if mistake in ("no accumulator", "truncated ES"):
            return noise
        if mistake == "newest noise not credited":
            return kept
        share = {
            "last loss credited to the newest window": 1,
            "part of the last window credited to the newest window": 1 / length,
        }
        return jnp.where(last, 1 - share.get(mistake, 0), 1) * kept + noise

    return init, estimate


def direction(key, shape, mistake):
    """Return a perturbation of unit variance, or with the mistake of this name."""
    normal = jax.random.normal(key, shape)
    if mistake == "perturbations of signs (Rademacher)":
        return jnp.sign(normal)
    if mistake in ("perturbations on a sphere", "perturbations of length sigma"):
        return normal / jnp.linalg.norm(normal) * (normal.size**0.5 if mistake.endswith("sphere") else 1)
    return normal


def read_before(problem):
    """Return the problem whose losses are read at the state before the step."""
    return problem._replace(
        init=lambda theta, key: (problem.init(theta, key),) * 2,
        step=lambda state, theta, key: (state[1], problem.step(state[1], theta, key)),
        loss=lambda state, theta, key: problem.loss(state[0], theta, key),
    )
