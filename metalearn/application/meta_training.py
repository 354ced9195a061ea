"""One meta-training of an experiment: with snapshots, evaluations and a log in the run's folder."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from metalearn.estimators import GradientEstimator
from metalearn.inner.checks import check_bool, check_count, check_number
from metalearn.outer import Snapshot, first_snapshot, meta_train
from metalearn.outer.readings import EVALUATE, best_theta
from metalearn.recording import Run, extend_evaluations, load_snapshot, log_file, save_snapshot
from metalearn.recording.background import BackgroundWriter, on_host
from metalearn.recording.checkpoints import DamagedFileError
from metalearn.recording.files import RunFolderError, replacing, short
from metalearn.recording.folders import file_name, read_json
from metalearn.recording.processes import in_first_process, is_first
from metalearn.recording.weights_and_biases import tell
from metalearn.types import Progress, Theta

SHARES = ("first", "worst", "last", "capped")  # the names of `History.divergence`
SNAPSHOTS = ("snapshot.npz", "snapshot-before.npz")  # the endings of the last two snapshots of a meta-training


def seed_label(config: Any, name: str, seed: int) -> str:
    """Return the name of a meta-training: that of its estimator, and the seed if there are several."""
    return name if config.seeds == 1 else f"{name} {seed}"


def result_file(run: Run, label: str, ending: str) -> Path:
    """Return the path of a file of a meta-training in the folder of its run."""
    return run.folder / f"{_file_stem(label)}.{ending}"


def _file_stem(label: str) -> str:
    return file_name(label.replace(" ", "-"))


def check_labels(config: Any, others: Iterable[str] = ()) -> None:
    """Check that all results have different names, because names determine files.

    Args:
      config: estimators, with their labels, and seeds, if it has any.
      others: names of further results.

    Raises:
      TypeError: a label is not a string.
      ValueError: two names are equal, also as names of files, which are not case-sensitive in some systems.
    """
    for name, entry in config.estimators.items():
        if not isinstance(entry.label, str) or not entry.label.strip():
            raise TypeError(f"estimators.{name}.label must be a string; {entry.label!r} was given.")
    labels = [entry.label for entry in config.estimators.values()]
    if "seeds" in config:
        labels = [seed_label(config, label, seed) for label in labels for seed in range(config.seeds)]
    found: dict[str, str] = {}
    for title in [*labels, *others]:
        stem = _file_stem(title).casefold()
        if stem in found:
            both = (
                repr(title)
                if found[stem] == title
                else f"{found[stem]!r} and {title!r}, which are equal as names of files"
            )
            raise ValueError(
                f"Two results are called {both}. Give each estimator another label, with estimators.NAME.label=LABEL."
            )
        found[stem] = title


def may_grow(config: Any) -> tuple[str, ...]:
    """Return the numbers of a configuration that a resumed run may increase, to train longer.

    If the learning rate decays to the last step, or if searches take as many inner steps as a meta-training, a longer
    run differs from the first step on.
    """
    return () if config.outer.decay or config.searches else ("outer.num_steps",)


def check_outer(config: Any) -> None:
    """Check the settings of the outer loop before anything is trained.

    Raises:
      TypeError, ValueError: a number of the configuration is out of its range, or the settings of early stopping
        contradict each other.
    """
    for name in ("seeds", "held_out", "judges", "pairs", "chunk_length"):
        check_count(name, config[name])
    check_count("outer.num_steps", config.outer.num_steps)
    check_number("outer.learning_rate", config.outer.learning_rate, 0, open_low=True)
    if config.outer.clip_norm is not None:
        check_number("outer.clip_norm", config.outer.clip_norm, 0, open_low=True)
    check_bool("outer.decay", config.outer.decay)
    stop_on, patience = config.outer.stop_on, config.outer.patience
    if stop_on not in (None, EVALUATE):
        raise ValueError(f"outer.stop_on must be null or {EVALUATE}, the only reading here; {stop_on!r} was given.")
    if stop_on is None and patience is not None:
        raise ValueError(f"outer.patience needs outer.stop_on; add outer.stop_on={EVALUATE}, or omit outer.patience.")
    if patience is not None:
        check_count("outer.patience", patience)
    if stop_on is not None and config.chunk_length >= config.outer.num_steps:
        raise ValueError(
            f"outer.stop_on needs readings during training, but chunk_length={config.chunk_length} makes one chunk "
            f"of the {config.outer.num_steps} outer steps; give a smaller chunk_length."
        )


def train(
    config: Any,
    estimator: GradientEstimator,
    optimizer: optax.GradientTransformation,
    num_steps: int,
    theta: Theta,
    key: jax.Array,
    evaluate: Callable[[Theta, jax.Array], Any],
    label: str,
    run: Run,
    progress: Progress,
    shares: dict[str, Any],
    numbers_of: Callable[[Theta], Mapping[str, Any]] = lambda theta: {},
) -> Snapshot:
    """Run one meta-training, from its snapshot if there is one, and return its end.

    Args:
      config: chunk_length, outer.stop_on and outer.patience are read.
      estimator, optimizer, num_steps, theta, key, evaluate, progress: as in `meta_train`.
      label: the name in files and in the log.
      run: the run that records them.
      shares: a function that is called with the shares of diverged particles.
      numbers_of: a function that returns the numbers of θ to log.
    """
    snapshot = _last_snapshot(run, label, first_snapshot(estimator, optimizer, theta, key))
    divergence = result_file(run, label, "divergence.json")
    if snapshot is not None and divergence.exists():
        shares[label] = _read_shares(divergence)
    if snapshot is not None and (snapshot.step >= num_steps or np.any(snapshot.ended)):
        return snapshot

    def look(step, theta, history):
        """Record a chunk. The snapshot is written last, because a resumed run repeats everything after it."""
        now = {name: float(share) for name, share in history.divergence().items()}
        shares[label] = _joined(shares.get(label, now), now)
        if is_first():
            means = {metric: float(np.mean(values)) for metric, values in history.metrics.items()}
            means |= {"fresh_episodes": float(history.evaluations["loss"][-1])}
            run.log({label: means | dict(numbers_of(theta))}, step=step)
            extend_evaluations(result_file(run, label, "evaluations.npz"), history.evaluations)
            with replacing(divergence) as file:
                file.write_text(json.dumps(shares[label]))
            copy = on_host(history.snapshot)
            writer.write(lambda: _save(run, label, copy), sum(leaf.nbytes for leaf in jax.tree.leaves(copy)))

    with BackgroundWriter() as writer:
        _, history = meta_train(
            estimator,
            optimizer,
            theta,
            key,
            num_steps,
            evaluate=evaluate,
            stop_on=config.outer.stop_on,
            patience=config.outer.patience,
            chunk_length=config.chunk_length,
            callback=look,
            progress=progress,
            name=label,
            resume=snapshot,
            keep="last",
        )
    if history.stop_reason:
        print(f"{label}: {history.stop_reason}")
    return history.snapshot


def _read_shares(path: Path) -> dict[str, float]:
    """Read the shares that `train` wrote.

    Raises:
      RunFolderError: the file is damaged.
    """
    found = read_json(path)
    if found.keys() != set(SHARES) or not all(isinstance(share, int | float) for share in found.values()):
        raise RunFolderError(
            f"{short(path)} is damaged: it has no shares of diverged particles. Start a new run, or restore the file."
        )
    return found


def _joined(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """Join `History.divergence` of a run with that of its next chunk, or of an earlier chunk."""
    largest = {name: max(before[name], now[name]) for name in ("worst", "capped")}
    return {"first": before["first"], "worst": largest["worst"], "last": now["last"], "capped": largest["capped"]}


def _save(run: Run, label: str, snapshot: Snapshot) -> None:
    """Save a snapshot, and keep the one before it."""
    path, before = (result_file(run, label, ending) for ending in SNAPSHOTS)
    if path.exists():
        os.replace(path, before)
    save_snapshot(path, snapshot)


def _last_snapshot(run: Run, label: str, like: Snapshot) -> Snapshot | None:
    """Return the newest intact snapshot with a line in the log, else the newest intact one, or None.

    Raises:
      ValueError: there are snapshots, and all are damaged or of another run.
    """
    found: dict[Path, Snapshot] = {}
    path = in_first_process(lambda: _choose(run, label, like, found))
    return found[path] if path in found else path and load_snapshot(path, like)


def _choose(run: Run, label: str, like: Snapshot, found: dict[Path, Snapshot]) -> Path | None:
    """Return the path of the snapshot to continue from, and load all intact ones into `found`.

    A damaged snapshot is removed if another one is intact, because the next snapshot would move it over that one.
    """
    damaged = []
    for path in (result_file(run, label, ending) for ending in SNAPSHOTS):
        if path.exists():
            try:
                found[path] = load_snapshot(path, like)
            except DamagedFileError as error:
                damaged.append(path)
                tell(f"A snapshot is damaged, and the one before it is used: {error}")
    if damaged and not found:
        raise ValueError(
            f"All snapshots of {label} are damaged: {', '.join(map(short, damaged))}. "
            f"Delete {'them' if len(damaged) > 1 else 'it'} to begin this part again, or start a new run."
        )
    for path in damaged:
        path.unlink()
    log = run.folder / log_file.NAME
    for path, one in found.items():
        if log_file.has_line(log, int(one.step), f"{label}/"):
            return path
    if found:
        tell(f"{short(log)} has no line of the snapshots of {label}, so lines before them are lost.")
    return next(iter(found), None)


def tuned_theta(config: Any, end: Snapshot) -> Theta:
    """Return the result of a meta-training: its best θ with `outer.stop_on`, else its last."""
    return end.theta if config.outer.stop_on is None else best_theta(end)
