"""The program for a chunk of outer steps, and the limits of the chunks."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.core import Tracer

from metalearn import trees
from metalearn.compilation import jit
from metalearn.inner.training.optimizer_steps import accepted
from metalearn.memoization import memoize
from metalearn.outer.theta_history import reserve_room


def chunk_programs(stages, optimizer, project, length, keep, inside) -> dict[int, Any]:
    """Return the program of each stage.

    If `inside` is traced, the program is a plain function. Its number of steps is then a constant, so that the loop can
    be differentiated in reverse mode.
    """
    chunks = {start: _chunk(stage, optimizer, project, length, keep) for start, stage in stages.items()}
    traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(inside))
    return {start: chunk.__wrapped__ if traced else chunk for start, chunk in chunks.items()}


@memoize
def _chunk(estimator, optimizer, project, length, keep) -> Any:
    """Return `(snapshot, begin, count, key) -> (snapshot, θ before the steps that are kept, metrics)`.

    One program serves all chunks: it has room for `length` steps, of which it takes `count`. Only the arrays of the
    history depend on `length`, so that the compilation effort, and therefore every bit of the result, does not.
    """
    room = reserve_room(keep, length)
    update = optax.with_extra_args_support(optimizer).update

    def outer_step(key, snapshot, index):
        theta = snapshot.theta
        gradient, state, metrics = estimator.estimate(theta, snapshot.estimator_state, jax.random.fold_in(key, index))
        extra = accepted(update, {"value": metrics["loss"], "grad": gradient})
        updates, optimizer_state = update(gradient, snapshot.optimizer_state, theta, **extra)
        moved = optax.apply_updates(theta, updates)
        moved = moved if project is None else project(moved)
        sound = trees.all_finite(optimizer_state) | ~trees.all_finite(snapshot.optimizer_state)
        good = (snapshot.stopped < 0) & trees.all_finite(moved) & sound
        after = snapshot._replace(step=index + 1, theta=moved, optimizer_state=optimizer_state, estimator_state=state)
        after = trees.where(good, after, snapshot)
        stopped = jnp.where(good | (snapshot.stopped >= 0), snapshot.stopped, index)
        return after._replace(stopped=stopped), (theta, metrics)

    def run(snapshot, begin, count, key):
        def body(index, carry):
            snapshot, thetas, reports = carry
            step = jnp.asarray(begin + index, jnp.int32)
            snapshot, (theta, report) = outer_step(key, snapshot, step)
            slot = room.slot(step, begin)
            thetas = jax.tree.map(lambda all, one: all.at[slot].set(one, mode="drop"), thetas, theta)
            return snapshot, thetas, jax.tree.map(lambda all, one: all.at[index].set(one), reports, report)

        metrics = jax.eval_shape(estimator.estimate, snapshot.theta, snapshot.estimator_state, key)[2]
        rows = lambda count, tree: jax.tree.map(lambda leaf: jnp.zeros((count, *leaf.shape), leaf.dtype), tree)
        begun = snapshot, rows(room.size, snapshot.theta), rows(length, metrics)
        return jax.lax.fori_loop(0, count, body, begun)

    return jit(run, "meta-training")


def cut_into_chunks(first, num_steps, length, stages):
    """Return pairs (begin, end), cut at multiples of the chunk length and at the beginning of each stage."""
    cuts = {first, num_steps} | {start for start in stages if first < start < num_steps}
    cuts |= set(range(0, num_steps, length or num_steps)) - set(range(first))
    ordered = sorted(cuts)
    return list(itertools.pairwise(ordered))
