"""The means of estimators, with and without a mistake, on the problems of the battery.

An estimator of the ES family perturbs the copy of θ that step u uses by η = σ Σ_j N[u, j] z_j, and credits the loss of
step t to ξ = σ Σ_j C[t, j] z_j, where the z_j are independent and normal. Its mean on a problem of `battery.py` is

    (1/T) Σ_t c_t E ℓ'(x_t + η_t) v,   c_t = Σ_j C[t, j] (R N)[t, j],   Var η_t = σ² ‖v‖² Σ_j (R N)[t, j]².

Derivatives are the limit σ → 0. Mistakes change N, C or R, or multiply the mean by a number.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from metalearn.testing.battery import DIRECTION, HORIZON, LENGTH, NUM_WINDOWS, SIGMA, Case, responses, slopes

EPISODES = 2
CLAIMS = {"smoothed": "noise-reuse ES", "windowwise": "persistent ES", "unsmoothed": "unsmoothed gradient"}

WINDOW = np.arange(HORIZON) // LENGTH  # of the loss of each step
OWN = WINDOW[:, None] == np.arange(NUM_WINDOWS)
SO_FAR = WINDOW[:, None] >= np.arange(NUM_WINDOWS)
FRESH = np.vstack([OWN[:1], OWN]).astype(float)  # of the copies: the start, and each step
ONE = np.ones((1 + HORIZON, 1))
BLOCK = np.arange(-(-NUM_WINDOWS // 2))
TWICE = FRESH @ (np.arange(NUM_WINDOWS)[:, None] // 2 == BLOCK)
NEAR = np.concatenate([WINDOW[:1], WINDOW])[None, :] == WINDOW[:, None]  # of the response of a truncated method


class Member(NamedTuple):
    """How an estimator perturbs and credits.

    Attributes:
      noise: N, `[1 + T, J]`.
      credit: C, `[T, J]`.
      sigma: σ; 0 for derivatives.
      cut: whether each window starts at a state that no earlier copy of θ perturbs.
    """

    noise: np.ndarray
    credit: np.ndarray
    sigma: float = SIGMA
    cut: bool = False


def _except(array, rows, values):
    changed = np.array(array, float)
    changed[rows] = values
    return changed


PERSISTENT = Member(FRESH, SO_FAR)
METHODS = {
    "noise-reuse ES": Member(ONE, ONE[1:]),
    "persistent ES": PERSISTENT,
    "unsmoothed gradient": Member(ONE, ONE[1:], 0.0),
    "generalised persistent ES": Member(TWICE, WINDOW[:, None] // 2 >= BLOCK),
    "truncated ES": Member(FRESH, OWN, cut=True),
    "truncated backprop": Member(FRESH, OWN, 0.0, cut=True),
}
TWINS = {
    "no accumulator": Member(FRESH, OWN),
    "last loss credited to the newest window": Member(FRESH, _except(SO_FAR, slice(-LENGTH, None), OWN[-1])),
    "last step credited to the newest window": Member(FRESH, _except(SO_FAR, -1, OWN[-1])),
    "part of the last window credited to the newest window": Member(
        FRESH, _except(SO_FAR, slice(-LENGTH, None), ((LENGTH - 1) * SO_FAR[-1] + OWN[-1]) / LENGTH)
    ),
    "newest noise not credited": Member(FRESH, SO_FAR & ~OWN),
}
FACTORS = {
    "wrong sign": -1.0,
    "sigma^2 for 2 sigma^2": 2.0,
    "one-sided noise": 0.5,
    "sigma for sigma^2": SIGMA,
    "sum over the window for its mean": float(LENGTH),
    "sum over the episode for its mean": float(HORIZON),
    "sum over windows for mean": float(NUM_WINDOWS),
    "mean over windows for sum": 1 / NUM_WINDOWS,
}
START, KEPT = "start at the unperturbed theta", "state kept over the reset"
SPREADS = {
    "sharing": "noise shared between particles",
    "pairing": "one-sided noise",
    "common": "noise of the map not shared within a pair",
    "resetting": "noise kept over the reset",
}


def predict_mean(case: Case, member: Member) -> np.ndarray:
    """Return the mean over an episode of the estimates of a member, `[2]`."""
    table, states = responses(case, HORIZON)
    table = table * NEAR if member.cut else table
    return _mean(case, table @ member.noise, member.credit, states, member.sigma)


def predict_mean_of_kept_state(case: Case, member: Member) -> np.ndarray:
    """Return the mean over the second episode of a member that empties its accumulator but keeps the state."""
    table, states = responses(case, 2 * HORIZON)
    noise = np.vstack([np.append(member.noise[0], 0 * member.noise[0]), np.kron(np.eye(2), member.noise[1:])])
    credit = np.hstack([np.zeros_like(member.credit, float), member.credit])
    second, later = slice(HORIZON, None), case._replace(active=case.active - HORIZON)
    return _mean(later, (table @ noise)[second], credit, states[second], member.sigma)


def _mean(case, moved, credit, states, sigma) -> np.ndarray:
    variances = sigma**2 * np.sum(DIRECTION**2) * np.sum(moved**2, axis=1)
    return np.mean(np.sum(credit * moved, axis=1) * slopes(case, states, variances)) * DIRECTION


def predictions(claim: str) -> dict[str, Callable[[Case], np.ndarray]]:
    """Return for each method and mistake, except the claim, the means over the two first episodes, `[2, 2]`.

    A mistake in a factor is one of the claim's own method.
    """
    name, own = CLAIMS[claim], METHODS[CLAIMS[claim]]
    twice = lambda member, factor=1.0: lambda case: factor * np.tile(predict_mean(case, member), (EPISODES, 1))
    found = {one: twice(member) for one, member in (METHODS | TWINS).items() if one != name}
    found[START] = twice(own._replace(noise=_except(own.noise, 0, 0.0)))
    found[KEPT] = lambda case: np.stack([predict_mean(case, own), predict_mean_of_kept_state(case, own)])
    return found | {one: twice(own, factor) for one, factor in FACTORS.items()}
