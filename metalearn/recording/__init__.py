"""Floor 4, everything with side effects: run folders, W&B, checkpoints, figures, and the command line of an experiment.

The floors below compute and return; this one writes down. A run is recorded in a folder of its own, always, and W&B is
a view beside it; so a result depends on no service, and no function below needs to know where its numbers go.
"""

from metalearn.recording.application import application as application
from metalearn.recording.application import output_folder as output_folder
from metalearn.recording.configured import AXIS as AXIS
from metalearn.recording.configured import benchmarks_of as benchmarks_of
from metalearn.recording.configured import built as built
from metalearn.recording.configured import estimator_of as estimator_of
from metalearn.recording.configured import estimator_on as estimator_on
from metalearn.recording.configured import key_of as key_of
from metalearn.recording.configured import outer_of as outer_of
from metalearn.recording.configured import outer_optimizer as outer_optimizer
from metalearn.recording.configured import plane_of as plane_of
from metalearn.recording.configured import theta_of as theta_of
from metalearn.recording.cores import use_cores as use_cores
from metalearn.recording.descents import descents as descents
from metalearn.recording.descents import ends_of as ends_of
from metalearn.recording.draw import draw_comparison as draw_comparison
from metalearn.recording.draw import draw_trajectories as draw_trajectories
from metalearn.recording.draw_landscape import check_norm as check_norm
from metalearn.recording.draw_landscape import draw_landscape as draw_landscape
from metalearn.recording.draw_landscape import draw_landscapes as draw_landscapes
from metalearn.recording.draw_layers import draw_cut as draw_cut
from metalearn.recording.draw_layers import draw_law as draw_law
from metalearn.recording.draw_layers import draw_layer as draw_layer
from metalearn.recording.draw_layers import draw_signal as draw_signal
from metalearn.recording.draw_training import draw_descents as draw_descents
from metalearn.recording.draw_training import draw_learning_curves as draw_learning_curves
from metalearn.recording.draw_training import draw_matrix as draw_matrix
from metalearn.recording.draw_zoom import draw_zoom as draw_zoom
from metalearn.recording.figures import later as later
from metalearn.recording.figures import save_style as save_style
from metalearn.recording.film import check_film as check_film
from metalearn.recording.film import write_film as write_film
from metalearn.recording.film import zoom_images as zoom_images
from metalearn.recording.local import LocalRun as LocalRun
from metalearn.recording.local import RunFolderError as RunFolderError
from metalearn.recording.local import read_metrics as read_metrics
from metalearn.recording.progress import show_progress as show_progress
from metalearn.recording.report import Section as Section
from metalearn.recording.report import write_report as write_report
from metalearn.recording.saved import extend_evaluations as extend_evaluations
from metalearn.recording.saved import load_optimizer as load_optimizer
from metalearn.recording.saved import load_snapshot as load_snapshot
from metalearn.recording.saved import save_optimizer as save_optimizer
from metalearn.recording.saved import save_snapshot as save_snapshot
from metalearn.recording.tiles import LandscapeFolder as LandscapeFolder
from metalearn.recording.tiles import Tiles as Tiles
from metalearn.recording.tracking import Run as Run
from metalearn.recording.tracking import Tracker as Tracker
from metalearn.recording.tracking import collect_provenance as collect_provenance
from metalearn.recording.tracking import open_run as open_run
from metalearn.recording.values import by_path as by_path
from metalearn.recording.weights_and_biases import WandbRun as WandbRun
