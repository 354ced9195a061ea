"""Tune the theta of a problem, problem=digits or problem=my_file.py:my_problem, and evaluate it."""

import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.application.build import build_estimator, outer_optimizer, parse_seed
from metalearn.application.cores import use_cores
from metalearn.application.meta_training import check_labels, check_outer, may_grow, result_file, seed_label, train
from metalearn.application.progress import show_progress
from metalearn.application.runs import open_experiment
from metalearn.application.searches import SEARCHES, check_known
from metalearn.application.studies import read_study
from metalearn.compilation import jit
from metalearn.estimators import over_devices
from metalearn.figures import draw_descents, later
from metalearn.inner.differentiable import check_problem
from metalearn.outer import Study, held_out_loss
from metalearn.outer.history import divergence_in_words
from metalearn.outer.search.evolve import evolve
from metalearn.outer.search.random_search import random_search, uniform
from metalearn.outer.study import leaf_paths
from metalearn.recording import load_snapshot, save_snapshot
from metalearn.recording.checkpoints import load_evaluations
from metalearn.recording.processes import is_first
from metalearn.types import Theta
from metalearn.words import counted, fitting, table

MOST_ENTRIES, MOST_ROWS = 16, 24  # entries of a leaf with their own rows, and rows of the printed table


def tune_problem(config: Any) -> None:
    """Minimise the meta-loss of `config.problem` with every estimator and search, and evaluate the results."""
    use_cores()
    began, key = time.perf_counter(), parse_seed(config.seed)
    check_outer(config)
    study = read_study(config)
    if not config.estimators and not config.searches:
        raise ValueError("No method is given; name estimators, such as estimator=[noise_reuse_es], or searches.")
    check_known(config.searches)
    check_labels(
        config, [seed_label(config, SEARCHES[name], seed) for name in config.searches for seed in range(config.seeds)]
    )
    if config.searches and study.searched is None:
        raise ValueError(
            f"searches need the box of the problem {study.name}, which has none; give problem.box=[low, high]."
        )
    for sentence in check_problem(study.problem, study.theta):
        print(sentence)
    with over_devices():  # all of them before anything runs: a mistake in the last one is found first
        build = lambda entry: build_estimator(config.problem, study.problem, entry, key)
        estimators = {entry.label: build(entry) for entry in config.estimators.values()}
    with (
        over_devices(),
        open_experiment(config, f"meta-train-{study.name}", may_differ=("judges",), may_grow=may_grow(config)) as run,
        show_progress() as progress,
    ):
        shares: dict[str, Any] = {}
        found = {"start": study.theta} | _descend(config, study, estimators, key, run, progress, shares)
        found |= _search(config, study, jax.random.fold_in(key, 2**30), run, progress)
        _record(study, found, run)
        _judge(config, study, found, jax.random.fold_in(key, 2**31), run)
        files = {
            path.name.removesuffix(".evaluations.npz"): path for path in sorted(run.folder.glob("*.evaluations.npz"))
        }
        if files:
            curves = {label: load_evaluations(path) for label, path in files.items()}
            title = f"{study.name}: along meta-training"
            run.figure("descent", later(draw_descents, curves, title=title, loss_name="meta-loss of fresh episodes"))
        run.table("divergence", [{"label": label} | one for label, one in shares.items()])
        print(f"figures: {run.folder}/figures    {time.perf_counter() - began:.0f} s    {divergence_in_words(shares)}")


def _descend(config, study, estimators, key, run, progress, shares) -> dict[str, Theta]:
    """Return the last and the best θ of every meta-training."""
    found: dict[str, Theta] = {}
    optimizer, evaluate = outer_optimizer(config.outer), _held_out(study, config.held_out)
    for name, estimator in estimators.items():
        for seed in range(config.seeds):
            label, own = seed_label(config, name, seed), jax.random.fold_in(key, seed)
            settings = (estimator, optimizer, config.outer.num_steps, study.theta, own, evaluate, label)
            end = train(config, *settings, run, progress, shares, lambda theta: {"theta": numbers(theta)})
            found[f"{label}, last"] = end.theta
            if int(end.best.step) >= 0:
                found[f"{label}, best"] = end.best.theta
    return found


def _held_out(study: Study, num_episodes: int):
    return held_out_loss(study.held_out or study.problem, study.horizon, num_episodes)


def _search(config, study, key, run, progress) -> dict[str, Theta]:
    """Return the θ of every search, each with the inner steps of one meta-training, in trials of one episode."""
    evaluate, size = _held_out(study, 1), 2 * config.pairs
    steps = size * config.outer.num_steps * config.problem.length
    trials, found = max(steps // study.horizon, 1), {}
    for name in config.searches:
        for seed in range(config.seeds):
            label = seed_label(config, SEARCHES[name], seed)
            path = result_file(run, label, "search.npz")
            if path.exists():
                found[label] = load_snapshot(path, study.theta)
                continue
            own = jax.random.fold_in(key, seed)
            said = lambda _, done, total, label=label: progress(label, done, total)
            found[label] = _searched(study, name, evaluate, own, trials, size, said)
            if is_first():
                save_snapshot(path, found[label])
    return found


def _searched(study, name, evaluate, key, trials, size, progress) -> Theta:
    """Run one search; evolution uses coordinates in which the box is the unit cube, and stays in it."""
    low, high = study.searched
    if name == "random_search":
        return random_search(evaluate, uniform(low, high), key, trials, progress=progress)[0]
    wide = jax.tree.map(lambda a, b: jnp.where(b > a, b - a, 1), low, high)
    place = lambda unit: jax.tree.map(lambda u, a, b: a + jnp.clip(u, 0, 1) * (b - a), unit, low, high)
    first = jax.tree.map(lambda at, a, w: jnp.clip((at - a) / w, 0, 1), study.theta, low, wide)
    inside: Any = lambda unit, key: evaluate(place(unit), key)
    generations = max(trials // size, 1)
    return place(evolve(inside, name, first, key, generations, population_size=size, progress=progress)[0])


def numbers(theta: Theta) -> dict[str, Any]:
    """Return the entries of small leaves by path, and mean and standard deviation of large ones."""
    found: dict[str, Any] = {}
    for path, leaf in leaf_paths(theta).items():
        values = np.asarray(leaf, np.float64)
        if values.size <= MOST_ENTRIES:
            found |= {"/".join([path, *map(str, index)]): float(value) for index, value in np.ndenumerate(values)}
        else:
            found |= {f"{path}/mean": float(values.mean()), f"{path}/std": float(values.std())}
    return found


def _record(study: Study, found: Mapping[str, Theta], run) -> None:
    """Record θ by leaf, with a row for each entry and a column for each result."""
    columns = {label: numbers(theta) for label, theta in found.items()}
    rows = [
        {"name": path, "label": study.label(path)} | {label: column[path] for label, column in columns.items()}
        for path in columns["start"]
    ]
    run.table("theta", rows)
    run.arrays("theta", {label: leaf_paths(theta) for label, theta in found.items()})
    text = lambda value: value if isinstance(value, str) else f"{value:.4g}"
    shown = [[text(value) for name, value in row.items() if name != "name"] for row in rows[:MOST_ROWS]]
    header = ["", *columns]
    count = fitting(header, shown)
    left = {"rows": len(rows) - len(shown), "columns": len(header) - count}
    more = [f"… {number} more {what} in tables/theta.csv" for what, number in left.items() if number]
    shown = table(header[:count], [row[:count] for row in shown], more)
    print(f"\ntheta, {counted(trees.size(study.theta), 'number')}:\n\n{shown}\n")


def _judge(config, study: Study, found: Mapping[str, Theta], key: jax.Array, run) -> None:
    """Return the meta-loss of every θ on the same fresh episodes, which were not used to choose θ."""
    one = _held_out(study, 1)
    measure = jit(jax.vmap(one, (None, 0)), "the judges", calls=len(found))
    keys, rows = jax.random.split(key, config.judges), []
    for label, theta in found.items():
        losses = np.asarray(measure(trees.strong(theta), keys), np.float64)
        error = losses.std(ddof=1) / np.sqrt(len(losses)) if len(losses) > 1 else np.nan
        rows.append({"label": label, "loss": losses.mean(), "standard_error": error, "episodes": len(losses)})
    run.table("evaluation", rows)
    cells = [[row["label"], f"{row['loss']:.4g}", f"± {row['standard_error']:.2g}"] for row in rows]
    read = "the held-out problem" if study.held_out is not None else "the problem"
    print(table(["", "meta-loss", "standard error"], cells, [f"on {config.judges} fresh episodes of {read}"]) + "\n")
