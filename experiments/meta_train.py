"""Tune hyperparameters or a learned optimiser on a benchmark, and judge the result beside baselines tuned for it."""

import time

import jax
import numpy as np
import optax
from hydra.utils import instantiate

import metalearn as ml
from metalearn.recording import (
    application,
    draw_descents,
    draw_learning_curves,
    estimator_of,
    key_of,
    load_snapshot,
    open_run,
    output_folder,
    save_optimizer,
    save_snapshot,
    show_progress,
)


def main(config):
    began, key = time.perf_counter(), key_of(config.seed)
    benchmark = instantiate(config.problem.benchmark)
    tuning = instantiate(config.problem.tuning, _convert_="all")(benchmark)
    problem = benchmark.problem(tuning.optimizer, config.problem.reading, task=tuning.task)
    ml.check_problem(problem, tuning.theta)
    with (
        open_run(
            output_folder(), config, name=f"meta-train-{config.problem.name}", resume=config.resume, **config.tracker
        ) as run,
        show_progress() as progress,
    ):
        histories, tuned = {}, {}
        for entry in config.estimators.values():
            for seed in range(config.seeds):
                name = entry.label if config.seeds == 1 else f"{entry.label} {seed}"
                estimator = estimator_of(config.problem, problem, entry, key)
                theta, histories[name] = train(
                    config, benchmark, tuning, estimator, name, jax.random.fold_in(key, seed), run, progress
                )
                tuned[name] = tuning.at(theta)
                if tuning.learned is not None:
                    path = run.folder / f"{name.replace(' ', '-')}.msgpack"
                    run.file(f"{name} optimiser", save_optimizer(path, tuning.learned, theta))
        judge(config, benchmark, tuned, jax.random.fold_in(key, 2**31), run, progress)
        run.figure(
            "descent", draw_descents(histories, title=f"{config.problem.name}: held-out loss along meta-training")
        )
        print(f"figures: {run.folder}/figures    {time.perf_counter() - began:.0f} s")


def train(config, benchmark, tuning, estimator, name, key, run, progress):
    """One meta-training, from its snapshot where there is one."""
    outer = config.outer
    rate = optax.cosine_decay_schedule(outer.learning_rate, outer.num_steps) if outer.decay else outer.learning_rate
    clip = optax.identity() if outer.clip_norm is None else optax.clip_by_global_norm(outer.clip_norm)
    optimizer = optax.chain(clip, optax.adam(rate))
    read = benchmark.problem(tuning.optimizer, "validation", task=tuning.task)
    path = run.folder / f"{name.replace(' ', '-')}.snapshot.npz"
    begin = ml.first_snapshot(estimator, optimizer, tuning.theta, key)
    snapshot = load_snapshot(path, begin) if path.exists() else None

    def look(step, theta, history):
        save_snapshot(path, history.snapshot)
        means = {metric: float(np.mean(values)) for metric, values in history.metrics.items()}
        run.log({name: means | {"held_out": float(history.evaluations["loss"][-1])}}, step=step)

    if snapshot is not None and snapshot.step >= outer.num_steps:
        return snapshot.theta, None
    return ml.meta_train(
        estimator,
        optimizer,
        tuning.theta,
        key,
        outer.num_steps,
        evaluate=ml.held_out_loss(read, benchmark.num_steps, config.held_out),
        chunk_length=config.chunk_length,
        callback=look,
        progress=lambda _, done, total: progress(name, done, total),
        resume=snapshot,
    )


def judge(config, benchmark, tuned, key, run, progress):
    """The results beside tuned baselines, on fresh seeds."""
    found = ml.evaluate(
        tuned,
        {config.problem.name: benchmark},
        key,
        num_seeds=config.judges,
        baselines=config.baselines,
        progress=progress,
    )
    print(f"\n{found}\n")
    run.table("evaluation", found.rows())
    run.arrays("curves", {row.optimizer: row.curves.validation for row in found.results})
    run.figure("curves", draw_learning_curves(found, config.problem.name))


if __name__ == "__main__":
    application(main, "meta_train")
