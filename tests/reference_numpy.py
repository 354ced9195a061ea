"""Naive implementations of all gradient estimators as NumPy loops, and the closed forms for tests.

No function draws random numbers. Noise, directions, signs and cuts are arguments, so that a result can be compared with
that of the library digit by digit. States are vectors s ∈ R^S, θ ∈ R^d. Step t leads from s_t to s_{t+1}, t = 0 … T −
1; the loss of index t is read at s_t, t = 1 … T. Window w holds the steps wW … (w+1)W − 1 and the losses at the states
they lead to. An estimator returns the list of its window estimates, each with the mean over the window's losses, so
that their average is the gradient of the mean objective. ES noise ε contains its σ: ε ~ N(0, σ² I).
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Array = np.ndarray


def missing(*arguments):
    raise NotImplementedError("This estimator differentiates; give the problem its four Jacobians.")


class Problem(NamedTuple):
    """An inner problem. Methods that differentiate need the Jacobians, and that of the start if it depends on θ.

    Attributes:
      start: `θ -> s_0 [S]`.
      step: `(s, θ, t) -> s [S]`.
      loss: `(s, θ, t) -> scalar`.
      step_by_state: ∂F/∂s, `(s, θ, t) -> [S, S]`.
      step_by_theta: ∂F/∂θ, `(s, θ, t) -> [S, d]`.
      loss_by_state: ∂ℓ/∂s, `(s, θ, t) -> [S]`.
      loss_by_theta: ∂ℓ/∂θ, `(s, θ, t) -> [d]`.
      start_by_theta: ∂s_0/∂θ, `θ -> [S, d]`.
    """

    start: Callable
    step: Callable
    loss: Callable
    step_by_state: Callable = missing
    step_by_theta: Callable = missing
    loss_by_state: Callable = missing
    loss_by_theta: Callable = missing
    start_by_theta: Callable | None = None


class Window(NamedTuple):
    """One window as a function of its first state and θ: its results, and their exact derivatives."""

    loss: float
    state: Array
    loss_by_state: Array
    loss_by_theta: Array
    state_by_state: Array
    state_by_theta: Array


def unroll(problem: Problem, state: Array, theta: Array, first: int, length: int) -> tuple[float, Array]:
    """Return the mean loss and the last state of `length` steps from index `first`."""
    total = 0.0
    for t in range(first, first + length):
        state = problem.step(state, theta, t)
        total += problem.loss(state, theta, t + 1)
    return total / length, state


def differentiate(problem: Problem, state: Array, theta: Array, first: int, length: int) -> Window:
    """Differentiate a window by products of Jacobians. In the first window of an episode, θ also acts through s_0."""
    size, by_state = len(state), np.eye(len(state))
    by_theta = np.zeros((size, len(theta)))
    if first == 0 and problem.start_by_theta is not None:
        by_theta = problem.start_by_theta(theta)
    loss, loss_by_state, loss_by_theta = 0.0, np.zeros(size), np.zeros(len(theta))
    for t in range(first, first + length):
        jacobian = problem.step_by_state(state, theta, t)
        by_state, by_theta = jacobian @ by_state, jacobian @ by_theta + problem.step_by_theta(state, theta, t)
        state = problem.step(state, theta, t)
        slope = problem.loss_by_state(state, theta, t + 1)
        loss += problem.loss(state, theta, t + 1) / length
        loss_by_state = loss_by_state + slope @ by_state / length
        loss_by_theta = loss_by_theta + (slope @ by_theta + problem.loss_by_theta(state, theta, t + 1)) / length
    return Window(loss, state, loss_by_state, loss_by_theta, by_state, by_theta)


def windows(problem: Problem, theta: Array, horizon: int, length: int) -> list[Window]:
    """Return the windows of the unperturbed episode."""
    state, found = problem.start(theta), []
    for first in range(0, horizon, length):
        found.append(differentiate(problem, state, theta, first, length))
        state = found[-1].state
    return found


def full_backprop(problem, theta, horizon) -> list[Array]:
    """BPTT: δ_t = ∂ℓ_t/∂s_t + δ_{t+1} F_s, g = (1/T) Σ_t (δ_{t+1} F_θ + ∂ℓ_t/∂θ), backwards over the whole episode."""
    return artbp(problem, theta, horizon, cuts=[False] * horizon, cut_probability=0.0)


def truncated_backprop(problem, theta, horizon, length) -> list[Array]:
    """TBPTT: ∂L_w/∂θ with the window's first state held fixed."""
    return [window.loss_by_theta for window in windows(problem, theta, horizon, length)]


def forward_mode(problem, theta, horizon, length) -> list[Array]:
    """RTRL: J ← F_s J + F_θ, g_w = ∂L_w/∂s J + ∂L_w/∂θ with the J at the start of the window."""
    influence, found = np.zeros((len(problem.start(theta)), len(theta))), []
    for window in windows(problem, theta, horizon, length):
        found.append(window.loss_by_state @ influence + window.loss_by_theta)
        influence = window.state_by_state @ influence + window.state_by_theta
    return found


def forward_gradient(problem, theta, horizon, length, directions, period=None) -> list[Array]:
    """DODGE: g_w = ξ_w ∂L_w(along the directions so far); one direction per `period` steps, one per episode by default.

    With period = T it is the limit of NRES for σ → 0, with period = W that of PES.
    """
    tangent, found = np.zeros(len(problem.start(theta))), []
    for index, window in enumerate(windows(problem, theta, horizon, length)):
        block = index * length // (period or horizon)
        direction, total = directions[block], np.sum(directions[: block + 1], axis=0)
        found.append((window.loss_by_state @ tangent + window.loss_by_theta @ direction) * total)
        tangent = window.state_by_state @ tangent + window.state_by_theta @ direction
    return found


def uoro(problem, theta, horizon, length, signs) -> list[Array]:
    """UORO: J ≈ s̃ θ̃ᵀ, one rank-one update per window with the signs `[n, S]` of that window.

    g_w = (∂L_w/∂s · s̃) θ̃ + ∂L_w/∂θ; then s̃ ← ρ0 F_s s̃ + ρ1 ν, θ̃ ← θ̃/ρ0 + (νᵀF_θ)/ρ1 with ρ0 = √(‖θ̃‖/‖F_s s̃‖),
    ρ1 = √(‖νᵀF_θ‖/‖ν‖), or 1 where a norm is zero.
    """
    left, right, found = np.zeros(len(problem.start(theta))), np.zeros(len(theta)), []
    for window, sign in zip(windows(problem, theta, horizon, length), signs, strict=True):
        found.append((window.loss_by_state @ left) * right + window.loss_by_theta)
        pushed, injected = window.state_by_state @ left, sign @ window.state_by_theta
        old, new = _balance(right, pushed), _balance(injected, sign)
        left, right = old * pushed + new * sign, right / old + injected / new
    return found


def _balance(a: Array, b: Array) -> float:
    size_a, size_b = np.linalg.norm(a), np.linalg.norm(b)
    return np.sqrt(size_a / size_b) if size_a > 0 and size_b > 0 else 1.0


def artbp(problem, theta, horizon, cuts, cut_probability, reweight=True) -> list[Array]:
    """ARTBP: where `cuts[t]` no derivative passes from s_{t+1} to s_t; elsewhere it is divided by 1 − c.

    δ_t = ∂ℓ_t/∂s_t + (0 or 1/(1 − c)) δ_{t+1} F_s, backwards over the whole episode; F_θ is never reweighted.
    """
    states = [problem.start(theta)]
    for t in range(horizon):
        states.append(problem.step(states[-1], theta, t))
    weight = 1 / (1 - cut_probability) if reweight else 1.0
    flow, gradient = np.zeros(len(states[0])), np.zeros(len(theta))
    for t in reversed(range(horizon)):
        flow = flow + problem.loss_by_state(states[t + 1], theta, t + 1)
        gradient = gradient + problem.loss_by_theta(states[t + 1], theta, t + 1)
        gradient = gradient + flow @ problem.step_by_theta(states[t], theta, t)
        flow = np.zeros_like(flow) if cuts[t] else weight * flow @ problem.step_by_state(states[t], theta, t)
    if problem.start_by_theta is not None:
        gradient = gradient + flow @ problem.start_by_theta(theta)
    return [gradient / horizon]


def one_sided_es(problem, theta, horizon, noise, sigma) -> list[Array]:
    """Full ES with one particle: ε L(θ + ε) / σ²."""
    return [noise * unroll(problem, problem.start(theta + noise), theta + noise, 0, horizon)[0] / sigma**2]


def full_es(problem, theta, horizon, noise, sigma) -> list[Array]:
    """Full ES with one pair: ε (L(θ + ε) − L(θ − ε)) / (2σ²)."""
    return noise_reuse_es(problem, theta, horizon, horizon, noise, sigma)


def truncated_es(problem, theta, horizon, length, noises, sigma) -> list[Array]:
    """Truncated ES on L_w from the unperturbed state, which then advances with θ; `noises`: an ε per window, `[n, d]`."""
    state, found = problem.start(theta), []
    for first, noise in zip(range(0, horizon, length), noises, strict=True):
        losses = []
        for moved in (theta + noise, theta - noise):
            beginning = problem.start(moved) if first == 0 else state
            losses.append(unroll(problem, beginning, moved, first, length)[0])
        found.append(noise * (losses[0] - losses[1]) / (2 * sigma**2))
        state = unroll(problem, state, theta, first, length)[1]
    return found


def generalized_persistent_es(problem, theta, horizon, length, noises, period, sigma) -> list[Array]:
    """GPES_K: ξ (L_w⁺ − L_w⁻) / (2σ²), with a new ε every K = `period` steps, and ξ their sum so far.

    States persist.
    """
    plus, minus, found = problem.start(theta + noises[0]), problem.start(theta - noises[0]), []
    for first in range(0, horizon, length):
        block = first // period
        noise, total = noises[block], np.sum(noises[: block + 1], axis=0)
        loss_plus, plus = unroll(problem, plus, theta + noise, first, length)
        loss_minus, minus = unroll(problem, minus, theta - noise, first, length)
        found.append(total * (loss_plus - loss_minus) / (2 * sigma**2))
    return found


def persistent_es(problem, theta, horizon, length, noises, sigma) -> list[Array]:
    """PES: `noises` has one ε per window, `[n, d]`."""
    return generalized_persistent_es(problem, theta, horizon, length, noises, length, sigma)


def noise_reuse_es(problem, theta, horizon, length, noise, sigma) -> list[Array]:
    """NRES: one ε `[d]` for the episode."""
    return generalized_persistent_es(problem, theta, horizon, length, [noise], horizon, sigma)


# --- Problems with closed forms ---


def linear_quadratic(a, b, start, target) -> Problem:
    """A: s ← a s + b θ, ℓ = ½ (s − y)²; S = d = 1."""
    return Problem(
        start=lambda theta: np.array([start]),
        step=lambda s, theta, t: a * s + b * theta,
        loss=lambda s, theta, t: 0.5 * np.sum((s - target) ** 2),
        step_by_state=lambda s, theta, t: np.array([[a]]),
        step_by_theta=lambda s, theta, t: np.array([[b]]),
        loss_by_state=lambda s, theta, t: s - target,
        loss_by_theta=lambda s, theta, t: np.zeros(1),
    )


def phase_walk(omega) -> Problem:
    """C: s ← s + θ, ℓ = sin(ω s); S = d = 1."""
    return Problem(
        start=lambda theta: np.zeros(1),
        step=lambda s, theta, t: s + theta,
        loss=lambda s, theta, t: np.sin(omega * s[0]),
        step_by_state=lambda s, theta, t: np.eye(1),
        step_by_theta=lambda s, theta, t: np.eye(1),
        loss_by_state=lambda s, theta, t: omega * np.cos(omega * s),
        loss_by_theta=lambda s, theta, t: np.zeros(1),
    )


# --- Closed forms ---


def linear_quadratic_gradients(a, b, start, target, theta, horizon, length) -> tuple[Array, Array]:
    """A: the expected window estimates `[n]` of the unbiased and of the truncated methods, which hold for every σ."""
    t = np.arange(1, horizon + 1)
    state = a**t * start + theta * b * (1 - a**t) / (1 - a)
    influence = lambda h: b * (1 - a**h) / (1 - a)
    per_step = (state - target) * influence(t), (state - target) * influence((t - 1) % length + 1)
    unbiased, truncated = [values.reshape(-1, length).mean(axis=1) for values in per_step]
    return unbiased, truncated


def influence_terms(n, p, count) -> Array:
    """B: a_h = ds¹_h/dθ for h = 1 … count, which are the sums of the first h influence terms of influence balancing."""
    matrix, push = 0.5 * (np.eye(n) + np.eye(n, k=1)), np.where(np.arange(n) < p, 1.0, -1.0)
    influence, found = np.zeros(n), []
    for _ in range(count):
        influence = matrix @ influence + push
        found.append(influence[0])
    return np.array(found)


def phase_walk_noise(horizon, length, period=None) -> tuple[Array, Array]:
    """C: the weights `[T, blocks]` of unit noise in the accumulator ξ_t and in the displacement η_t of s_t.

    With a period K it is GPES_K: noise is kept for K steps, states persist (K = W: PES, K = T: NRES and full ES).
    Without one it is truncated ES: fresh noise every window, from the unperturbed state.
    """
    t = np.arange(1, horizon + 1)
    block = ((t - 1) // length * length) // (period or length)
    same = block[:, None] == np.arange(block[-1] + 1)[None, :]
    if period is None:
        return same.astype(float), same * ((t - 1) % length + 1)[:, None]
    return (block[:, None] >= np.arange(block[-1] + 1)[None, :]).astype(float), np.cumsum(same, axis=0).astype(float)


def phase_walk_gradients(omega, theta, sigma, accumulator, displacement, length) -> Array:
    """C: the expected window estimates `[n]`: the mean of ω c_t e^{−ω²σ²v_t/2} cos(ωtθ), c = ξ·η, v = |η|²."""
    t = np.arange(1, len(accumulator) + 1)
    c, v = np.sum(accumulator * displacement, axis=1), np.sum(displacement**2, axis=1)
    terms = omega * c * np.exp(-(omega**2) * sigma**2 * v / 2) * np.cos(omega * t * theta)
    return terms.reshape(-1, length).mean(axis=1)


def phase_walk_variance(omega, theta, sigma, accumulator, displacement) -> float:
    """C: the variance of one pair's episode mean (times T² for the sum), exact.

    The estimate is (1/(Tσ²)) Σ_t ξ_t cos(ωtθ) sin(ωη_t). Its square needs, for jointly normal X, Y, Z of mean zero,
    E[X Y cos Z] = (Cov(X, Y) − Cov(X, Z) Cov(Y, Z)) e^{−Var Z/2}, with X, Y = ξ_t, ξ_u and Z = ω (η_t ∓ η_u).
    """
    horizon = len(accumulator)
    weights = np.cos(omega * np.arange(1, horizon + 1) * theta) / (horizon * sigma**2)
    xi, eta = sigma * accumulator, omega * sigma * displacement

    def moment(t, u, sign):
        z = eta[t] + sign * eta[u]
        return (xi[t] @ xi[u] - (xi[t] @ z) * (xi[u] @ z)) * np.exp(-z @ z / 2)

    pairs = itertools.product(range(horizon), repeat=2)
    second = sum(weights[t] * weights[u] * (moment(t, u, -1) - moment(t, u, 1)) / 2 for t, u in pairs)
    return float(second - np.mean(phase_walk_gradients(omega, theta, sigma, accumulator, displacement, 1)) ** 2)


def linear_variance(gradients, blocks) -> tuple[Array, float, Array]:
    """D: the mean and tr Cov of one pair's episode sum, and E‖g_t‖² per window, for losses linear in the copies of θ.

    Args:
      gradients: g_{t,τ} as nested lists: for each window t the vectors `[d]` for τ = 0 … t.
      blocks: b(t), the noise block of each window, from 0 and not decreasing.
    """
    count, size = max(blocks) + 1, len(gradients[0][0])
    by_block = np.zeros((len(gradients), count, size))
    for t, row in enumerate(gradients):
        for tau, value in enumerate(row):
            by_block[t, blocks[tau]] += value
    m = np.zeros((count, count, size))
    for t, i, j in itertools.product(range(len(gradients)), range(count), range(count)):
        if blocks[t] >= max(i, j):
            m[i, j] += by_block[t, j]
    trace = size * np.sum(m**2) + np.einsum("ijk,jik->", m, m)
    sizes, sums = np.sum(by_block**2, axis=(1, 2)), np.sum(by_block.sum(axis=1) ** 2, axis=1)
    squares = size * (np.array(blocks) + 1) * sizes + 2 * sums
    return np.einsum("iik->k", m), trace, squares


def one_sided_and_antithetic_variance(slope, offset, sigma) -> tuple[float, float]:
    """E: tr Cov of ε L(θ+ε)/σ² and of ε (L(θ+ε) − L(θ−ε))/(2σ²) for L(θ+ε) = L0 + p·ε."""
    antithetic = (len(slope) + 1) * np.sum(np.square(slope))
    return antithetic + len(slope) * offset**2 / sigma**2, antithetic


def sine_variances(omega, theta, sigma) -> tuple[float, float, float, float]:
    """F: for L = sin(ωθ): the mean, the variances of ∇L(θ+ε), of one ES pair, and of their optimal combination."""
    mean = omega * np.cos(omega * theta) * np.exp(-(omega**2) * sigma**2 / 2)
    damping = np.exp(-2 * omega**2 * sigma**2)
    reparametrised = omega**2 * (1 + np.cos(2 * omega * theta) * damping) / 2 - mean**2
    second = np.cos(omega * theta) ** 2 * (1 - (1 - 4 * omega**2 * sigma**2) * damping) / (2 * sigma**2)
    pair = second - mean**2
    return mean, reparametrised, pair, 1 / (1 / reparametrised + 1 / pair)


def artbp_expectation(problem, theta, horizon, cut_probability, reweight=True) -> Array:
    """G: the mean of ARTBP over all 2^T patterns of cuts."""
    total = np.zeros(len(theta))
    for cuts in itertools.product((False, True), repeat=horizon):
        probability = np.prod(np.where(cuts, cut_probability, 1 - cut_probability))
        total = total + probability * artbp(problem, theta, horizon, cuts, cut_probability, reweight)[0]
    return total
