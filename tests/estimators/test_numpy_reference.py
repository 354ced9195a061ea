"""Each estimator against a naive NumPy implementation with the same noise, digit by digit, over two episodes.

A probe reads the draws of a method in a window. It uses the same driver with the same keys.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metalearn import trees
from metalearn.estimators import (
    artbp,
    backprop,
    evolution_strategies,
    forward_gradient,
    forward_mode,
    generalized_persistent_es,
    noise_reuse_es,
    persistent_es,
    uoro,
)
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation
from tests import reference_numpy as ref
from tests.estimators.sampling import normal, probe, quick
from tests.test_reference_numpy import THETA, small_network

HORIZON, LENGTH, SIGMA, PARTICLES, EPISODES = 6, 2, 0.4, 3, 2
CUTS, WHOLE = Truncation(HORIZON, LENGTH), Truncation(HORIZON, HORIZON)
NOISY = {"sigma": SIGMA, "num_pairs": PARTICLES}
REFERENCE = small_network()

pytestmark = pytest.mark.usefixtures("float64")


def network() -> InnerProblem:
    """`small_network` in JAX: S = 3, d = 2, a start that depends on θ, and a step counter in the state."""
    rng = np.random.default_rng(0)
    inner, outer, read = rng.normal(size=(3, 3)), rng.normal(size=(3, 2)), rng.normal(size=3)

    def init(theta, key):
        return {"s": jnp.array([theta[0], 0.5, theta[0] * theta[1]]), "t": jnp.zeros((), jnp.int32)}

    def step(state, theta, key):
        return {"s": jnp.tanh(inner @ state["s"] + outer @ theta + 0.1 * state["t"]), "t": state["t"] + 1}

    def loss(state, theta, key):
        return jnp.sin(read @ state["s"]) + state["t"] * state["s"][0] * theta[1] ** 2

    return InnerProblem(init, step, loss)


def run(estimator, truncation):
    """Return estimates `[episodes, windows, 2]`, states and metrics of two episodes. The keys are the same for all."""
    estimator, theta, found = quick(estimator), jnp.asarray(THETA), []
    state = estimator.init(theta, jax.random.key(3))
    for index in range(EPISODES * truncation.num_windows):
        gradient, state, metrics = estimator.estimate(theta, state, jax.random.key(index))
        assert gradient.dtype == jnp.float64
        found.append((np.asarray(gradient), state, metrics))
    gradients, states, metrics = zip(*found, strict=True)
    return np.reshape(gradients, (EPISODES, -1, 2)), states, metrics


def draws(truncation, draw):
    """Return what `draw(theta, key)` gave in each window: `[episodes, windows, particles, ...]`."""
    _, states, _ = run(probe(network(), truncation, PARTICLES, draw), truncation)
    return np.reshape([state.memory for state in states], (EPISODES, truncation.num_windows, PARTICLES, -1))


def signs(theta, key):
    return trees.rademacher_like(key, [jnp.zeros(3)])[0]


def agree(estimator, truncation, naive):
    """Check estimates and variances against the mean and the spread of `naive(episode, particle)` over particles."""
    found, _, metrics = run(estimator, truncation)
    expected = np.array([np.mean([naive(episode, p) for p in range(PARTICLES)], axis=0) for episode in range(EPISODES)])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
    spread = np.array(
        [np.var([naive(e, p) for p in range(PARTICLES)], axis=0, ddof=1) / PARTICLES for e in range(EPISODES)]
    )
    variances = np.reshape([m["gradient_variance"] for m in metrics], (EPISODES, -1))
    np.testing.assert_allclose(variances, spread.sum(axis=-1), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize(
    ("build", "truncation", "naive"),
    [
        (backprop, WHOLE, lambda: ref.full_backprop(REFERENCE, THETA, HORIZON)),
        (backprop, CUTS, lambda: ref.truncated_backprop(REFERENCE, THETA, HORIZON, LENGTH)),
        (forward_mode, CUTS, lambda: ref.forward_mode(REFERENCE, THETA, HORIZON, LENGTH)),
    ],
)
def test_estimators_without_noise_equal_the_numpy_reference(build, truncation, naive):
    agree(build(network(), truncation, num_particles=PARTICLES), truncation, lambda episode, particle: naive())


ES = {
    "PES": (persistent_es, CUTS, lambda e: ref.persistent_es(REFERENCE, THETA, HORIZON, LENGTH, e, SIGMA)),
    "NRES": (noise_reuse_es, CUTS, lambda e: ref.noise_reuse_es(REFERENCE, THETA, HORIZON, LENGTH, e[0], SIGMA)),
    "GPES": (
        lambda p, t, **k: generalized_persistent_es(p, t, noise_period=4, **k),
        CUTS,
        lambda e: ref.generalized_persistent_es(REFERENCE, THETA, HORIZON, LENGTH, e[::2], 4, SIGMA),
    ),
    "truncated ES": (
        evolution_strategies,
        CUTS,
        lambda e: ref.truncated_es(REFERENCE, THETA, HORIZON, LENGTH, e, SIGMA),
    ),
    "full ES": (evolution_strategies, WHOLE, lambda e: ref.full_es(REFERENCE, THETA, HORIZON, e[0], SIGMA)),
    "one-sided ES": (
        lambda p, t, **k: evolution_strategies(p, t, antithetic=False, **k),
        WHOLE,
        lambda e: ref.one_sided_es(REFERENCE, THETA, HORIZON, e[0], SIGMA),
    ),
}


@pytest.mark.parametrize("name", ES)
def test_evolution_strategies_equal_the_numpy_reference(name):
    build, truncation, naive = ES[name]
    noise = draws(truncation, normal(SIGMA))
    agree(
        build(network(), truncation, **NOISY), truncation, lambda episode, particle: naive(noise[episode, :, particle])
    )


def test_perturbed_and_clipped_backprop_equals_the_numpy_reference():
    noise = draws(WHOLE, normal(SIGMA))

    def naive(episode, particle):
        gradient = ref.full_backprop(REFERENCE, THETA + noise[episode, 0, particle], HORIZON)[0]
        return [gradient * min(1, 0.8 / np.linalg.norm(gradient))]

    agree(backprop(network(), WHOLE, num_particles=PARTICLES, sigma=SIGMA, clip_norm=0.8), WHOLE, naive)


def test_forward_gradient_equals_the_numpy_reference():
    directions = draws(CUTS, normal(1.0))

    def naive(episode, particle):
        return ref.forward_gradient(REFERENCE, THETA, HORIZON, LENGTH, directions[episode, :1, particle])

    agree(forward_gradient(network(), CUTS, num_directions=PARTICLES), CUTS, naive)


def test_uoro_equals_the_numpy_reference():
    drawn = draws(CUTS, signs)
    naive = lambda episode, particle: ref.uoro(REFERENCE, THETA, HORIZON, LENGTH, drawn[episode, :, particle])
    agree(uoro(network(), CUTS, num_particles=PARTICLES), CUTS, naive)


def test_artbp_equals_the_numpy_reference():
    """The cuts are inferred from a problem with the same keys in which θ_t enters step t only.

    With F_t = T ∂L/∂θ_t and the weight w_t on the way into step t, F_t = 1 + w_{t+1} F_{t+1}; and ∂L/∂θ_T = w_0 F_0 /
    T.
    """
    counter = InnerProblem(
        init=lambda theta, key: (theta[HORIZON], jnp.zeros((), jnp.int32)),
        step=lambda state, theta, key: (state[0] + theta[state[1]], state[1] + 1),
        loss=lambda state, theta, key: state[0],
    )
    estimators = [quick(artbp(problem, WHOLE, cut_probability=0.3)) for problem in (counter, network())]
    thetas = [jnp.zeros(HORIZON + 1), jnp.asarray(THETA)]
    states, every = [e.init(t, jax.random.key(3)) for e, t in zip(estimators, thetas, strict=True)], []
    for index in range(8):
        flow, found = (
            np.asarray(e.estimate(t, s, jax.random.key(index))[0])
            for e, t, s in zip(estimators, thetas, states, strict=True)
        )
        cuts = [bool(flow[HORIZON] == 0), *(bool(abs(HORIZON * f - 1) < 1e-9) for f in flow[: HORIZON - 1])]
        (expected,) = ref.artbp(REFERENCE, THETA, HORIZON, cuts, 0.3)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)
        every.append(cuts)
    assert len(np.unique(every, axis=0)) > 4
    assert 0 < np.mean(every) < 0.6
