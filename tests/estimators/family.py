"""All estimators by name, with small settings, for the tests of the contract and of the identities."""

import jax
import jax.numpy as jnp

from metalearn.estimators import (
    artbp,
    backprop,
    clip_gradient,
    combine,
    evolution_strategies,
    forward_gradient,
    forward_mode,
    generalized_persistent_es,
    noise_reuse_es,
    normalise_gradient,
    persistent_es,
    uoro,
)
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation

ES = {"sigma": 0.1, "num_pairs": 6}

WINDOWED = {
    "backprop": lambda p, t, **k: backprop(p, t, num_particles=6, **k),
    "backprop_rematerialised": lambda p, t, **k: backprop(p, t, num_particles=6, rematerialise=True, **k),
    "backprop_perturbed_clipped": lambda p, t, **k: backprop(p, t, num_particles=6, sigma=0.1, clip_norm=0.5, **k),
    "forward_mode": lambda p, t, **k: forward_mode(p, t, num_particles=6, **k),
    "forward_gradient": lambda p, t, **k: forward_gradient(p, t, num_directions=6, **k),
    "uoro": lambda p, t, **k: uoro(p, t, num_particles=6, **k),
    "evolution_strategies": lambda p, t, **k: evolution_strategies(p, t, **ES, **k),
    "evolution_strategies_one_sided": lambda p, t, **k: evolution_strategies(p, t, **ES, antithetic=False, **k),
    "persistent_es": lambda p, t, **k: persistent_es(p, t, **ES, **k),
    "noise_reuse_es": lambda p, t, **k: noise_reuse_es(p, t, **ES, **k),
    "generalized_persistent_es": lambda p, t, **k: generalized_persistent_es(
        p, t, noise_period=2 * t.length, **ES, **k
    ),
    "combine": lambda p, t, **k: combine(
        [evolution_strategies(p, t, **ES, **k), backprop(p, t, num_particles=4, sigma=0.1, **k)], by="inverse_variance"
    ),
    "clip_gradient": lambda p, t, **k: clip_gradient(persistent_es(p, t, **ES, **k), 0.3),
    "normalise_gradient": lambda p, t, **k: normalise_gradient(persistent_es(p, t, **ES, **k)),
}
WHOLE = {
    "artbp": lambda p, t, **k: artbp(
        p, Truncation(t.horizon, t.horizon, key=t.key), cut_probability=0.3, num_particles=6, **k
    )
}
EVERY = WINDOWED | WHOLE


def noisy_map() -> InnerProblem:
    """A stochastic nonlinear map: θ and state are pytrees, the start depends on θ, the state holds an integer."""

    def init(theta, key):
        return {"x": theta["scale"] * jax.random.normal(key, (2,)), "count": jnp.zeros((), jnp.int32)}

    def step(state, theta, key):
        noise = 0.1 * jax.random.normal(key, (2,))
        decay = 0.9 ** state["count"].astype(theta["rates"].dtype)
        x = jnp.tanh(0.8 * state["x"] + decay * theta["rates"] + noise)
        return {"x": x.astype(state["x"].dtype), "count": state["count"] + 1}

    def loss(state, theta, key):
        return jnp.mean((state["x"] - 0.3 + 0.1 * jax.random.normal(key, (2,))) ** 2)

    return InnerProblem(init, step, loss)


THETA = {"rates": jnp.array([0.2, -0.5], jnp.float32), "scale": jnp.array(0.7, jnp.float32)}
