"""The state of the outer loop: the snapshot from which it continues, and the history of a call."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from metalearn import tabular, trees
from metalearn.brief import brief_help
from metalearn.inner.checks import is_known
from metalearn.outer.dominance import dominance
from metalearn.outer.history_rows import history_rows, history_table
from metalearn.outer.stopping import GOES_ON, as_text
from metalearn.types import Theta
from metalearn.words import percent

NEVER = -1
MOST_DIVERGED = 0.01  # largest share of diverged particles of an outer step without a warning
NOTHING_SPENT = np.int64(0)
OF_EVALUATIONS = ("step", "inner_steps", "loss")


@brief_help
class Best(NamedTuple):
    """The θ with the smallest reading so far, of the goal in `stop_on`, or of `evaluate` without `stop_on`.

    Attributes:
      theta, loss: θ and its reading; `loss` is NaN before the first finite reading.
      step: the number of outer steps taken before the reading; −1 before the first finite reading.
      waited: the number of readings after it, none of which was smaller.
    """

    theta: Theta
    loss: jax.Array
    step: jax.Array
    waited: Any = 0


@brief_help
class Snapshot(NamedTuple):
    """The state from which the outer loop continues, a pytree of arrays: save it, and pass it as `resume`.

    Attributes:
      step: outer steps taken.
      theta: the current θ.
      optimizer_state, estimator_state: the states of the outer optimiser and of the estimator.
      best: the best θ that was evaluated.
      stopped: the outer step that would have made θ, or the state of the outer optimiser, non-finite; −1 if there is
        none. The other fields are those before this step.
      inner_steps: inner steps taken so far, an exact NumPy int64; a floating-point number if meta-training itself is
        traced (`jit`, `vmap`).
      made_by: the estimator whose state this is, a text in bytes (`made_by` in meta_train_checks.py); other estimators
        may have states of the same form.
      ended: why `stop_on` or a callback ended the training, a text in bytes; see `History.stop_reason`.
    """

    step: jax.Array
    theta: Theta
    optimizer_state: Any
    estimator_state: Any
    best: Best
    stopped: jax.Array
    inner_steps: Any
    made_by: Any = None
    ended: Any = GOES_ON


@brief_help
class History(NamedTuple):
    """The record of a call of `meta_train`.

    Attributes:
      theta: θ BEFORE each step that is kept, `[num_kept, ...]`; all steps by default. NumPy arrays unless meta-training
        is traced.
      metrics: the metrics of the estimator, `[num_steps]` each.
      evaluations: for every reading of `evaluate` and `watch`: its "step", the "inner_steps" taken so far, "loss" (the
        value of `evaluate`, if given), and the goals by name, `[num_readings]` each.
      snapshot: the state at the end, from which training can continue. It contains the best θ.
      steps: the outer steps of the rows of `theta`, `[num_kept]`.
    """

    theta: Theta
    metrics: dict[str, jax.Array]
    evaluations: dict[str, Any]
    snapshot: Snapshot
    steps: np.ndarray

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, save, plot = tabular.METHODS
    __str__ = tabular.to_text
    rows, _table = history_rows, history_table

    @property
    def stop_reason(self) -> str:
        """Return why training ended before its last outer step, and at which step; "" if it did not end early.

        Raises:
          ValueError: the history is that of several runs (`vmap`).
        """
        if np.ndim(self.snapshot.step):
            raise ValueError(
                "Several runs have several reasons; take one with jax.tree.map(lambda leaf: leaf[i], history)."
            )
        if self.snapshot.stopped >= 0:
            return (
                f"outer step {int(self.snapshot.stopped)} would have made theta, or the optimiser's state, non-finite"
            )
        return as_text(self.snapshot.ended)

    @property
    def watched(self) -> dict[str, Any]:
        """Return name of a goal -> its readings, `[num_readings]`, at the outer steps `evaluations["step"]`."""
        return {name: values for name, values in self.evaluations.items() if name not in OF_EVALUATIONS}

    def divergence(self) -> dict[str, Any]:
        """Return the share of diverged particles at the "first" outer step, at the "worst" and at the "last".

        "capped" is the largest share of particles at the cap of the problem. All shares are of the windows that the
        outer steps used. If windows are shorter than an episode, more runs have diverged by the end of the episode.
        """
        return divergence_along(self.metrics)


def divergence_along(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the shares of `History.divergence` from metrics whose last axis counts the outer steps."""
    shares = np.asarray(metrics["fraction_diverged"])
    capped = np.asarray(metrics.get("fraction_capped", np.zeros_like(shares)))
    ends = {"first": shares[..., 0], "worst": shares.max(axis=-1), "last": shares[..., -1]}
    return ends | {"capped": capped.max(axis=-1)}


def divergence_in_words(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Summarise `History.divergence` of several runs in one line.

    Args:
      found: name -> divergence.
    """
    if not found:
        return "diverged: not measured"
    at = lambda name: np.max(found[name]["worst"])
    name = max(found, key=at)
    ends = {end: percent(float(np.max(found[name][end]))) for end in ("first", "worst", "last")}
    words = f"{ends['worst']} of the particles at worst ({name}; first {ends['first']}, last {ends['last']})"
    capped = max(float(np.max(one["capped"])) for one in found.values())
    return f"diverged: {words if at(name) else 'none'}" + (f"; at the cap: at most {percent(capped)}" if capped else "")


def spent_by(stopped, counts, begin, before):
    """Return the inner steps taken after a chunk: those before it, plus those of each outer step up to the stop."""
    if is_known((stopped, counts, before)):
        counts = np.asarray(counts)[: None if stopped < 0 else max(int(stopped) - begin + 1, 0)]
        exact = np.sum(counts, dtype=np.float64 if counts.dtype.kind == "f" else np.int64)
        return np.int64(np.asarray(before).astype(np.int64) + exact.astype(np.int64))
    taken = (stopped < 0) | (begin + jnp.arange(len(counts)) <= stopped)
    kind = jnp.result_type(float)
    return jnp.asarray(before, kind) + jnp.sum(jnp.where(taken, counts, 0), dtype=kind)


def explain_stop(snapshot, reports, begin) -> str:
    """Say why training stopped in this chunk; return an empty string if it did not stop, or if this is traced."""
    if isinstance(snapshot.stopped, Tracer) or snapshot.stopped < 0:
        return ""
    index = int(snapshot.stopped)
    loss, diverged = (float(reports[name][index - begin]) for name in ("loss", "fraction_diverged"))
    return (
        f"Outer step {index} would have made theta, or the outer optimiser's state, non-finite (the estimator saw the loss "
        f"{loss:.4g}, {diverged:.0%} of its particles diverged): training stopped before it. Clip the gradient, take smaller "
        "outer steps, bound the hyperparameters that theta sets, or cap diverged losses (ml.saturate)."
        + _warn_of_low_precision(snapshot.theta)
    )


def _warn_of_low_precision(theta) -> str:
    """Warn about a θ of 16-bit floats; return an empty string for other θ."""
    kinds = {str(jnp.result_type(leaf)) for leaf in jax.tree.leaves(theta)} & {"float16", "bfloat16"}
    if not kinds:
        return ""
    return (
        f" Theta is in {' and '.join(sorted(kinds))}, and optax computes in the same precision: Adam's epsilon and the squares of "
        "small gradients underflow to zero, and its updates are infinite. Keep theta in float32."
    )


def describe_divergence(reports, begin, description) -> tuple[int, str]:
    """Return the severity of the divergence of a chunk, and a warning.

    Severity 0, without a warning: no divergence, or this is traced. 1: at most 1 % of the particles diverged in every
    step, but a few particles account for most of the mean loss. 2: more than 1 % diverged. 3: no particle could be
    used.
    """
    shares = reports["fraction_diverged"]
    capped = reports.get("fraction_capped", 0.0)
    if not isinstance(capped, Tracer) and np.all(np.asarray(capped) == 1):
        return 3, (
            f"Every particle of outer steps {begin} to {begin + len(shares) - 1} is at the cap of the problem, where losses are constant: "
            "the estimates contain no information. Start where some trainings converge, or bound the hyperparameters that theta sets."
        )
    if isinstance(shares, Tracer):
        return 0, ""
    shares = np.asarray(shares)
    if not np.any(shares > MOST_DIVERGED):
        share = dominance(reports, 1 if description is None else description.num_particles)
        return (1, _describe_dominance(share, reports["loss"], begin)) if share else (0, "")
    if np.all(shares == 1):
        return 3, (
            f"Every particle of outer steps {begin} to {begin + len(shares) - 1} diverged: the estimates contain no information. Bound the "
            "hyperparameters that theta sets, or cap diverged losses (ml.saturate). With backprop through Adam use ml.adam, because the "
            "derivative of optax.adam at a gradient of zero is infinite."
        )
    first = int(np.argmax(shares > MOST_DIVERGED))
    return 2, (
        f"{percent(shares[first])} of the particles of outer step {begin + first} diverged. A loss that is not finite is replaced by the "
        "largest number, and a particle whose gradient is not finite is left out: the estimate is dominated by the diverged runs, or is "
        "that of the runs that did not diverge. Give the problem a cap with ml.saturate(problem, cap) or the cap of ml.training, or bound "
        "the hyperparameters that theta sets."
    )


def _describe_dominance(share, losses, begin) -> str:
    """Say how a few large losses affect an outer optimiser."""
    largest = int(np.argmax(np.abs(np.asarray(losses))))
    return (
        f"{percent(share)} of the mean loss of outer steps {begin} to {begin + len(losses) - 1} is due to the worst 1 % of the particles "
        f"(the mean loss of outer step {begin + largest} is {float(losses[largest]):.3g}). If theta changes their losses, they dominate "
        "the estimates. Adam divides by the root of its second moment, which decays over thousands of steps: theta then "
        "hardly moves. Give the problem a cap of the size of the other losses, with ml.saturate(problem, cap) or the cap of ml.training."
    )


def take_first(tree, count):
    """Return the first rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[:count], tree)


def on_host(leaf):
    """Convert a leaf to a NumPy array; a key is returned unchanged."""
    return leaf if trees.is_key(leaf) else np.asarray(leaf)
