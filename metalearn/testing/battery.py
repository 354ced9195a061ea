"""Problems with closed forms on which the usual mistakes of gradient estimators have different means.

All but one are members of one family, a linear map whose losses are sines or squares of a component:

    x_t = A x_{t−1} + p v·θ + noise,   ℓ_t = α sin(ω r_t) + β (r_t − y)²/2,   r_t = x_t¹ + q v·θ,   t = 1 … T.

r is linear in the copies of θ that the steps and losses use, with the coefficients R[t, u] of the copy of step u in
r_t. The start is step 0. `Case` holds the numbers of a member, so that one compiled program runs all of them.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.problem import InnerProblem

HORIZON, LENGTH, SIGMA, SMALL_SIGMA = 12, 3, 0.4, 0.01
NUM_WINDOWS = HORIZON // LENGTH
DIRECTION, THETA = np.array([1.0, -0.5]), np.array([0.3, 0.3])  # v, and the place of the check
SIZE, NEVER = 5, 2**30  # components of x; a number of steps that is never reached
UNLUCKY = 0.25  # the share of the episodes that diverge, where some do


class Case(NamedTuple):
    """The numbers of a member of the family.

    Attributes:
      decay: the diagonal of A, `[SIZE]`.
      coupling: the diagonal of A above that, by which x^{i+1} acts on x^i, `[SIZE]`.
      push: p, `[SIZE]`.
      start: x_0 at θ = 0, `[SIZE]`.
      start_push: the coefficient of v·θ in x_0, `[SIZE]`.
      direct: q, the coefficient of v·θ in the loss.
      noise: the standard deviation of the noise of the map.
      period: the steps after which the problem itself returns to x_0; the losses are read before.
      active: the number of the last step that has a loss; later ones are zero.
      wave: α.
      omega: ω.
      square: β.
      target: y.
      unlucky: the probability that all losses of an episode are infinite.
    """

    decay: Any
    coupling: Any
    push: Any
    start: Any
    start_push: Any
    direct: Any = 0.0
    noise: Any = 0.0
    period: Any = NEVER
    active: Any = NEVER
    wave: Any = 0.0
    omega: Any = 0.5
    square: Any = 0.0
    target: Any = 0.0
    unlucky: Any = 0.0


def _case(decay: Any = 1.0, push: Any = 1.0, start=0.0, start_push=0.0, coupling: Any = 0.0, **numbers: Any) -> Case:
    """Return a case of which all components are equal, or given as arrays."""
    vectors = [np.broadcast_to(np.asarray(one, float), (SIZE,)) for one in (decay, coupling, push, start, start_push)]
    return Case(*vectors, **numbers)


WAVE = {"wave": 1.0}
LINEAR = {"decay": 0.9, "start": 1.0, "square": 1.0}
CASES = {
    "phase walk": _case(**WAVE),
    "start depends on theta": _case(start_push=4.0, **WAVE),
    "loss depends on theta": _case(direct=-3.0, **WAVE),
    "reset inside a window": _case(period=5, **WAVE),
    "horizon inside a window": _case(active=10, **WAVE),
    "linear-quadratic": _case(**LINEAR),
    "noisy linear-quadratic": _case(noise=0.3, **LINEAR),
    "influence balancing": _case(0.5, [1, 1, -1, -1, -1], 1.0, 0.0, 0.5, square=1.0, target=1.0),
}
DIVERGING = CASES["phase walk"]._replace(unlucky=UNLUCKY)


def build_problem(case: Case) -> InnerProblem:
    """Return the inner problem of a case, whose numbers may be traced: θ is `[2]`."""
    case = Case(*(jnp.asarray(one, jnp.int32 if isinstance(one, int) else jnp.float32) for one in case))

    def init(theta, key):
        start = case.start + case.start_push * jnp.sum(DIRECTION.astype(np.float32) * theta)
        return {"x": start, "clock": jnp.zeros((), jnp.int32), "luck": jax.random.uniform(key)}

    def step(state, theta, key):
        x, clock, pushed = state["x"], state["clock"], jnp.sum(DIRECTION.astype(np.float32) * theta)
        x = jnp.where((clock > 0) & (clock % case.period == 0), case.start + case.start_push * pushed, x)
        above = jnp.concatenate([x[1:], jnp.zeros_like(x[:1])])
        moved = case.decay * x + case.coupling * above + case.push * pushed
        return state | {"x": moved + case.noise * jax.random.normal(key, (SIZE,)), "clock": clock + 1}

    def loss(state, theta, key):
        x = state["x"][0] + case.direct * jnp.sum(DIRECTION.astype(np.float32) * theta)
        value = case.wave * jnp.sin(case.omega * x) + case.square * 0.5 * jnp.square(x - case.target)
        value = jnp.where(state["clock"] <= case.active, value, 0.0)
        return jnp.where(state["luck"] < case.unlucky, jnp.inf, value)

    return InnerProblem(init, step, loss, HORIZON)


def responses(case: Case, num_steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return R `[num_steps, 1 + num_steps]` and r `[num_steps]` at `THETA`, without noise."""
    matrix = np.diag(case.decay) + np.diag(case.coupling[:-1], 1)
    copies = np.zeros((SIZE, 1 + num_steps))
    copies[:, 0] = case.start_push
    constant, found, rest = case.start, [], []
    for t in range(num_steps):
        if t and t % case.period == 0:
            constant, copies = case.start, np.zeros_like(copies)
            copies[:, 1 + t] = case.start_push
        constant, copies = matrix @ constant, matrix @ copies
        copies[:, 1 + t] += case.push
        found.append(copies[0].copy())
        rest.append(constant[0])
    table = np.array(found) + case.direct * np.eye(num_steps, 1 + num_steps, 1)
    return table, np.array(rest) + table.sum(axis=1) * (DIRECTION @ THETA)


def slopes(case: Case, states: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return E ℓ'(x_t + η_t) for normal η_t of these variances: by Stein's lemma, E ξ ℓ = Cov(ξ, η) E ℓ'."""
    damping = np.exp(-(case.omega**2) * variances / 2)
    wave = case.wave * case.omega * np.cos(case.omega * states) * damping
    return np.where(np.arange(len(states)) < case.active, wave + case.square * (states - case.target), 0.0)


# Toy regression has no closed form. These are the means of 4e5 pairs at T = 100, W = 10, σ = 0.3, of the published
# objective, and their standard errors (docs/theory.md §5.6); at (−4, −4) the derivatives are exact.
TOY_SIGMA, TOY_HORIZON, TOY_LENGTH = 0.3, 100, 10
CHAOTIC, CALM = (0.0, 0.0), (-4.0, -4.0)
TOY = {
    "noise-reuse ES": ((-67.4619, -21.0313), (0.2954, 0.1902)),
    "persistent ES": ((-84.9910, -18.9055), (0.4540, 0.3008)),
    "truncated ES": ((2.1928, 1.8110), (0.0046, 0.0044)),
}
TOY_CALM = {
    "unsmoothed gradient": ((-3.910795, -1.711532), (2e-4, 2e-4)),
    "truncated backprop": ((-0.488911, -0.287053), (2e-4, 2e-4)),
}
