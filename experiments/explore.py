"""Explore where training converges, in the browser: zoom, and click to train at a point."""

import sys
from typing import Any

from omegaconf import OmegaConf

import metalearn as ml
from metalearn.application import application, need_plane, parse_seed, read_study
from metalearn.explorer import named_scene, study_scene


def main(config):
    tracker: Any = OmegaConf.to_container(config.tracker, resolve=True)
    ml.explore(
        chosen(config),
        resolution=config.resolution,
        tiles=config.tiles,
        folder=config.folder,
        tracker=tracker,
        port=config.port,
        address=config.address,
        open=config.open,
    )


def chosen(config):
    """Return the condition, or the problem on its plane, as a scene."""
    if config.get("problem") is None:
        return named_scene(config.condition)
    study = read_study(config)
    need_plane(study, "explore")
    return study_scene(study, parse_seed(config.seed))


def as_overrides(words):
    """Return a command line with port=5007 in place of --port 5007, and open=false in place of --no-open."""
    found, words = [], list(words)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in ("--port", "--address", "--open"):
            found.append(f"{name[2:]}={value if equals or not words else words.pop(0)}")
        else:
            found.append("open=false" if word == "--no-open" else word)
    return found


if __name__ == "__main__":
    sys.argv[1:] = as_overrides(sys.argv[1:])
    application(main, "explore")
