"""Floor 6: turn a function into an experiment with a command line.

The command line is Hydra's. This package builds problems, estimators and planes from configurations, prints each
mistake as one sentence, shows progress, and chooses exit codes.
"""

from metalearn.application.build import (
    AXIS,
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
)
from metalearn.application.command_line import application, output_folder
from metalearn.application.cores import use_cores
from metalearn.application.progress import show_progress
from metalearn.application.searches import (
    SEARCHES,
    build_hyperparameters,
    check_searches,
    held_out,
    on_each,
    searched,
)

__all__ = [
    "AXIS",
    "SEARCHES",
    "application",
    "build_benchmarks",
    "build_descents",
    "build_estimator",
    "build_hyperparameters",
    "build_plane",
    "build_problem",
    "build_split_estimator",
    "check_searches",
    "held_out",
    "on_each",
    "outer_optimizer",
    "outer_settings",
    "output_folder",
    "parse_seed",
    "parse_theta",
    "searched",
    "show_progress",
    "use_cores",
]
