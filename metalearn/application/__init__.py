"""Turn a function into an experiment with a command line.

The command line is Hydra's. This package builds problems, estimators and planes from configurations, prints each
mistake as one sentence, shows progress, and chooses exit codes.
"""

from metalearn.application.build import (
    AXIS,
    UNKNOWN_SIGMA,
    build_benchmarks,
    build_descents,
    build_estimator,
    build_plane,
    build_problem,
    build_split_estimator,
    outer_optimizer,
    outer_settings,
    parse_seed,
    parse_theta,
    read_list,
)
from metalearn.application.command_line import application, output_folder
from metalearn.application.cores import use_cores
from metalearn.application.meta_training import (
    check_labels,
    check_outer,
    may_grow,
    result_file,
    seed_label,
    train,
    tuned_theta,
)
from metalearn.application.parts import Parts, open_parts
from metalearn.application.problem_files import call_study, load_function
from metalearn.application.progress import show_progress
from metalearn.application.runs import open_experiment
from metalearn.application.searches import (
    SEARCHES,
    build_hyperparameters,
    check_searches,
    held_out,
    on_each,
    searched,
)
from metalearn.application.studies import check_keys, need_plane, read_study
from metalearn.application.targets import check_file, check_targets, instantiate
from metalearn.application.tune_problem import tune_problem
from metalearn.usage import chooses_problem

__all__ = [
    "AXIS",
    "SEARCHES",
    "UNKNOWN_SIGMA",
    "Parts",
    "application",
    "build_benchmarks",
    "build_descents",
    "build_estimator",
    "build_hyperparameters",
    "build_plane",
    "build_problem",
    "build_split_estimator",
    "call_study",
    "check_file",
    "check_keys",
    "check_labels",
    "check_outer",
    "check_searches",
    "check_targets",
    "chooses_problem",
    "held_out",
    "instantiate",
    "load_function",
    "may_grow",
    "need_plane",
    "on_each",
    "open_experiment",
    "open_parts",
    "outer_optimizer",
    "outer_settings",
    "output_folder",
    "parse_seed",
    "parse_theta",
    "read_list",
    "read_study",
    "result_file",
    "searched",
    "seed_label",
    "show_progress",
    "train",
    "tune_problem",
    "tuned_theta",
    "use_cores",
]
