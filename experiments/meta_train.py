"""Tune hyperparameters or a learned optimiser, and compare the result with tuned baselines."""

import functools
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import optax

import metalearn as ml
from metalearn.application import (
    SEARCHES,
    application,
    build_benchmarks,
    build_hyperparameters,
    build_problem,
    build_split_estimator,
    check_keys,
    check_labels,
    check_outer,
    check_searches,
    chooses_problem,
    held_out,
    instantiate,
    may_grow,
    on_each,
    open_experiment,
    outer_optimizer,
    parse_seed,
    result_file,
    searched,
    seed_label,
    show_progress,
    train,
    tune_problem,
    tuned_theta,
    use_cores,
)
from metalearn.figures import draw_descents, draw_learning_curves, draw_matrix, later
from metalearn.inner.checks import check_bool, check_count
from metalearn.outer.history import divergence_in_words
from metalearn.recording import by_path, save_optimizer
from metalearn.recording.checkpoints import load_evaluations
from metalearn.recording.processes import is_first

AS_TUNED = "as tuned"
OF_TUNING = ("name", "benchmark", "tuning", "reading", "horizon", "length", "repeat_randomness", "stagger")
OF_TUNING += ("shared_minibatches", "sigma")
JUDGING = ("judges", "baselines")  # settings that a resumed run may change


def main(config):
    use_cores()
    began, key = time.perf_counter(), parse_seed(config.seed)
    check_settings(config)
    benchmark = instantiate(config.problem.benchmark)
    tuning = build_problem(config.problem.tuning, "problem.tuning", benchmark)
    benchmarks = {AS_TUNED: benchmark} | others(config, tuning)
    alone = build_tunings(config, tuning, benchmarks)
    check_labels(config, other_labels(config, alone))
    trained = benchmarks if config.mixture else {AS_TUNED: benchmark}
    problems = {
        name: one.problem(tuning.optimizer, config.problem.reading, task=tuning.task) for name, one in trained.items()
    }
    ml.check_problem(problems[AS_TUNED], tuning.theta)
    name = f"meta-train-{config.problem.name}"
    with ml.over_devices():
        estimators = build_all(config, trained, problems, key)
    with (
        ml.over_devices(),
        open_experiment(config, name, may_differ=JUDGING, may_grow=may_grow(config)) as run,
        show_progress() as progress,
    ):
        thetas, shares = descend(config, trained, estimators, tuning, key, run, progress)
        tuned = {label: tuning.at(theta) for label, theta in thetas.items()}
        found = search(config, alone, jax.random.fold_in(key, 2**30), run, progress)
        if config.hyperparameter_steps:
            found["hyperparameters"] = tuned_alone(config, alone, key, run, progress, shares)
        tuned |= {label: on_each(alone, each) for label, each in found.items()}
        record(run, tuning, thetas, found)
        judge(config, benchmarks, tuned, jax.random.fold_in(key, 2**31), run, progress)
        files = {label: result_file(run, label, "evaluations.npz") for label in thetas}
        if curves := {label: load_evaluations(path) for label, path in files.items() if path.exists()}:
            run.figure("descent", later(draw_descents, curves, title=f"{config.problem.name}: along meta-training"))
        run.table("divergence", [{"label": label} | one for label, one in shares.items()])
        print(f"figures: {run.folder}/figures    {time.perf_counter() - began:.0f} s    {divergence_in_words(shares)}")


def build_all(config, trained, problems, key):
    """Return the estimators of every benchmark by label, before anything runs."""
    settings, named = config.problem, lambda name: None if name == AS_TUNED else name
    build = lambda name, entry: build_split_estimator(settings, named(name), trained[name], problems[name], entry, key)
    return {entry.label: {name: build(name, entry) for name in trained} for entry in config.estimators.values()}


def descend(config, trained, estimators, tuning, key, run, progress):
    """Return the result of every meta-training, and the divergence of those that ran now."""
    thetas, shares = {}, {}
    outer = outer_optimizer(config.outer), config.outer.num_steps
    weights, evaluate = readings(trained, tuning, config.held_out, key)
    for title, parts in estimators.items():
        estimator = ml.mixture(parts, weights) if config.mixture else parts[AS_TUNED]
        for seed in range(config.seeds):
            label = seed_label(config, title, seed)
            own = jax.random.fold_in(key, seed)
            start = tuning.theta if tuning.learned is None else tuning.learned.init(own)
            end = train(config, estimator, *outer, start, own, evaluate, label, run, progress, shares)
            thetas[label] = tuned_theta(config, end)
            path = result_file(run, label, "msgpack")
            if tuning.learned is not None and is_first():
                run.file(f"{label} optimiser", save_optimizer(path, tuning.learned, thetas[label]))
    return thetas, shares


def check_settings(config):
    """Check the settings before anything is trained."""
    check_keys("problem", config.problem, OF_TUNING)
    check_outer(config)
    check_labels(config)
    check_count("hyperparameter_steps", config.hyperparameter_steps, 0)
    for name in ("baselines", "mixture"):
        check_bool(name, config[name])


def readings(trained, tuning, num_episodes, key):
    """Return the weights of a mixture, the inverse losses at the first θ, and the weighted mean held-out loss."""
    reads = {name: held_out(benchmark, tuning, num_episodes) for name, benchmark in trained.items()}
    if len(reads) == 1:
        return None, *reads.values()
    weights = {name: 1 / float(ml.jit(read, "a loss", calls=1)(tuning.theta, key)) for name, read in reads.items()}
    total = sum(weights.values())
    mean: Any = lambda theta, key: sum(weights[name] * read(theta, key) for name, read in reads.items()) / total
    return weights, mean


def tuned_alone(config, tunings, key, run, progress, shares):
    """Tune hyperparameters for each benchmark by NRES, as tuning=hyperparameters does: name -> θ."""
    found = {}
    for name, (benchmark, tuning) in tunings.items():
        problem = benchmark.problem(tuning.optimizer, task=tuning.task)
        length = benchmark.num_steps // math.gcd(benchmark.num_steps, config.problem.horizon // config.problem.length)
        windows = ml.Truncation(benchmark.num_steps, length, stagger=True, shared_minibatches=True)
        estimator = ml.noise_reuse_es(problem, windows, sigma=0.3, num_pairs=config.pairs)
        outer = optax.adam(0.1), config.hyperparameter_steps
        evaluate, label = held_out(benchmark, tuning, config.held_out), f"hyperparameters of {name}"
        end = train(config, estimator, *outer, tuning.theta, key, evaluate, label, run, progress, shares)
        found[name] = tuned_theta(config, end)
    return found


def build_tunings(config, tuning, benchmarks):
    """Return the hyperparameters to be tuned by searches or by NRES: those given, or all of every benchmark."""
    check_searches(config.searches, tuning)
    if tuning.learned is None:
        return {AS_TUNED: (benchmarks[AS_TUNED], tuning)}
    wanted = config.searches or config.hyperparameter_steps
    return build_hyperparameters(benchmarks, "searches=[] hyperparameter_steps=0") if wanted else {}


def other_labels(config, tunings):
    """Return the names of the results other than those of the estimators, and of the searches that each contains."""
    searches = [seed_label(config, SEARCHES[name], seed) for name in config.searches for seed in range(config.seeds)]
    steps = (
        ["hyperparameters", *(f"hyperparameters of {name}" for name in tunings)] if config.hyperparameter_steps else []
    )
    return [*searches, *(f"{label} of {name}" for label in searches for name in tunings), *steps]


def search(config, tunings, key, run, progress):
    """Run the searches: label -> name of a benchmark -> θ, each with the inner steps of one meta-training."""
    size, found = 2 * config.pairs, {}
    steps = size * config.outer.num_steps * config.problem.length
    for name in config.searches:
        for seed in range(config.seeds):
            label, own = seed_label(config, SEARCHES[name], seed), jax.random.fold_in(key, seed)
            found[label] = {}
            for place, (benchmark, tuning) in tunings.items():
                title = f"{label} of {place}"
                path, told = result_file(run, title, "search.npz"), functools.partial(under, progress, title)
                found[label][place] = searched(path, name, benchmark, tuning, own, steps, size, told)
    return found


def under(progress, title, _, done, total):
    """Report progress under a title that distinguishes searches of the same kind."""
    progress(title, done, total)


def record(run, tuning, thetas, found):
    """Record the hyperparameters in a table; for several benchmarks, which may have different names, one per row."""
    if tuning.learned is None:
        thetas = thetas | {label: each[AS_TUNED] for label, each in found.items()}
        run.table("theta", [{"label": label} | by_path(theta) for label, theta in thetas.items()])
        return
    rows = []
    for label, each in found.items():
        for place, theta in each.items():
            named = by_path(theta).items()
            rows += [{"label": label, "benchmark": place, "name": name, "value": value} for name, value in named]
    run.table("hyperparameters", rows)


def others(config, tuning):
    """Build the benchmarks of the matrix, and check that the tuning can be evaluated on them."""
    if config.matrix and tuning.learned is None:
        raise ValueError(
            "matrix needs a learned optimiser, because hyperparameters belong to one network; use matrix=none."
        )
    if config.mixture and not config.matrix:
        raise ValueError("mixture also trains on the benchmarks of a matrix, but there is none; add matrix=all.")
    if AS_TUNED in config.matrix:
        raise ValueError(f"matrix.{AS_TUNED} has the name of the tuning's own benchmark; give it another name.")
    return build_benchmarks(config.matrix)


def judge(config, benchmarks, tuned, key, run, progress):
    """Evaluate the results together with tuned baselines, on new seeds."""
    settings = {"num_seeds": config.judges, "baselines": config.baselines, "progress": progress}
    found = ml.evaluate(tuned, benchmarks, key, **settings)
    print(f"\n{found}\n")
    run.table("evaluation", [{"tuning": config.problem.name} | row for row in found.rows()])
    run.arrays("curves", {f"{row.benchmark}: {row.optimizer}": row.curves.validation for row in found.results})
    for name in benchmarks:
        run.figure(f"curves_{name}", later(draw_learning_curves, found, name))
    if len(benchmarks) > 1 and config.baselines:
        run.figure("matrix", later(draw_matrix, found))


if __name__ == "__main__":
    if chooses_problem(sys.argv[1:]):
        configs = Path(__file__).resolve().parent.parent / "configs"
        application(tune_problem, "meta_train_problem", configs)
    else:
        application(main, "meta_train")
