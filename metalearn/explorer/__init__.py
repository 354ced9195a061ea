"""The explorer: a page in the browser that shows where training converges, and what it does at each point.

Windows, links, readings and the work in the background do not need Panel and are tested without it. `page`, `plots` and
`server` need it (the extra `explore`).
"""

from metalearn.explorer.explore import explore
from metalearn.explorer.layers import LAYERS, Picture, refine
from metalearn.explorer.link import Link, read_link, write_link
from metalearn.explorer.readings import Reading, describe_pair, read_point
from metalearn.explorer.scene import NAMES, Scene, named_scene, problem_scene, study_scene
from metalearn.explorer.view import View, view_of
from metalearn.explorer.work import AbandonedError, Worker

__all__ = [
    "LAYERS",
    "NAMES",
    "AbandonedError",
    "Link",
    "Picture",
    "Reading",
    "Scene",
    "View",
    "Worker",
    "describe_pair",
    "explore",
    "named_scene",
    "problem_scene",
    "read_link",
    "read_point",
    "refine",
    "study_scene",
    "view_of",
    "write_link",
]
