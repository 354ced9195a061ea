"""Draw figures with matplotlib, one file for each kind of figure; write films and HTML reports.

A figure function takes results and returns a matplotlib figure, which `Run.figure` records.
"""

from metalearn.figures.benchmark import draw_benchmark
from metalearn.figures.collected import draw_collected
from metalearn.figures.comparison import draw_comparison, draw_trajectories
from metalearn.figures.contest import draw_contests
from metalearn.figures.dimension import draw_dimension
from metalearn.figures.film import check_film, write_film, zoom_images
from metalearn.figures.goals import draw_features, draw_goals, draw_mitigations
from metalearn.figures.html_report import Section, image, write_report
from metalearn.figures.landscape import check_norm, draw_landscape, draw_landscapes
from metalearn.figures.layers import draw_cut, draw_law, draw_layer, draw_signal
from metalearn.figures.meta_loss import draw_meta_loss
from metalearn.figures.probe import draw_probe
from metalearn.figures.reactions import draw_reactions, draw_reports
from metalearn.figures.results import draw_exponents, draw_history, draw_result, draw_schedule, draw_trials
from metalearn.figures.style import later, save_style
from metalearn.figures.training import draw_descents, draw_learning_curves, draw_matrix
from metalearn.figures.turning_point import draw_turning_point
from metalearn.figures.walks import draw_walks, walk_images
from metalearn.figures.zoom import draw_zoom

__all__ = [
    "Section",
    "check_film",
    "check_norm",
    "draw_benchmark",
    "draw_collected",
    "draw_comparison",
    "draw_contests",
    "draw_cut",
    "draw_descents",
    "draw_dimension",
    "draw_exponents",
    "draw_features",
    "draw_goals",
    "draw_history",
    "draw_landscape",
    "draw_landscapes",
    "draw_law",
    "draw_layer",
    "draw_learning_curves",
    "draw_matrix",
    "draw_meta_loss",
    "draw_mitigations",
    "draw_probe",
    "draw_reactions",
    "draw_reports",
    "draw_result",
    "draw_schedule",
    "draw_signal",
    "draw_trajectories",
    "draw_trials",
    "draw_turning_point",
    "draw_walks",
    "draw_zoom",
    "image",
    "later",
    "save_style",
    "walk_images",
    "write_film",
    "write_report",
    "zoom_images",
]
