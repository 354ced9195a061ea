"""Floor 4, everything with side effects: run folders, W&B, checkpoints, figures, and the command line of an experiment.

The floors below compute and return; this one writes down. A run is recorded in a folder of its own, always, and W&B is
a view beside it; so a result depends on no service, and no function below needs to know where its numbers go.
"""

from metalearn.application.build import AXIS as AXIS
from metalearn.application.build import build_benchmarks as build_benchmarks
from metalearn.application.build import build_estimator as build_estimator
from metalearn.application.build import build_plane as build_plane
from metalearn.application.build import build_problem as build_problem
from metalearn.application.build import build_split_estimator as build_split_estimator
from metalearn.application.build import outer_optimizer as outer_optimizer
from metalearn.application.build import outer_settings as outer_settings
from metalearn.application.build import parse_seed as parse_seed
from metalearn.application.build import parse_theta as parse_theta
from metalearn.application.command_line import application as application
from metalearn.application.command_line import output_folder as output_folder
from metalearn.application.cores import use_cores as use_cores
from metalearn.application.descents import descents as descents
from metalearn.application.descents import end_points as end_points
from metalearn.application.progress import show_progress as show_progress
from metalearn.figures.comparison import draw_comparison as draw_comparison
from metalearn.figures.comparison import draw_trajectories as draw_trajectories
from metalearn.figures.film import check_film as check_film
from metalearn.figures.film import write_film as write_film
from metalearn.figures.film import zoom_images as zoom_images
from metalearn.figures.html_report import Section as Section
from metalearn.figures.html_report import write_report as write_report
from metalearn.figures.landscape import check_norm as check_norm
from metalearn.figures.landscape import draw_landscape as draw_landscape
from metalearn.figures.landscape import draw_landscapes as draw_landscapes
from metalearn.figures.layers import draw_cut as draw_cut
from metalearn.figures.layers import draw_law as draw_law
from metalearn.figures.layers import draw_layer as draw_layer
from metalearn.figures.layers import draw_signal as draw_signal
from metalearn.figures.style import later as later
from metalearn.figures.style import save_style as save_style
from metalearn.figures.training import draw_descents as draw_descents
from metalearn.figures.training import draw_learning_curves as draw_learning_curves
from metalearn.figures.training import draw_matrix as draw_matrix
from metalearn.figures.zoom import draw_zoom as draw_zoom
from metalearn.recording.checkpoints import extend_evaluations as extend_evaluations
from metalearn.recording.checkpoints import load_optimizer as load_optimizer
from metalearn.recording.checkpoints import load_snapshot as load_snapshot
from metalearn.recording.checkpoints import save_optimizer as save_optimizer
from metalearn.recording.checkpoints import save_snapshot as save_snapshot
from metalearn.recording.run_folder import LocalRun as LocalRun
from metalearn.recording.run_folder import RunFolderError as RunFolderError
from metalearn.recording.run_folder import read_metrics as read_metrics
from metalearn.recording.searches import SEARCHES as SEARCHES
from metalearn.recording.searches import check_searches as check_searches
from metalearn.recording.searches import held_out as held_out
from metalearn.recording.searches import hyperparameters_of as hyperparameters_of
from metalearn.recording.searches import on_each as on_each
from metalearn.recording.searches import searched as searched
from metalearn.recording.tiles import LandscapeFolder as LandscapeFolder
from metalearn.recording.tiles import Tiles as Tiles
from metalearn.recording.tracking import Run as Run
from metalearn.recording.tracking import Tracker as Tracker
from metalearn.recording.tracking import collect_provenance as collect_provenance
from metalearn.recording.tracking import open_run as open_run
from metalearn.recording.values import by_path as by_path
from metalearn.recording.weights_and_biases import WandbRun as WandbRun
