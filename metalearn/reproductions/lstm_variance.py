"""Variance of persistent ES against the number of windows, on an LSTM.

Vicol, Metz & Sohl-Dickstein 2021 (arXiv 2112.13835); Li et al. 2023 (arXiv 2304.12180).

θ are the d = 460 weights of a character LSTM, the inner state is its memory, the loss is that of the next character. T
= 256, σ = 1e-3, and θ is fixed. The result is the total variance of one pair's episode mean, in units of ‖∇L‖². The
published curves are of another text, a larger network and T = 1000. Therefore the estimates are compared with a closed
form (`predicted`) of the exact Jacobians of the windows for each kind of text. Some values do not depend on the text:
d + 1 for one window or for noise reuse, and d (n + 1) / 2n + 1 / n for repeated text, whose n windows have the same
gradient and depend little on earlier windows.
"""

import functools
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from metalearn.compilation import jit
from metalearn.estimators import noise_reuse_es, persistent_es
from metalearn.figures import save_style
from metalearn.inner.checks import check_choice, check_count
from metalearn.inner.problem import InnerProblem
from metalearn.inner.unroll import Truncation, unroll
from metalearn.landscape import Axis, plane_through, random_directions
from metalearn.outer import Study
from metalearn.reproductions.measurements import episode_means
from metalearn.reproductions.result import NOT_FOUND, Picture, Result

HIDDEN, CHARACTERS, HORIZON, SIGMA = 4, 19, 256, 1e-3
WINDOWS = (1, 2, 4, 8, 16, 32)
NUM_PAIRS = 2000
EXPECTED = 461  # d + 1
REPEATED = tuple((EXPECTED - 1) * (n + 1) / (2 * n) + 1 / n for n in WINDOWS)
PUBLISHED = f"{NOT_FOUND}: curves (plot_variance_combined.py)"
TOLERANCE = 0.08  # for 2000 pairs
KINDS = ("random", "repeated", "markov")


def weights(key):
    into, back, out = jax.random.split(key, 3)
    return {
        "in": jax.random.normal(into, (4 * HIDDEN, CHARACTERS)),
        "back": jax.random.normal(back, (4 * HIDDEN, HIDDEN)),
        "bias": jnp.zeros(4 * HIDDEN),
        "out": jax.random.normal(out, (CHARACTERS, HIDDEN)),
    }


def language_model(text, unravel):
    """Build the problem: one inner step reads one character; ℓ = −log p(next character)."""
    text = jnp.asarray(text)

    def init(theta, key):
        return jnp.zeros(HIDDEN), jnp.zeros(HIDDEN), jnp.zeros((), jnp.int32)

    def step(state, theta, key):
        output, cell, clock = state
        parts = unravel(theta)
        gates = parts["in"][:, text[clock]] + parts["back"] @ output + parts["bias"]
        enter, forget, value, leave = jnp.split(gates, 4)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(enter) * jnp.tanh(value)
        return jax.nn.sigmoid(leave) * jnp.tanh(cell), cell, clock + 1

    def loss(state, theta, key):
        output, _, clock = state
        return -jax.nn.log_softmax(unravel(theta)["out"] @ output)[text[clock]]

    return InnerProblem(init, step, loss)


def make_text(kind, seed=3, horizon=HORIZON):
    check_choice("kind", kind, KINDS)
    random = np.random.default_rng(seed)
    if kind == "random":
        return random.integers(0, CHARACTERS, horizon + 1)
    if kind == "repeated":
        return np.tile(random.integers(0, CHARACTERS, 8), horizon // 8 + 1)[: horizon + 1]
    follower, text = random.permutation(CHARACTERS), [np.int64(0)]
    for _ in range(horizon):
        text.append(follower[text[-1]] if random.random() < 0.85 else random.integers(CHARACTERS))
    return np.array(text)


def study(num_steps: int = HORIZON, kind: str = "markov") -> Study:
    """Return the LSTM on a text of `num_steps` characters, along two filter-normalised directions of its weights."""
    check_count("num_steps", num_steps)
    start = weights(jax.random.key(1))
    theta, unravel = ravel_pytree(start)
    directions = [ravel_pytree(one)[0] for one in random_directions(start, jax.random.key(2))]
    plane = plane_through(
        theta, Axis("first random direction", -1, 1), Axis("second random direction", -1, 1), *directions
    )
    problem = language_model(make_text(kind, horizon=num_steps), unravel)
    return Study(problem, theta, num_steps, sigma=0.01, plane=plane, plane_sigma=0.1, repeat_randomness=True)


def window_jacobian(problem, theta, num_windows):
    """Compute g[t, τ] = ∂L_t/∂θ_τ for windows t, τ, where L = Σ_t L_t is the mean objective: `[n, n, d]`."""
    length, key = HORIZON // num_windows, jax.random.key(0)

    def window_losses(copies):
        def body(state, theta):
            state, losses = unroll(problem, state, theta, key, length)
            return state, jnp.sum(losses) / HORIZON

        return jax.lax.scan(body, problem.init(copies[0], key), copies)[1]

    jacobian = jit(jax.jacrev(window_losses), "Jacobians of windows", calls=1)
    return np.asarray(jacobian(jnp.tile(theta[None], (num_windows, 1))))


def closed_form_d(g):
    """Compute tr Cov / ‖∇L‖² of one pair of persistent ES, (d Σ_ij ‖m_ij‖² + Σ_ij m_ij·m_ji) / ‖Σ_i m_ii‖²."""
    later = np.cumsum(g[::-1], axis=0)[::-1]
    n, _, d = g.shape
    m = np.array([[later[max(i, j), j] for j in range(n)] for i in range(n)])
    gradient = np.einsum("iid->d", m)
    return (d * np.sum(m**2) + np.einsum("ijd,jid->", m, m)) / np.sum(gradient**2)


def measured(make, problem, theta, num_windows):
    """Measure the variance of one pair's episode mean, summed over parameters."""
    estimator = make(problem, Truncation(HORIZON, HORIZON // num_windows), sigma=SIGMA, num_pairs=1)
    keys = jax.random.split(jax.random.key(5), NUM_PAIRS)
    estimates = episode_means(estimator, keys, num_windows, batch_size=500)(theta)
    return np.sum(np.var(estimates, axis=0, ddof=1))


@functools.cache
def setting(kind):
    """Return the problem, θ, the Jacobian of its windows of 8 steps, and ‖∇L‖²."""
    theta, unravel = ravel_pytree(weights(jax.random.key(1)))
    assert theta.size + 1 == EXPECTED
    problem = language_model(make_text(kind), unravel)
    finest = window_jacobian(problem, theta, WINDOWS[-1])
    return problem, theta, finest, np.sum(np.sum(finest, axis=(0, 1)) ** 2)


@functools.cache
def curve(kind):
    """Measure the variance of persistent ES in units of ‖∇L‖² for every number of windows."""
    problem, theta, _, square = setting(kind)
    return np.array([measured(persistent_es, problem, theta, n) / square for n in WINDOWS])


def predicted(kind):
    """Predict the same from the exact Jacobians of the windows."""
    finest = setting(kind)[2]
    shapes = [(n, WINDOWS[-1] // n, n, WINDOWS[-1] // n, -1) for n in WINDOWS]
    return np.array([closed_form_d(finest.reshape(shape).sum(axis=(1, 3))) for shape in shapes])


def picture() -> Picture:
    """Draw the variance against the number of windows: dots are measured, lines are the closed form."""
    from matplotlib.figure import Figure

    with save_style():
        figure = Figure(figsize=(6.5, 4.2))
        axes = figure.subplots()
        for kind in KINDS:
            (line,) = axes.plot(WINDOWS, predicted(kind), label=f"{kind} text")
            axes.plot(WINDOWS, curve(kind), "o", color=line.get_color())
        axes.axhline(EXPECTED, color="0.4", linestyle="--", label="noise reuse: d + 1")
        axes.set(
            xscale="log", yscale="log", xlabel="windows in an episode of 256 steps", ylabel="variance of a pair / ‖∇L‖²"
        )
        axes.set_xticks(WINDOWS, [str(n) for n in WINDOWS])
        axes.set_yticks([200, 500, 1000, 2000, 5000], ["200", "500", "1000", "2000", "5000"])
        axes.minorticks_off()
        axes.set_title("Persistent ES on an LSTM: dots measured, lines in closed form")
        axes.legend()
        return Picture("lstm_variance", figure)


def results() -> Iterator[Result | Picture]:
    """Yield variances in units of ‖∇L‖², one value for each setting."""
    for kind, expected in (
        ("repeated", REPEATED),
        ("random", predicted("random")),
        ("markov", predicted("markov")),
    ):
        began = time.perf_counter()
        found = curve(kind)
        for n, value, middle in zip(WINDOWS, found, expected):
            band = (1 - TOLERANCE) * middle, (1 + TOLERANCE) * middle
            seconds = time.perf_counter() - began if n == 1 else 0.0
            yield Result("LSTM variance", f"PES, {kind} text, {n} windows", *band, (float(value),), seconds, PUBLISHED)
    problem, theta, _, square = setting("random")
    for n in (1, 32):
        began = time.perf_counter()
        value = measured(noise_reuse_es, problem, theta, n) / square
        band = (1 - TOLERANCE) * EXPECTED, (1 + TOLERANCE) * EXPECTED
        spent = time.perf_counter() - began
        yield Result("LSTM variance", f"NRES, random text, {n} windows", *band, (float(value),), spent, PUBLISHED)
    yield picture()
