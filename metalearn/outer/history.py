"""What the outer loop keeps: the snapshot it goes on from, and the history of a call."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from metalearn import trees
from metalearn.inner.problem import Theta

NEVER = -1


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
      stopped: the outer step after which θ, or the state of the outer optimiser, would not have been finite, −1 for none;
        all else is as before it.
      inner_steps: spent so far, as a float.
    """

    step: jax.Array
    theta: Theta
    optimizer_state: Any
    estimator_state: Any
    best: Best
    stopped: jax.Array
    inner_steps: jax.Array


class History(NamedTuple):
    """What the outer loop saw.

    Attributes:
      theta: BEFORE each step, `[num_steps, ...]`.
      metrics: of the estimator, `[num_steps]` each.
      evaluations: "step", "inner_steps" spent until then, and "loss" of every evaluation, `[num_evaluations]` each.
      snapshot: the end, to go on from; it holds the best θ.
    """

    theta: Theta
    metrics: dict[str, jax.Array]
    evaluations: dict[str, jax.Array]
    snapshot: Snapshot


def evaluations_of(seen):
    """Triples (outer step, inner steps spent, loss) as the evaluations of a history."""
    steps, spent, losses = zip(*seen) if seen else ((), (), ())
    stacked = lambda values: jnp.stack(values) if values else jnp.zeros(0)
    return {"step": jnp.array(steps, jnp.int32), "inner_steps": stacked(spent), "loss": stacked(losses)}


def reason_of(snapshot, reports, begin) -> str:
    """Why training stopped in this chunk, in a sentence; empty where it did not, or nobody can know."""
    if isinstance(snapshot.stopped, Tracer) or snapshot.stopped < 0:
        return ""
    index = int(snapshot.stopped)
    loss, diverged = (float(reports[name][index - begin]) for name in ("loss", "fraction_diverged"))
    return (
        f"Outer step {index} would have made theta, or the outer optimiser's state, non-finite (the estimator saw the loss "
        f"{loss:.4g}, {diverged:.0%} of its particles diverged): training stopped before it. Clip the gradient, take smaller "
        "outer steps, or bound what theta sets."
    )


def lost_of(reports, begin) -> str:
    """That no particle of a chunk could be used, in a sentence; empty where one could, or nobody can know."""
    share = reports["fraction_diverged"]
    if isinstance(share, Tracer) or np.any(np.asarray(share) < 1):
        return ""
    return (
        f"Every particle of outer steps {begin} to {begin + len(share) - 1} diverged: their estimates are zero. Bound what theta "
        "sets, or read diverged losses as a cap (ml.saturate); with backprop through Adam take ml.adam, because the derivative "
        "of optax.adam at a gradient of zero is infinite."
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


def first_of(tree, count):
    """The first rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[:count], tree)


def on_host(leaf):
    """A leaf as a NumPy array; a key stays what it is."""
    return leaf if trees.is_key(leaf) else np.asarray(leaf)
