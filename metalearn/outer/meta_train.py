"""The outer loop: minimise the meta-loss with any gradient estimator and any optax optimiser."""

import warnings
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import optax

from metalearn import debugging, trees
from metalearn.inner.checks import is_known
from metalearn.outer.held_out import Evaluate
from metalearn.outer.history import (
    NEVER,
    NOTHING_SPENT,
    Best,
    History,
    Snapshot,
    describe_divergence,
    explain_stop,
    on_host,
    spent_by,
    take_first,
)
from metalearn.outer.meta_train_checks import (
    Stages,
    check_functions,
    check_maker,
    check_same,
    check_stages,
    first_step,
    made_by,
)
from metalearn.outer.outer_steps import chunk_programs, cut_into_chunks
from metalearn.outer.readings import Goal, Readings, best_theta, check_readings, check_stop, reading_key
from metalearn.outer.stopping import GOES_ON, Callback, as_callbacks, call_callbacks, stop_early
from metalearn.outer.theta_history import Keep, Thetas, check_keep
from metalearn.types import Key, Progress, Theta


def meta_train(
    estimator: Stages,
    optimizer: optax.GradientTransformation,
    theta: Theta,
    key: Key,
    num_steps: int,
    *,
    project: Callable[[Theta], Theta] | None = None,
    evaluate: Evaluate | None = None,
    watch: Mapping[str, Goal] | None = None,
    stop_on: str | None = None,
    patience: int | None = None,
    chunk_length: int | None = None,
    callback: Callback | Sequence[Callback] | None = None,
    progress: Progress | None = None,
    name: str = "meta-training",
    resume: Snapshot | None = None,
    keep: Keep = "all",
) -> tuple[Theta, History]:
    """Minimise the meta-loss: θ ← θ + update(g) for `num_steps` outer steps, where g is an estimate of the gradient.

    Outer step i uses the random key fold_in(key, i), so that neither the chunk length nor an interruption changes the
    result. If an update would make θ, or the outer optimiser's state, non-finite, training stops before this update
    with a warning. Other warnings are given when the share of diverged particles first exceeds 1 % (see
    `History.divergence`), and when a few particles, diverged or not, first account for most of the mean loss of a
    chunk. `meta_train` works under `jit` and `vmap`, over starts, keys or sigmas, if `callback` and `progress` are
    None; a mapped copy that stops keeps its θ.

    Args:
      estimator: a gradient estimator; or a schedule of estimators, such as `{0: short, 200: long}`, which uses `long`
        from outer step 200 on and starts new episodes there. A schedule can change horizon, window length and sigma.
      optimizer: the outer optimiser. It is also given `value` (the estimator's loss) and `grad`. Clip gradients here:
        `optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.003))`.
      theta: the starting point, any pytree of floating-point arrays.
      key: a typed key.
      num_steps: the number of outer steps, at least 1, including those before `resume`.
      project: a function that is applied to θ after each update, for instance to keep θ in a box.
      evaluate: `(theta, key) -> scalar`, such as `ml.held_out_loss(problem, horizon, 16)`. It is called at the start
        and after every chunk with the same key, so that evaluations differ only through θ. The θ with the smallest
        value is kept in `history.snapshot.best`; this value is too small on average, because it is a minimum.
       watch: further goals, which are evaluated together with `evaluate` and with the same key, but not minimised: name
         -> function of θ and a key, or of θ alone, that returns one number. The readings are in `history.watched`, and
         their outer steps in `history.evaluations["step"]`, also without `evaluate`.
      stop_on: the name of a goal of `watch`, or "evaluate". The θ with the smallest reading of this goal is returned,
        and kept in `history.snapshot.best`; the last θ is in `history.snapshot`. Training ends early if `patience`
        readings in a row are not smaller; `history.stop_reason` then says so.
      patience: the number of readings without improvement after which to stop, 5 by default. Under `vmap` all copies
        continue to the end, and each keeps its best θ.
      chunk_length: the number of outer steps in one program; all by default.
      callback: called as `callback(step, theta, history)` after each chunk, with the history since the last call; or a
        list of functions, such as those of `ml.callbacks`. Use them to log, or to save `history.snapshot`. Training
        ends after the chunk if one returns True, or a string with the reason.
      progress, name: `progress(name, done, num_steps)` is called after each chunk.
      resume: the snapshot of a run with the same arguments, from which this run continues.
      keep: the θ that the history keeps: "all", before each outer step; a whole number k, before every k-th outer step;
        "chunks", before the first step of each chunk; "last", before the last step. They are moved to the host after
        each chunk, and a program reserves memory for those of one chunk.
    Returns:
      `(theta, history)`: the last θ, or the best with `stop_on`; the history begins with the first step of this call.

    Raises:
      TypeError: `estimator` is not a `GradientEstimator` or a mapping to such, `optimizer` is not an optax
        transformation or cannot take a step on θ, θ has a leaf that is not floating point, `key` is not a typed key, a
        count is not a whole number, `evaluate`, a goal of `watch`, `project`, `callback` or `progress` is not a
        function of the documented form, or `resume` is not a snapshot.
      ValueError: a schedule of estimators does not begin at outer step 0, θ is empty or not finite, a count is below 1,
        `keep` is unknown, a goal has the name of a metric or of another column of the history's rows, `stop_on` is not
        among the readings, `patience` is given without `stop_on`, or `resume` is of another run or has already ended.
    """
    stages = check_stages(estimator, optimizer, theta, key, num_steps, chunk_length)
    check_functions(theta, project, None, progress)
    check_keep(keep)
    measures, callbacks = check_readings(evaluate, watch, stages, theta, key), as_callbacks(callback)
    patience = check_stop(stop_on, patience, measures)
    key_init, key_steps = jax.random.split(key)
    readings = Readings(measures, reading_key(key_init), stop_on, patience)
    if resume is None:
        first, snapshot = 0, readings.look(0, _begin(stages[0], optimizer, trees.strong(theta), key_init))
    else:
        first = first_step(resume, num_steps, patience)
        _check_form(resume, stages, optimizer, theta, key_init)
        snapshot = resume._replace(stopped=jnp.asarray(NEVER, jnp.int32), ended=GOES_ON)
    longest = min(chunk_length or num_steps, num_steps)
    runs = chunk_programs(stages, optimizer, project, longest, keep, inside=(theta, key, resume))
    chunks = cut_into_chunks(first, num_steps, chunk_length, stages)
    thetas, metrics, severest = Thetas(keep, chunks), [], 0
    if patience is not None and is_known(snapshot):
        callbacks.insert(0, stop_early(patience, str(stop_on)))
    for begin, end in chunks:
        start = max(one for one in stages if one <= begin)
        if begin == start > 0:
            state = stages[start].init(snapshot.theta, jax.random.fold_in(key_init, start))
            snapshot = snapshot._replace(estimator_state=state, made_by=made_by(stages[start]))
        snapshot, past, reports = _advance(runs[start], snapshot, begin, end, key_steps)
        reason = explain_stop(snapshot, reports, begin)
        past = thetas.add(past, begin, int(snapshot.stopped) + 1 if reason else end)
        if reason:
            end = int(snapshot.stopped)
            reports = take_first(reports, end - begin + 1)
        severity, diverged = describe_divergence(reports, begin, stages[start].description)
        snapshot = readings.look(end, snapshot)
        metrics.append(reports)
        if callbacks:
            part = History(past, reports, readings.unreported(), snapshot, thetas.steps[-1])
            snapshot = snapshot._replace(ended=call_callbacks(callbacks, end, jax.tree.map(on_host, part)))
        if progress is not None:
            progress(name, end, num_steps)
        if severity > severest:
            severest = severity
            warnings.warn(diverged, stacklevel=2)
        if reason:
            warnings.warn(reason, stacklevel=2)
        if reason or (callbacks and snapshot.ended.any()):
            break
    past, steps = thetas.joined()
    reports = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *metrics)
    theta = snapshot.theta if stop_on is None else best_theta(snapshot)
    return theta, History(past, reports, readings.all(), snapshot, steps)


def first_snapshot(estimator: Stages, optimizer: optax.GradientTransformation, theta: Theta, key: Key) -> Snapshot:
    """Return the snapshot before the first outer step, without an evaluation.

    Use it as the template of `recording.load_snapshot`.

    Args:
      estimator, optimizer, theta, key: as in `meta_train`. For a schedule give the estimator that was in use when the
        snapshot was saved.

    Raises:
      TypeError: as in `meta_train`.
      ValueError: as in `meta_train`.
    """
    stages = check_stages(estimator, optimizer, theta, key, 1, None)
    return _begin(stages[0], optimizer, trees.strong(theta), jax.random.split(key)[0])


def _advance(run, snapshot, begin, end, key):
    """Return the snapshot after a chunk, θ before the steps that are kept, and the metrics.

    The inner steps are counted outside of the program, where they are 64-bit integers.
    """
    found = run(trees.gathered(snapshot._replace(inner_steps=None, made_by=None, ended=None)), begin, end - begin, key)
    after, past, reports = trees.gathered((*found[:2], take_first(found[2], end - begin)))
    spent = spent_by(after.stopped, reports["inner_steps"], begin, snapshot.inner_steps)
    return after._replace(inner_steps=spent, made_by=snapshot.made_by, ended=snapshot.ended), past, reports


def _begin(estimator, optimizer, theta, key) -> Snapshot:
    never = jnp.asarray(NEVER, jnp.int32)
    none = jnp.zeros((), jnp.int32)
    best = Best(theta, jnp.full((), debugging.unknown()), never, none)
    first = Snapshot(none, theta, optimizer.init(theta), estimator.init(theta, key), best, never, None, ended=None)
    return trees.strong(trees.gathered(first))._replace(
        inner_steps=NOTHING_SPENT, made_by=made_by(estimator), ended=GOES_ON
    )


def _check_form(resume, stages, optimizer, theta, key) -> None:
    """Check that a snapshot has the structure of this run's θ, outer optimiser and estimator."""
    check_same("theta", resume.theta, theta)
    stage = stages[max(start for start in stages if start < resume.step or start == 0)]
    check_maker(resume, stage)
    form = jax.eval_shape(lambda: _begin(stage, optimizer, trees.strong(theta), key))
    for name in ("optimizer_state", "estimator_state"):
        check_same(name, getattr(resume, name), getattr(form, name))
