"""Train an agent with a guide that knows the way, and a learned optimiser on one training; test both on others."""

import jax
import numpy as np

import metalearn as ml
from metalearn.application import application, open_parts, parse_seed, read_list
from metalearn.figures import draw_probe, draw_walks, later, walk_images, write_film
from metalearn.inner.checks import check_choice, check_count, check_number
from metalearn.inner.problems.guided_walk import GUIDES, check_guides
from metalearn.studies.learned_goals import STRIDE, conditions, meta_trained, probe, probe_rows
from metalearn.studies.misgeneralisation import METHODS, episode, follower, reward_rows, rewards, train_walkers
from metalearn.words import table

PLAIN = "right guides"


def main(config):
    key, mixtures = check(config)
    world, keys = dict(config.world), [jax.random.fold_in(key, seed) for seed in range(config.seeds)]
    with open_parts(config, "misgeneralisation") as parts:
        own = jax.random.fold_in(key, 2**28)  # split(key) would be the keys of the seeds
        best = float(rewards(follower(world["hidden"]), own, world, config.horizon, 4 * config.tests)[0])
        names = [PLAIN, *mixtures]
        found, rows = {}, []
        for method in config.methods:
            mixed = method == config.mixed_by
            shares = [{"right": 1.0}, *(mixtures.values() if mixed else [])]
            found[method] = parts.compute(method, lambda m=method, s=shares: train_walkers(m, s, keys, config))
            rows += reward_rows(found[method], names, method)
        parts.run.table("rewards", rows)
        said(rows, best)
        panels = {method: part["reward"][0] for method, part in found.items()}
        episodes = next(iter(found.values()))["episodes"]
        parts.run.figure("methods", later(draw_walks, panels, episodes, GUIDES, best))
        mixed = found[config.mixed_by]
        panels = dict(zip(names, mixed["reward"]))
        parts.run.figure("mixtures", later(draw_walks, panels, mixed["episodes"], GUIDES, best))
        film(config, key, mixed, parts)
        if config.probe.seeds:
            learned_optimizer(config.probe, jax.random.fold_in(key, 2**29), parts)
        print(f"figures: {parts.run.folder}/figures")


def film(config, key, part, parts):
    """Record one episode with every guide, of the first agent that was trained with right guides."""
    theta = {name.removeprefix("theta/"): leaf[0, 0] for name, leaf in part.items() if name.startswith("theta/")}
    world = dict(config.world)
    shown = {guide: episode(theta, guide, jax.random.fold_in(key, 2**30), world, config.horizon) for guide in GUIDES}
    path = write_film(parts.run.folder / "episodes", walk_images(shown, world["size"]), images_per_second=24)
    parts.run.file("episodes", path)


def learned_optimizer(settings, key, parts):
    """Meta-train an optimiser on one training, and probe it on trainings that differ from it in one respect."""
    training, probing = jax.random.split(key)
    keys = [jax.random.fold_in(training, seed) for seed in range(settings.seeds)]
    trainings = {name: one for name, one in conditions(settings.num_steps).items() if name in settings.conditions}
    weights = parts.compute("learned/weights", lambda: meta_trained(settings, keys))
    part = parts.compute("learned/probe", lambda: probe(weights, trainings, probing, settings.trainings))
    found = {
        name: {key.removeprefix(f"{name}/"): value for key, value in part.items() if key.startswith(f"{name}/")}
        for name in trainings
    }
    rows = probe_rows(found)
    parts.run.table("learned_optimizer", rows)
    parts.run.figure("learned_optimizer", later(draw_probe, found))
    pair = lambda row, part: f"{row[f'{part}_end']:.3f} ± {row[f'{part}_error']:.3f}"
    cells = [[row["condition"], row["optimizer"], pair(row, "training"), pair(row, "validation")] for row in rows]
    foot = [
        f"last cross-entropy; ± over {settings.seeds} meta-seeds or {settings.trainings} trainings; Adam's rate is swept"
    ]
    print(f"{table(['', '', 'training', 'validation'], cells, foot)}\n")


def said(rows, best):
    """Print the last rewards."""
    pair = lambda row, guide: f"{row[guide]:.2f} ± {row[f'{guide}_error']:.2f}"
    cells = [[row["method"], row["training"], *(pair(row, guide) for guide in GUIDES)] for row in rows]
    head = ["", "trained with", *(f"guide {guide}" for guide in GUIDES)]
    foot = [
        f"reward of an episode, mean ± standard error over {rows[0]['seeds']} seeds;",
        f"standing still has 0, following the right guide {best:.2f}",
    ]
    print(f"\n{table(head, cells, foot)}\n")


def check(config):
    """Check the configuration, and return the key and the shares of the mixtures.

    Raises:
      TypeError, ValueError: a setting is out of range.
    """
    for name in ("seeds", "horizon", "length", "pairs", "episodes", "tests"):
        check_count(name, config[name])
    check_number("sigma", config.sigma, 0, open_low=True)
    ml.Truncation(config.horizon, config.length)
    methods = read_list(config, "methods")
    for method in methods:
        check_choice("Every one of methods", method, METHODS)
        check_number(f"learning_rate.{method}", config.learning_rate[method], 0, open_low=True)
    check_choice("mixed_by", config.mixed_by, methods)
    ml.problems.guided_walk("right", **config.world)
    check_probe(config.probe)
    mixtures = {name: dict(shares) for name, shares in config.mixtures.items()}
    for shares in mixtures.values():
        np.asarray(check_guides(shares))
    return parse_seed(config.seed), mixtures


def check_probe(settings):
    """Check the settings of the learned optimiser."""
    check_count("probe.seeds", settings.seeds, 0)
    for name in ("trainings", "num_steps", "length", "outer_steps", "pairs"):
        check_count(f"probe.{name}", settings[name])
    for name in ("sigma", "learning_rate"):
        check_number(f"probe.{name}", settings[name], 0, open_low=True)
    if settings.num_steps % STRIDE:
        raise ValueError(f"probe.num_steps must be a multiple of {STRIDE}; {settings.num_steps} was given.")
    ml.Truncation(settings.num_steps, settings.length)
    known = list(conditions(settings.num_steps)) if settings.seeds else settings.conditions
    for name in settings.conditions:
        check_choice("Every one of probe.conditions", name, known)
    if settings.seeds and known[0] not in settings.conditions:
        raise ValueError(f"probe.conditions must contain {known[0]!r}, for which Adam is tuned.")


if __name__ == "__main__":
    application(main, "misgeneralisation")
