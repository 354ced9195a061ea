"""One meta-training of an experiment: with snapshots, evaluations and a log in the run's folder."""

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
from metalearn.recording import Run, extend_evaluations, load_snapshot, save_snapshot
from metalearn.recording.run_folder import file_name
from metalearn.types import Progress, Theta


def seed_label(config: Any, name: str, seed: int) -> str:
    """The name of a meta-training: that of its estimator, with the seed where there are several."""
    return name if config.seeds == 1 else f"{name} {seed}"


def result_file(run: Run, label: str, ending: str) -> Path:
    """A file of a meta-training in the folder of its run."""
    return run.folder / f"{_file_stem(label)}.{ending}"


def _file_stem(label: str) -> str:
    return file_name(label.replace(" ", "-"))


def check_labels(config: Any, others: Iterable[str] = ()) -> None:
    """Refuse results of one name: the files of one would be taken for those of the other.

    Args:
      config: estimators, with their labels, and seeds, if it has any.
      others: names of further results.

    Raises:
      TypeError: a label is no text.
      ValueError: two names are equal, or become equal as names of files, which also ignore capitals in some systems.
    """
    for name, entry in config.estimators.items():
        if not isinstance(entry.label, str) or not entry.label.strip():
            raise TypeError(f"estimators.{name}.label must be a text; {entry.label!r} was given.")
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


def check_outer(config: Any) -> None:
    """Refuse before anything is trained what would be refused after it.

    Raises:
      TypeError, ValueError: a number of the configuration is out of its range, or stopping early makes no sense.
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
        raise ValueError(
            f"outer.stop_on must be null or {EVALUATE}, which is what is read here; {stop_on!r} was given."
        )
    if stop_on is None and patience is not None:
        raise ValueError(f"outer.patience is that of outer.stop_on; add outer.stop_on={EVALUATE}, or leave it out.")
    if patience is not None:
        check_count("outer.patience", patience)
    if stop_on is not None and config.chunk_length >= config.outer.num_steps:
        raise ValueError(
            f"outer.stop_on needs readings on the way, but chunk_length={config.chunk_length} makes one chunk of the "
            f"{config.outer.num_steps} outer steps; give a smaller chunk_length."
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
    """The end of one meta-training, from its snapshot where there is one.

    Args:
      config: chunk_length, outer.stop_on and outer.patience are read.
      estimator, optimizer, num_steps, theta, key, evaluate, progress: as in `meta_train`.
      label: the name of files and lines of the log.
      run: where these go.
      shares: told what diverged.
      numbers_of: numbers of θ that are logged.
    """
    path, snapshot = result_file(run, label, "snapshot.npz"), None
    if path.exists():
        snapshot = load_snapshot(path, first_snapshot(estimator, optimizer, theta, key))
        if snapshot.step >= num_steps or np.any(snapshot.ended):
            return snapshot

    def look(step, theta, history):
        extend_evaluations(result_file(run, label, "evaluations.npz"), history.evaluations)
        save_snapshot(path, history.snapshot)
        means = {metric: float(np.mean(values)) for metric, values in history.metrics.items()}
        means |= {"fresh_episodes": float(history.evaluations["loss"][-1])}
        run.log({label: means | dict(numbers_of(theta))}, step=step)

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
    shares[label] = {name: float(share) for name, share in history.divergence().items()}
    if history.stop_reason:
        print(f"{label}: {history.stop_reason}")
    return history.snapshot


def tuned_theta(config: Any, end: Snapshot) -> Theta:
    """The result of a meta-training: its best θ with `outer.stop_on`, else its last."""
    return end.theta if config.outer.stop_on is None else best_theta(end)
