"""Measurements of `experiments/goodhart.py`: a minimised proxy, a watched goal, and mitigations."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

from metalearn.estimators import GradientEstimator
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.derived import strided
from metalearn.inner.problem import InnerProblem
from metalearn.inner.problems import noisy_labels
from metalearn.inner.problems.noisy_labels import OBSERVABLES
from metalearn.inner.unroll import meta_loss
from metalearn.landscape import Axis, Plane
from metalearn.memoization import memoize
from metalearn.outer import Study, held_out_loss, meta_train
from metalearn.outer.observables import observe
from metalearn.outer.one_world import one_world
from metalearn.studies.mitigations import Switches, altered, noisy
from metalearn.types import Key, Progress
from metalearn.words import table

PROXY, GOAL, THIRD, PLAIN = "proxy", "goal", "third", "none"
PATIENCE = 4  # readings


def tuned_training(
    num_steps: int = 100,
    *,
    rate: float = 0.02,
    decay_rate: float = 0.3,
    example_weights: int = 0,
    proxy: str = "training",
    **settings: Any,
) -> Study:
    """Return the study of tuning hyperparameters of training with wrong labels; its loss is the proxy.

    A step of the problem is a whole training of `num_steps` steps, and an episode is one step, so that every observable
    is read at the end of the training.

    Args:
      num_steps: the number of steps of a training run.
      rate, decay_rate: the learning rate and the weight decay at the initial θ.
      example_weights: the number of groups of examples whose weights are also tuned; 0 for none.
      proxy: the observable of `ml.problems.noisy_labels` that is the loss.
      **settings: the other arguments of `ml.problems.noisy_labels`.

    Raises:
      TypeError, ValueError: as `ml.problems.noisy_labels`; or a rate is not positive, or a count is out of range.
    """
    check_count("num_steps", num_steps)
    check_count("example_weights", example_weights, 0)
    for name, value in (("rate", rate), ("decay_rate", decay_rate)):
        check_number(name, value, 0, open_low=True)
    theta = {"log_rate": jnp.log(rate), "log_decay": jnp.log(decay_rate)}
    if example_weights:
        theta["log_weights"] = jnp.zeros(example_weights)
    known = {name: noisy_labels(name, **settings) for name in dict.fromkeys((proxy, *OBSERVABLES))}
    losses = {name: problem.loss for name, problem in known.items()}
    problem = strided(known[proxy], num_steps)
    axes = Axis("ln learning rate", -8.0, 0.0), Axis("ln weight decay", -8.0, 2.0)
    plane = Plane(*axes, lambda x, y: theta | {"log_rate": x, "log_decay": y})
    settings = {"sigma": 0.1, "plane_sigma": 0.1, "plane": plane}
    return Study(problem, theta, 1, observables=losses, repeat_randomness=True, **settings)


def reading(study: Study, name: str, num_episodes: int) -> Callable[[Any, Key], Any]:
    """Return the function `(theta, key) -> mean of an observable`, on the episode of training if it is repeated."""
    return _reading(observe(study, name), study.horizon, None if study.repeat_randomness else num_episodes)


@memoize
def _reading(problem: InnerProblem, horizon: int, num_episodes: int | None) -> Callable[[Any, Key], Any]:
    """Return the same function for the same problem, so that cases of a study share one program."""
    if num_episodes is not None:
        return held_out_loss(problem, horizon, num_episodes)
    return lambda theta, key: meta_loss(problem, theta, key, horizon)


def descend(
    study: Study,
    names: Mapping[str, str],
    build: Callable[[InnerProblem, Key | None], GradientEstimator],
    optimizer: optax.GradientTransformation,
    switches: Switches,
    keys: Sequence[Key],
    *,
    num_steps: int,
    chunk_length: int,
    num_episodes: int,
    progress: Progress,
    label: str,
) -> dict[str, np.ndarray]:
    """Minimise the proxy for every key, and return the readings during training, `[seeds, readings]` each.

    Args:
      study: the study, with the arguments of the switches.
      names: role -> name of the observable, for the proxy, the goal and other watched observables.
      build: `(problem, key) -> estimator`; the key is shared by all episodes; None for a new key in each.
      optimizer: the outer optimiser.
      switches: the mitigation.
      keys: the keys of the runs.
      num_steps, chunk_length: the number of outer steps, and of those between two readings.
      num_episodes: the number of episodes of a reading.
      progress, label: called as `progress(label, done, total)` after every run.

    Returns:
      "step" `[readings]`; the observables by role, NaN after an early stop; and "end/proxy" and "end/goal" `[seeds]`,
      at the returned θ.
    """
    problem = altered(study, names[PROXY], names[GOAL], switches)
    estimator = one_world(lambda key: build(problem, key)) if study.repeat_randomness else build(problem, None)
    if switches.outer_noise:
        estimator = noisy(estimator, switches.outer_noise)
    watched = dict(names) | ({THIRD: switches.stop_on} if switches.stop_on else {})
    watch = {role: reading(study, name, num_episodes) for role, name in watched.items()}
    stop = {"stop_on": THIRD, "patience": switches.patience or PATIENCE} if switches.stop_on else {}
    length = -(-num_steps // chunk_length) + 1
    found: dict[str, list] = {role: [] for role in (*watched, "end/proxy", "end/goal")}
    for index, key in enumerate(keys):
        _, history = meta_train(
            estimator,
            optimizer,
            study.theta,
            key,
            num_steps,
            watch=watch,
            chunk_length=chunk_length,
            keep="last",
            **stop,
        )
        read = {role: np.asarray(values, float) for role, values in history.watched.items()}
        kept = int(history.snapshot.best.step) if switches.stop_on else -1  # -1: no reading was finite
        last = int(np.searchsorted(history.evaluations["step"], kept)) if kept >= 0 else -1
        for role, values in read.items():
            found[role].append(np.pad(values, (0, length - len(values)), constant_values=np.nan))
        for role in (PROXY, GOAL):
            found[f"end/{role}"].append(read[role][last])
        progress(label, index + 1, len(keys))
    steps = np.minimum(np.arange(length) * chunk_length, num_steps)
    return {"step": steps} | {role: np.stack(values) for role, values in found.items()}


def goal_rows(found: Mapping[str, Mapping[str, np.ndarray]]) -> list[dict[str, Any]]:
    """Return a row for every case: the goal at the start, at its best and at the end, and the fraction that a case
    recovers.

    After its best value, the goal of the plain case increases by R = end − best, the mean over seeds. A case recovers
    the fraction (end of the plain case − its own end) / R. It is 1 if training stops at the right moment, and more if
    it ends below the best of the plain case. Errors are standard errors over seeds, which all cases share.
    """
    plain, rows = next(iter(found.values())), []
    lost = plain["end/goal"] - np.where(np.isfinite(plain[GOAL]), plain[GOAL], np.inf).min(axis=1)
    total = float(lost.mean()) or np.nan  # without an increase nothing can be recovered
    for name, one in found.items():
        known = np.where(np.isfinite(one[GOAL]), one[GOAL], np.inf)
        best, turns = known.min(axis=1), one["step"][known.argmin(axis=1)].astype(float)
        gain = plain["end/goal"] - one["end/goal"]
        share = gain.mean() / total if len(gain) == len(lost) else np.nan
        values = {"start": one[GOAL][:, 0], "best": best, "turning_step": turns, "end": one["end/goal"]}
        values |= {"proxy_end": one["end/proxy"]}
        row: dict[str, Any] = {"case": name, "seeds": len(best)}
        for column, value in values.items():
            row |= {column: float(value.mean()), f"{column}_error": _error(value)}
        worse = np.mean(one["end/goal"] > one[GOAL][:, 0])
        row |= {"worse_than_start": float(worse), "recovered": float(share)}
        rows.append(row | {"recovered_error": _error((gain - share * lost) / total)})
    return rows


def _error(values: np.ndarray) -> float:
    """Return the standard error of a mean over seeds, NaN for one seed."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def in_words(rows: Sequence[Mapping[str, Any]], proxy: str, goal: str) -> str:
    """Return the rows of `goal_rows` as a table to print."""
    pair = lambda row, name, digits: f"{row[name]:.{digits}f} ± {row[f'{name}_error']:.{digits}f}"
    cells = [
        [
            row["case"].replace("_", " "),
            f"{row['proxy_end']:.3g}",
            *(pair(row, name, 2) for name in ("start", "best")),
            pair(row, "turning_step", 0),
            pair(row, "end", 2),
            f"{round(row['worse_than_start'] * row['seeds'])} of {row['seeds']}",
            "" if index == 0 else f"{row['recovered']:.0%} ± {row['recovered_error']:.0%}",
        ]
        for index, row in enumerate(rows)
    ]
    head = ["", f"proxy ({proxy})", "goal: start", "best", "at step", "end", "worse", "recovered"]
    foot = [f"goal: {goal}; mean ± standard error over {rows[0]['seeds']} seeds; worse: seeds that end above the start"]
    return table(head, cells, foot)


def feature_rows(found: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Return a row for every number of features: medians of both errors, and quartiles of the test error."""
    low, middle, high = np.quantile(found["test"], (0.25, 0.5, 0.75), axis=0)
    training = np.median(found["training"], axis=0)
    columns = zip(found["counts"], training, low, middle, high)
    names = ("features", "training_median", "test_low", "test_median", "test_high")
    return [dict(zip(names, map(float, column))) for column in columns]
