"""Compare gradient estimators at one theta, and draw their outer trajectories over a landscape."""

import time

import jax
import jax.numpy as jnp
import numpy as np

import metalearn as ml
from metalearn.application import (
    UNKNOWN_SIGMA,
    application,
    build_descents,
    build_estimator,
    check_labels,
    open_experiment,
    parse_seed,
    read_study,
    show_progress,
)
from metalearn.figures import draw_comparison, draw_trajectories, later
from metalearn.inner.checks import check_count, check_number
from metalearn.landscape.render import check_resolution
from metalearn.outer import end_points, run_descents
from metalearn.outer.comparison.compare import check_comparison
from metalearn.outer.history import divergence_along, divergence_in_words
from metalearn.recording.values import plain

LANDSCAPE_KEYS = 8


def main(config):
    began = time.perf_counter()
    key = parse_seed(config.seed)
    check_labels(config)
    for name in ("episodes", "reference_pairs"):
        check_count(name, config[name], 2)
    check_resolution(config.landscape.resolution, "landscape.resolution")
    check_number("trajectories.length_factor", config.trajectories.length_factor, 0)
    study = read_study(config)
    problem, theta = study.problem, study.theta
    for sentence in ml.check_problem(problem, theta):
        print(sentence)
    estimators = {
        entry.label: build_estimator(config.problem, problem, entry, jax.random.fold_in(key, 2))
        for entry in chosen(config)
    }
    check_comparison(estimators, theta, key, config.episodes, config.reference_pairs)
    with (
        open_experiment(config, f"compare-{config.problem.name}") as run,
        show_progress() as progress,
    ):
        settings = {"num_episodes": config.episodes, "reference_pairs": config.reference_pairs, "progress": progress}
        say = lambda report: print(report, flush=True)  # each row as soon as it is measured; the table follows
        comparison = ml.compare(estimators, theta, jax.random.fold_in(key, 1), callback=say, **settings)
        title = f"{config.problem.name} at theta = {said(config.problem.theta)}, {config.pairs} pairs, {config.episodes} episodes"
        run.table("comparison", comparison.rows())
        run.figure("comparison", later(draw_comparison, comparison, title))
        print(f"\n{title}\n\n{comparison}\n")
        shares = {report.name: count_divergence(report) for report in comparison.reports if report.num_episodes}
        if study.plane is not None:
            shares |= follow(config, study, key, run, progress)
        seconds = time.perf_counter() - began
        print(f"figures: {run.folder}/figures    {seconds:.0f} s    {divergence_in_words(shares)}")


def said(theta):
    """Return θ of the configuration, with six digits, if it fits on a line."""
    words = str(jax.tree.map(lambda number: float(f"{number:.6g}"), plain(theta)))
    return words if theta is not None and len(words) < 80 else "its start"


def chosen(config):
    """Return the entries of the estimator group, in the requested order."""
    if not config.estimators:
        raise ValueError("No estimator was chosen; choose some, such as estimator=[full_es,persistent_es].")
    return list(config.estimators.values())


def count_divergence(report):
    """Return the shares of a report at a fixed θ, in the form of `History.divergence`."""
    return dict.fromkeys(("first", "worst", "last"), report.fraction_diverged) | {"capped": report.fraction_capped}


def follow(config, study, key, run, progress):
    """Render the landscape, run outer trajectories of every estimator, draw both, and return what diverged."""
    problem, plane = (
        (study.problem, study.plane) if study.on_axes else ml.diagnosis.on_plane(study.problem, study.plane)
    )
    sigma = study.sigma_on_plane()

    def value(theta):
        if config.problem.repeat_randomness:
            return ml.meta_loss(problem, theta, jax.random.fold_in(key, 2), config.problem.horizon)
        keys = jax.random.split(jax.random.fold_in(key, 3), LANDSCAPE_KEYS)
        return jnp.mean(jax.vmap(lambda k: ml.meta_loss(problem, theta, k, config.problem.horizon))(keys))

    landscape = ml.landscape.render(value, plane, config.landscape.resolution, progress=progress)
    run.arrays(
        "landscape",
        {"meta_loss": landscape, "x": plane.x.points(landscape.shape[1]), "y": plane.y.points(landscape.shape[0])},
    )
    if not config.trajectories.length_factor:
        return {}
    if sigma is None:
        print(f"No outer trajectories: {UNKNOWN_SIGMA}\n")
        return {}
    starts = study.starts
    values, paths, rows = ml.jit(jax.vmap(value), "the meta-loss", calls=len(config.estimators)), {}, []
    shares = {}
    descents, key = build_descents(config, jax.random.fold_in(key, 2), sigma), jax.random.fold_in(key, 4)
    for _, descent, found in run_descents(descents, problem, plane, starts, key, progress):
        if isinstance(found, str):
            print(f"{descent.label} cannot be followed: {found}\n")
            continue
        thetas, metrics = found
        losses = np.asarray(values(jnp.asarray(end_points(thetas))))
        paths[descent.label] = np.asarray(thetas)
        steps = float(np.asarray(metrics["inner_steps"], np.float64).sum(axis=1).mean())
        rows.append(
            {"estimator": descent.label, "inner_steps": steps}
            | {f"start {i + 1}": float(x) for i, x in enumerate(losses)}
        )
        log(run, descent.label, thetas, metrics)
        shares[f"{descent.label}, outer trajectories"] = divergence_along(metrics)
    run.arrays("trajectories", paths)
    record(run, landscape, plane, paths, rows)
    return shares


def record(run, landscape, plane, paths, rows):
    """Draw the outer trajectories, and print their end points."""
    run.table("trajectories", rows)
    run.figure(
        "trajectories",
        later(draw_trajectories, landscape, plane, paths, value_name="meta-loss"),
    )
    print("meta-loss at the end of the outer trajectories, by start:\n")
    for row in rows:
        ends = "  ".join(f"{value:8.4g}" for name, value in row.items() if name.startswith("start "))
        print(f"  {row['estimator']:24s}{ends}    {row['inner_steps']:9.0f} inner steps")
    print()


def log(run, label, thetas, metrics):
    """Log about fifty points of each trajectory, averaged over the starts."""
    num_steps = metrics["loss"].shape[1]
    for step in range(0, num_steps, max(1, num_steps // 50)):
        means = {
            name: float(metrics[name][:, step].mean()) for name in ("loss", "fraction_diverged", "gradient_variance")
        }
        means |= {"theta_x": float(thetas[:, step, 0].mean()), "theta_y": float(thetas[:, step, 1].mean())}
        run.log({label: means}, step=step)


if __name__ == "__main__":
    application(main, "compare")
