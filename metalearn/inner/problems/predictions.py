"""Predictions that affect their outcome: a biased coin, repeated deployment, and a game of two predictors.

In all three the world answers a prediction p with a response r(p), the mean of the outcome. A prediction is
performatively stable if it minimises the risk for its own response. It is performatively optimal if it minimises the
risk together with the response to it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.inner.checks import check_bool, check_choice, check_number, scalar, summarize_error
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems.known import as_scalar

Response = Callable[[jax.Array], Any]
FEEDBACKS = {"retraining": (-1, 1), "gradient": (None, 1), "full": (None, 0.5)}  # those for which a rule can converge


def coin_flip(bias: float = 0.1, feedback: float = 0.3) -> InnerProblem:
    """Return the biased coin: labels y ∈ {0, 1} with mean ½ + (μ + ε θ) x, x = ±1, and ℓ = (y − ½ − θ x)².

    The performatively stable point is θ = μ / (1 − ε), and the performatively optimal point is μ / (1 − 2ε). The label
    is a discrete choice, so backpropagation ignores that it depends on θ; the mean of its gradient is zero at the
    stable point. For every σ, the smoothed gradient is that of the performative risk ¼ − 2μθ + (1 − 2ε) θ², which is
    zero at the optimal point. This holds as long as all probabilities are in [0, 1].

    Args:
      bias: μ, the influence of x on y when θ = 0.
      feedback: ε < ½, the influence of the prediction on the outcome.

    Returns:
      A problem with θ: scalar, state: x and y of the last step. Steps are independent.

    Raises:
      TypeError, ValueError: an argument is not one finite number, bias is not in [−½, ½], so that a label at θ = 0 has
        no probability, or feedback is not in (−1, ½).

    References:
      Perdomo, Zrnic, Mendler-Dünner and Hardt, "Performative prediction", 2020, arXiv:2002.06673 (the biased coin).
    """
    check_number("bias", bias, -0.5, 0.5)
    check_number("feedback", feedback, -1, 0.5, open_low=True, open_high=True)

    def draw(theta, key):
        key_x, key_y = jax.random.split(key)
        dtype = as_scalar(theta).dtype
        x = jax.random.rademacher(key_x, (), dtype)
        y = jax.random.uniform(key_y, (), dtype) < 0.5 + (bias + feedback * as_scalar(theta)) * x
        return x, jnp.asarray(y, dtype)

    def loss(state, theta, key):
        x, y = state
        return jnp.square(y - 0.5 - as_scalar(theta) * x)

    return InnerProblem(draw, lambda state, theta, key: draw(theta, key), loss)


def redeployment(
    rule: str,
    *,
    start: float = 0.0,
    bias: float | None = None,
    feedback: float | None = None,
    response: Response | None = None,
) -> InnerProblem:
    """Return rounds in which a prediction p is deployed, the world answers with r(p), and p is updated.

    The risk of p in a world r is R(p, r) = ¼ − 2 p r + p²; it is the mean loss of `coin_flip` if r(p) = μ + ε p. The
    observable is R(p, r(p)), the performative risk. The rules differ in whether the response is held fixed in an
    update:

        retraining   p ← argmin_q R(q, r(p)) = r(p)
        gradient     p ← p − η ∂_1 R(p, r(p)),         r(p) held fixed
        full         p ← p − η d/dp R(p, r(p))

    For the coin the first two converge to the stable point μ / (1 − ε), at the rates ε and 1 − 2η(1 − ε) per round, and
    the third to the optimal point μ / (1 − 2ε), at the rate 1 − 2η(1 − 2ε).

    Args:
      rule: "retraining", "gradient" or "full".
      start: p_0.
      bias, feedback: μ and ε of the coin, 0.1 and 0.3 by default.
      response: r, `prediction -> mean response`, in place of μ + ε p.

    Returns:
      A problem with θ: scalar, the learning rate η; state: p.

    Raises:
      TypeError, ValueError: `rule` is unknown, an argument is not one finite number, the rule has no fixed point to
        converge to (feedback is not in (−1, 1) for "retraining", below 1 for "gradient", or below ½ for "full"), the
        response to the start is not one finite number, or `response` is given together with bias or feedback.
    """
    check_choice("rule", rule, FEEDBACKS)
    check_number("start", start)
    low, high = FEEDBACKS[rule]
    answer = _answer(response, bias, feedback, (0.1, 0.3), low, high)
    _check_response(answer, np.array([start], np.float32))
    risk = lambda p, world: 0.25 - 2 * p * world + p * p
    derivatives = {
        "gradient": lambda p: jax.grad(risk)(p, answer(p)),
        "full": jax.grad(lambda p: risk(p, answer(p))),
    }

    def step(p, theta, key):
        return jnp.asarray(answer(p), p.dtype) if rule == "retraining" else p - theta * derivatives[rule](p)

    return InnerProblem(
        init=lambda theta, key: jnp.full_like(as_scalar(theta), start),
        step=step,
        loss=lambda p, theta, key: risk(p, answer(p)),
    )


SCORES = {
    "brier": lambda p, y: -jnp.square(y - p),
    "log": lambda p, y: y * jnp.log(p) + (1 - y) * jnp.log1p(-p),
}


def expected_score(score: str, report, response):
    """Return the mean score of a report p if y = 1 has probability r: r S(p, 1) + (1 − r) S(p, 0).

    Args:
      score: "brier", S = −(y − p)²; or "log", S = y ln p + (1 − y) ln(1 − p). Both are proper: p = r is best.
      report: p in (0, 1), an array.
      response: r, an array.

    Raises:
      ValueError: the score is unknown.
    """
    check_choice("score", score, SCORES)
    rule = SCORES[score]
    return response * rule(report, 1.0) + (1 - response) * rule(report, 0.0)


def prediction_game(
    score: str = "brier",
    *,
    bias: float | None = None,
    feedback: float | None = None,
    response: Response | None = None,
    zero_sum: bool = True,
) -> InnerProblem:
    """Return a predictor of an event whose probability r depends on the prediction, with a proper scoring rule.

    The prediction is p = 1/(1 + e^−θ), and the loss is −S̄(p, r(p)) with S̄ of `expected_score`. The honest report
    satisfies p = r(p), but another report may have a better score: for the Brier score and r = μ + ε p the best report
    is (μ − ε/2) / (1 − 2ε), and the honest one is μ / (1 − ε).

    In the zero-sum game the score of a rival is subtracted: S̄(p, r) − S̄(q, r) with r = r((p + q)/2). A change of the
    world affects both scores equally, and the symmetric equilibrium is honest. If θ is a scalar, the rival is the same
    predictor with `stop_gradient`, which suffices for backpropagation. Evolution strategies would perturb both equally,
    and every loss would be zero. For them let θ be {"player": θ_p, "rival": θ_q}: only the player's gradient is used,
    and `self_play` makes the rival equal to the player after every update.

    Args:
      score: "brier" or "log".
      bias, feedback: μ and ε of the response μ + ε p, 0.25 and 0.3 by default.
      response: r, `report -> probability`, such as a discrete choice, in place of μ + ε p.
      zero_sum: whether the rival's score is subtracted.

    Returns:
      A problem with θ: a scalar or {"player", "rival"}; the state is an unused zero.

    Raises:
      TypeError, ValueError: the score is unknown, a number is not finite, the response is not a finite probability for
        every report, or `response` is given together with bias or feedback. The functions of the problem raise
        ValueError if θ is neither a scalar nor, in the zero-sum game, {"player", "rival"}.
    """
    check_choice("score", score, SCORES)
    check_bool("zero_sum", zero_sum)
    answer = _answer(response, bias, feedback, (0.25, 0.3))
    _check_response(answer, np.linspace(0.005, 0.995, 199, dtype=np.float32), probability=True)

    def loss(state, theta, key):
        both = _has_rival(theta, zero_sum)
        p = jax.nn.sigmoid(as_scalar(theta["player"] if both else theta))
        q = jax.nn.sigmoid(as_scalar(theta["rival"])) if both else jax.lax.stop_gradient(p)
        if not zero_sum:
            return -expected_score(score, p, answer(p))
        r = answer((p + q) / 2)
        return expected_score(score, q, r) - expected_score(score, p, r)

    start = lambda theta, key: jnp.zeros_like(jax.tree.leaves(theta)[0])
    return InnerProblem(start, lambda state, theta, key: state, loss)


def self_play(theta: Any) -> Any:
    """Return {"player", "rival"} with the rival equal to the player, for the argument `project` of `ml.meta_train`.

    Raises ValueError if `theta` is not {"player": θ_p, "rival": θ_q}.
    """
    if not _has_rival(theta, True):
        raise ValueError(f'theta must be a mapping with "player" and "rival"; {theta!r} was given.')
    return {"player": theta["player"], "rival": theta["player"]}


def _has_rival(theta, zero_sum: bool) -> bool:
    """Return whether θ has weights of a rival.

    Raises:
      ValueError: θ is a mapping with other entries, or there is no rival because the game is not zero-sum.
    """
    if not isinstance(theta, Mapping):
        return False
    if set(theta) != {"player", "rival"}:
        given = ", ".join(map(repr, theta)) or "nothing"
        raise ValueError(f'theta must be a scalar, or a mapping with "player" and "rival"; it has {given}.')
    if not zero_sum:
        raise ValueError("theta has a rival, and zero_sum=False has none; give a scalar, or zero_sum=True.")
    return True


def _answer(response, bias, feedback, usual, low=None, high=None) -> Response:
    """Return the response, μ + ε p by default.

    Raises:
      TypeError, ValueError: a number is not finite or out of range, or it would be ignored because `response` is given.
    """
    if response is not None:
        if bias is not None or feedback is not None:
            raise ValueError("bias and feedback are those of the response μ + ε p; give them, or response, not both.")
        return response
    mean, slope = (one if given is None else given for given, one in zip((bias, feedback), usual))
    check_number("bias", mean)
    check_number("feedback", slope, low, high, open_low=True, open_high=True)
    return lambda p: mean + slope * p


def _check_response(response: Response, places: np.ndarray, probability: bool = False) -> None:
    """Check that a response is a function whose values at the given points are finite scalars, or probabilities."""
    if not callable(response):
        raise TypeError(f"response must be a function of a prediction; {response!r} was given.")
    try:
        shape = jax.eval_shape(response, jnp.asarray(places[0]))
    except Exception as error:
        raise TypeError(f"response(prediction) cannot be computed: {summarize_error(error).rstrip('.')}.") from None
    scalar("response(prediction)", shape)
    values = np.asarray(jax.vmap(response)(jnp.asarray(places)))
    bad = ~np.isfinite(values) | (probability & ~((values >= 0) & (values <= 1)))
    if bad.any():
        kind = "a finite number in [0, 1]" if probability else "a finite number"
        place, value = places[bad][0], values[bad][0]
        raise ValueError(f"response must return {kind}; response({place:g}) is {value:g}.")
