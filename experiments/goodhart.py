"""Minimise a proxy until the true goal is worse than at the start, and measure what prevents it."""

import dataclasses
from typing import Any

import jax
from omegaconf import OmegaConf, open_dict

import metalearn as ml
from metalearn.application import (
    application,
    build_estimator,
    check_file,
    check_keys,
    load_function,
    open_parts,
    outer_optimizer,
    parse_seed,
    read_list,
    read_study,
)
from metalearn.figures import draw_features, draw_goals, draw_mitigations, later
from metalearn.inner.checks import check_count, check_number
from metalearn.inner.problems.random_features import check_features
from metalearn.outer.observables import check_finite
from metalearn.studies.goodhart import (
    GOAL,
    PLAIN,
    PROXY,
    descend,
    feature_rows,
    goal_rows,
    in_words,
)
from metalearn.studies.mitigations import Switches, check_switches

OWN_CASES = "metalearn.studies.goodhart:tuned_training"  # the study of the other two cases
FIELDS = [field.name for field in dataclasses.fields(Switches)]


def main(config):
    key, cases, weights = check(config)
    with open_parts(config, "goodhart") as parts:
        run = lambda case, name: parts.compute(
            name, lambda: measured(config, case, [jax.random.fold_in(key, i) for i in range(config.seeds)], name, parts)
        )
        found = {name: run(case, f"mitigation/{name}") for name, case in cases.items()}
        rows = goal_rows(found)
        print(f"\n{in_words(rows, config.proxy, config.goal)}\n")
        parts.run.table("mitigations", rows)
        titles = {"proxy_name": config.proxy, "goal_name": config.goal}
        parts.run.figure(
            "goodhart", later(draw_goals, {PLAIN: found[PLAIN]}, title=f"{config.problem.name}: goal", **titles)
        )
        parts.run.figure("mitigations", later(draw_mitigations, found, rows, **titles))
        if weights:
            small = {f"{name} rows": run(case, f"weights/{name}") for name, case in weights.items()}
            parts.run.table("example_weights", goal_rows(small))
            print(f"{in_words(goal_rows(small), 'loss', 'clean')}\n")
            parts.run.figure("example_weights", later(draw_goals, small, proxy_name="validation", goal_name="clean"))
            features(config, jax.random.fold_in(key, 2**30), parts)
        print(f"figures: {parts.run.folder}/figures")


def features(config, key, parts):
    """Measure the risk of random features against their number."""
    counts, seeds = list(config.features.counts), config.features.seeds
    names = ("training", "test")
    found = parts.compute(
        "features", lambda: dict(zip(names, ml.problems.random_features_risk(counts, key, seeds))) | {"counts": counts}
    )
    parts.run.table("features", feature_rows(found))
    parts.run.figure("features", later(draw_features, found))


def check(config):
    """Check the configuration, and return the key, the mitigations, and the cases with example weights.

    Raises:
      TypeError, ValueError: a setting is unknown or out of range, or the study does not have an observable.
    """
    for name in ("seeds", "pairs", "held_out", "chunk_length"):
        check_count(name, config[name])
    check_count("outer.num_steps", config.outer.num_steps)
    check_number("outer.learning_rate", config.outer.learning_rate, 0, open_low=True)
    if len(config.estimators) != 1:
        raise ValueError(f"One estimator is needed, such as estimator=[full_es]; {len(config.estimators)} were given.")
    key, original = parse_seed(config.seed), config.problem.copy()
    ours = original.get("study") == OWN_CASES
    studies = {}
    plain = Case(config, config.problem, config.proxy, config.goal, Switches(), studies)
    for sentence in ml.check_problem(plain.study.problem, plain.study.theta):
        print(sentence)
    if not ours:
        for role, name in plain.names.items():
            check_finite(plain.study, name, role)
    cases = {PLAIN: plain}
    for name, entry in config.mitigations.items():
        check_keys(f"mitigations.{name}", entry, FIELDS)
        fields: Any = OmegaConf.to_container(entry, resolve=True)
        switches = Switches(**fields)
        if why := check_switches(switches, plain.study, original, ours):
            print(f"{name} is left out: {why}")
            continue
        cases[name] = Case(config, changed(original, switches.arguments), config.proxy, config.goal, switches, studies)
    if not ours:
        return key, cases, {}
    check_features(config.features.counts, config.features.seeds)
    rows = read_list(config, "validation")
    arguments = lambda count: {**config.weights.arguments, "validation_rows": count}
    weights = {
        count: Case(config, changed(original, arguments(count)), "loss", "clean", Switches(), studies) for count in rows
    }
    return key, cases, weights


def changed(problem, arguments):
    """Return the part `problem` of a configuration with other arguments of its function."""
    other = problem.copy()
    with open_dict(other):
        for name, value in arguments.items():
            other.arguments[name] = value
    return other


class Case:
    """A study, its settings, and the problem to minimise. Cases with the same arguments share a study, and programs."""

    def __init__(self, config, problem, proxy, goal, switches, studies):
        config = OmegaConf.merge(config, {})
        config.problem = problem
        text = OmegaConf.to_yaml(problem)
        if text not in studies:
            studies[text] = read_study(config), config.problem  # `read_study` adds settings of the study
        (study, config.problem), names = studies[text], {PROXY: proxy, GOAL: goal}
        self.names, self.switches, self.config = {}, switches, config
        for role, name in names.items():
            if ":" in str(name):
                check_file(role, name)
                function, _, name, _ = load_function(name, role)
                study = dataclasses.replace(study, observables={**(study.observables or {}), name: function})
            self.names[role] = name
            ml.outer.observe(study, name, role)
        if switches.stop_on:
            ml.outer.observe(study, switches.stop_on, "stop_on")
        self.study = study

    def build(self, problem, key):
        """Build the estimator of the configuration for a problem; a key is shared by all its episodes."""
        (entry,) = self.config.estimators.values()
        return build_estimator(self.config.problem, problem, entry, key)


def measured(config, case, keys, label, parts):
    """Minimise the proxy of a case, and return the readings."""
    settings = {
        "num_steps": config.outer.num_steps,
        "chunk_length": config.chunk_length,
        "num_episodes": config.held_out,
    }
    return descend(
        case.study, case.names, case.build, outer_optimizer(config.outer), case.switches, keys,
        progress=parts.progress, label=f"{label}, trainings", **settings,
    )  # fmt: skip


if __name__ == "__main__":
    application(main, "goodhart")
