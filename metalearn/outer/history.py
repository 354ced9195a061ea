"""What the outer loop keeps: the snapshot it goes on from, and the history of a call."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from metalearn import tabular, trees
from metalearn.inner.checks import is_known
from metalearn.outer.dominance import dominance
from metalearn.outer.history_rows import history_rows, history_table
from metalearn.types import Theta
from metalearn.words import percent

NEVER = -1
MOST_DIVERGED = 0.01  # of the particles of an outer step, without a warning
NOTHING_SPENT = np.int64(0)


class Best(NamedTuple):
    """The θ with the smallest evaluation so far.

    Attributes:
      theta, loss: it and its evaluation; NaN before the first finite one.
      step: outer steps taken before it, −1 before the first.
    """

    theta: Theta
    loss: jax.Array
    step: jax.Array


class Snapshot(NamedTuple):
    """Everything the outer loop needs to go on, a pytree of arrays: save it, and hand it to `meta_train(resume=...)`.

    Attributes:
      step: outer steps taken.
      theta: the present θ.
      optimizer_state, estimator_state: of the outer optimiser and of the estimator.
      best: the best θ evaluated.
      stopped: the outer step after which θ, or the state of the outer optimiser, would not have been finite, −1 for
        none; all else is as before it.
      inner_steps: spent so far: an int64 of NumPy, which is exact; where meta-training itself is traced (`jit`,
        `vmap`), a floating-point number.
    """

    step: jax.Array
    theta: Theta
    optimizer_state: Any
    estimator_state: Any
    best: Best
    stopped: jax.Array
    inner_steps: Any


class History(NamedTuple):
    """What the outer loop saw.

    Attributes:
      theta: BEFORE each step that is kept, `[num_kept, ...]`; all steps by default. NumPy arrays unless meta-training
        is traced.
      metrics: of the estimator, `[num_steps]` each.
      evaluations: "step", "inner_steps" spent until then, and "loss" of every evaluation, `[num_evaluations]` each.
      snapshot: the end, to go on from; it holds the best θ.
      steps: the outer steps of the rows of `theta`, `[num_kept]`.
    """

    theta: Theta
    metrics: dict[str, jax.Array]
    evaluations: dict[str, Any]
    snapshot: Snapshot
    steps: np.ndarray

    __repr__, to_dataframe, to_latex, to_csv, _repr_html_, plot = tabular.METHODS
    __str__ = tabular.to_text
    rows, _table = history_rows, history_table

    def divergence(self) -> dict[str, Any]:
        """The share of the particles that diverged at the "first" outer step, at the "worst" and at the "last", and
        under "capped" the largest share at the cap of the problem. All are of the windows that the outer steps saw:
        with windows shorter than an episode, more runs have diverged by its end.
        """
        return divergence_along(self.metrics)


def divergence_along(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The shares of `History.divergence`, from metrics whose last axis is that of outer steps."""
    shares = np.asarray(metrics["fraction_diverged"])
    capped = np.asarray(metrics.get("fraction_capped", np.zeros_like(shares)))
    ends = {"first": shares[..., 0], "worst": shares.max(axis=-1), "last": shares[..., -1]}
    return ends | {"capped": capped.max(axis=-1)}


def divergence_in_words(found: Mapping[str, Mapping[str, Any]]) -> str:
    """What several runs of `History.divergence` say together, for one line.

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


def read_evaluations(seen):
    """Triples (outer step, inner steps spent, loss) as the evaluations of a history."""
    steps, spent, losses = zip(*seen) if seen else ((), (), ())
    known = is_known(spent)  # JAX would keep 32 bits of a whole number
    stacked = jnp.stack(losses) if losses else jnp.zeros(0)
    inner_steps = np.array(spent, np.int64) if known else jnp.stack([jnp.asarray(one, float) for one in spent])
    return {"step": jnp.array(steps, jnp.int32), "inner_steps": inner_steps, "loss": stacked}


def spent_by(stopped, counts, begin, before):
    """The inner steps spent after a chunk: those before it, and those of each outer step up to the one that stopped."""
    if is_known((stopped, counts, before)):
        counts = np.asarray(counts)[: None if stopped < 0 else max(int(stopped) - begin + 1, 0)]
        exact = np.sum(counts, dtype=np.float64 if counts.dtype.kind == "f" else np.int64)
        return np.int64(np.asarray(before).astype(np.int64) + exact.astype(np.int64))
    taken = (stopped < 0) | (begin + jnp.arange(len(counts)) <= stopped)
    kind = jnp.result_type(float)
    return jnp.asarray(before, kind) + jnp.sum(jnp.where(taken, counts, 0), dtype=kind)


def explain_stop(snapshot, reports, begin) -> str:
    """Why training stopped in this chunk, in a sentence; empty where it did not, or nobody can know."""
    if isinstance(snapshot.stopped, Tracer) or snapshot.stopped < 0:
        return ""
    index = int(snapshot.stopped)
    loss, diverged = (float(reports[name][index - begin]) for name in ("loss", "fraction_diverged"))
    return (
        f"Outer step {index} would have made theta, or the outer optimiser's state, non-finite (the estimator saw the loss "
        f"{loss:.4g}, {diverged:.0%} of its particles diverged): training stopped before it. Clip the gradient, take smaller "
        "outer steps, bound what theta sets, or read diverged losses as a cap (ml.saturate)."
        + _of_low_precision(snapshot.theta)
    )


def _of_low_precision(theta) -> str:
    """What an outer optimiser does to θ in 16 bits, in a sentence; empty for other θ."""
    kinds = {str(jnp.result_type(leaf)) for leaf in jax.tree.leaves(theta)} & {"float16", "bfloat16"}
    if not kinds:
        return ""
    return (
        f" Theta is in {' and '.join(sorted(kinds))}, in which optax computes too: Adam's epsilon and the squares of small "
        "gradients are zero there, and its updates infinite. Keep theta in float32."
    )


def describe_divergence(reports, begin, description) -> tuple[int, str]:
    """How badly the particles of a chunk diverged, and a sentence that says so: 0 and none where they did not, or
    nobody can know; 1 where a few, of up to 1 % in every step, hold most of the mean loss; 2 beyond 1 %; 3 where no
    particle could be used.
    """
    shares = reports["fraction_diverged"]
    capped = reports.get("fraction_capped", 0.0)
    if not isinstance(capped, Tracer) and np.all(np.asarray(capped) == 1):
        return 3, (
            f"Every particle of outer steps {begin} to {begin + len(shares) - 1} is at the cap of the problem, where losses are constant: "
            "their estimates say nothing. Start where some trainings converge, or bound what theta sets."
        )
    if isinstance(shares, Tracer):
        return 0, ""
    shares = np.asarray(shares)
    if not np.any(shares > MOST_DIVERGED):
        share = dominance(reports, 1 if description is None else description.num_particles)
        return (1, _of_dominance(share, reports["loss"], begin)) if share else (0, "")
    if np.all(shares == 1):
        return 3, (
            f"Every particle of outer steps {begin} to {begin + len(shares) - 1} diverged: their estimates say nothing. Bound what "
            "theta sets, or read diverged losses as a cap (ml.saturate); with backprop through Adam take ml.adam, because the "
            "derivative of optax.adam at a gradient of zero is infinite."
        )
    first = int(np.argmax(shares > MOST_DIVERGED))
    return 2, (
        f"{percent(shares[first])} of the particles of outer step {begin + first} diverged. A loss that is not finite reads as the largest "
        "number, and a particle whose gradient is not finite is left out: the estimate is dominated by these runs, or is that of the "
        "runs that survive. Give the problem a cap, with ml.saturate(problem, cap) or the cap of ml.training, or bound what theta sets."
    )


def _of_dominance(share, losses, begin) -> str:
    """What a few large losses do to an outer optimiser, in sentences."""
    largest = int(np.argmax(np.abs(np.asarray(losses))))
    return (
        f"{percent(share)} of the mean loss of outer steps {begin} to {begin + len(losses) - 1} is that of the worst 1 % of the particles "
        f"(outer step {begin + largest} saw the mean {float(losses[largest]):.3g}). They dominate the estimates as far as theta moves "
        "them. Adam divides by the root of its second moment, which remembers the largest gradients for thousands of steps: theta then "
        "hardly moves. Give the problem a cap of the size of the other losses, with ml.saturate(problem, cap) or the cap of ml.training."
    )


def first_step(snapshot, num_steps) -> int:
    """Where a run goes on from a snapshot.

    Raises:
      TypeError, ValueError: it is none, or has taken all steps.
    """
    if not isinstance(snapshot, Snapshot) or isinstance(snapshot.step, Tracer) or jnp.ndim(snapshot.step):
        raise TypeError(
            "resume must be the snapshot of a history, with numbers in it, which cannot be mapped or traced; one in a file is read "
            "by ml.recording.load_snapshot."
        )
    first = int(snapshot.step)
    if first >= num_steps:
        raise ValueError(
            f"resume has taken {first} outer steps and num_steps is {num_steps}, which counts them; give a larger num_steps."
        )
    return first


def check_same(name, before, now) -> None:
    """Refuse a part of a snapshot whose form is not that of this run."""
    if not trees.alike(before, now):
        raise ValueError(
            f"resume is the snapshot of another run: its {name} has another structure or other shapes than that of these "
            "arguments. Resume with the arguments it was made with, or begin without it."
        )


def take_first(tree, count):
    """The first rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[:count], tree)


def on_host(leaf):
    """A leaf as a NumPy array; a key stays what it is."""
    return leaf if trees.is_key(leaf) else np.asarray(leaf)
