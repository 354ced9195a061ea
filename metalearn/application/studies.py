"""Convert the `problem` part of a configuration, a YAML file or a function in a user's file, to a `Study`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict

from metalearn import trees
from metalearn.application.build import AXIS, build_plane, parse_theta
from metalearn.application.problem_files import call_study
from metalearn.application.targets import check_file, instantiate
from metalearn.landscape import Plane
from metalearn.outer import Study
from metalearn.recording.values import plain
from metalearn.words import suggestion

NUMBERS = ("name", "horizon", "length", "sigma", "repeat_randomness", "stagger", "shared_minibatches", "plane_sigma")
OF_YAML = ("name", "build", "theta", "plane", "box", "labels", "outer", *NUMBERS[1:])
OF_FILE = ("study", "arguments", "theta", "plane", "starts", "box", "outer", *NUMBERS)
OF_PLANE = ("x", "y", "directions", "starts", "sigma")
MOST_WRITTEN = 256  # the most numbers of θ that a configuration contains


def as_the_study_says(address: str) -> dict[str, Any]:
    """Return the `problem` part for FILE:FUNCTION, whose fields can be overridden; null keeps the function's value."""
    fields = dict.fromkeys(OF_FILE)
    return fields | {"study": address, "arguments": {}, "outer": {}}


def read_study(config: Any) -> Study:
    """Return the study that `problem` describes, and fill in the numbers that `problem` leaves open.

    Raises:
      TypeError, ValueError: an entry is unknown, missing or invalid.
    """
    settings = config.problem
    if not isinstance(settings, DictConfig):
        raise ValueError(
            f"problem must be a name of the group or FILE:FUNCTION, as in problem=my_file.py:my_problem; {settings!r} was given."
        )
    from_file = "study" in settings
    check_keys("problem", settings, OF_FILE if from_file else OF_YAML)
    if isinstance(settings.get("plane"), Mapping):
        check_keys("problem.plane", settings["plane"], OF_PLANE)
    if from_file:
        with open_dict(settings):
            settings.update({name: None for name in OF_FILE if name not in settings})
    study = _from_file(settings) if from_file else _from_yaml(settings)
    found = {name: getattr(study, name) for name in NUMBERS} | {"length": study.windows(jax.random.key(0)).length}
    if trees.size(study.theta) <= MOST_WRITTEN:
        found["theta"] = plain(jax.tree.map(np.asarray, study.theta))
    with open_dict(settings):
        for name, value in found.items():
            if settings.get(name) is None and (name in settings or name in NUMBERS[:5]):
                settings[name] = value
    return study


def need_plane(study: Study, experiment: str) -> Plane:
    """Return the plane of a study.

    Raises:
      ValueError: the study has no plane.
    """
    if study.plane is None:
        one = trees.size(study.theta) == 1
        raise ValueError(
            f"problem {study.name} has no plane, and {experiment} needs one; "
            + ("theta is one number, which compare and meta_train take." if one else "")
            + ("" if one else f"give problem.plane two axes, {AXIS.format('x')} and y, or problem.plane of a study.")
        )
    return study.plane


def check_keys(place: str, settings: Mapping, known: Any) -> None:
    """Check that all keys are known.

    Raises:
      ValueError: a key is unknown.
    """
    for name in settings:
        if name not in known:
            raise ValueError(
                f"There is no setting {place}.{name}{suggestion(str(name), known)}; {place} can have: "
                f"{', '.join(known)}. " + ("Your own problem is problem=FILE:FUNCTION." if place == "problem" else "")
            )


def _from_yaml(settings) -> Study:
    for name in ("build", "theta", "horizon"):
        if settings.get(name) is None:
            raise ValueError(
                f"problem has no {name}; a problem in YAML needs build, theta and horizon, and your own file is "
                f"used as problem=FILE:FUNCTION."
            )
    theta = parse_theta(settings["theta"])
    given = {name: settings[name] for name in NUMBERS if settings.get(name) is not None}
    given |= _plane(settings, theta) | _box(settings)
    if settings.get("labels") is not None:
        given["labels"] = OmegaConf.to_container(settings["labels"], resolve=True)
    return Study(instantiate(settings["build"], _convert_="all"), theta, **given)


def _from_file(settings) -> Study:
    arguments: Any = OmegaConf.to_container(settings.get("arguments") or OmegaConf.create({}), resolve=True)
    check_file("problem", settings["study"])
    study = call_study(settings["study"], arguments)
    given = {name: settings[name] for name in NUMBERS if settings.get(name) is not None} | _box(settings)
    theta = study.theta
    if settings.get("theta") is not None:
        given["theta"] = theta = _like(parse_theta(settings["theta"]), theta)
    if settings.get("plane") is False:
        given |= {"plane": None, "starts": None}
    elif settings.get("plane") is not None:
        given |= {"starts": None} | _plane(settings, theta)
    if settings.get("starts") is not None:
        given["starts"] = parse_theta(settings["starts"], "problem.starts")
    return dataclasses.replace(study, **given)


def _plane(settings, theta) -> dict[str, Any]:
    """Return plane, starts and sigma of a mapping `plane`."""
    plane = settings.get("plane")
    if plane is None:
        return {}
    found: dict[str, Any] = {"plane": build_plane(settings, theta)}
    if plane.get("starts") is not None:
        found["starts"] = parse_theta(plane["starts"], "problem.plane.starts")
    if plane.get("sigma") is not None:
        found["plane_sigma"] = plane["sigma"]
    return found


def _box(settings) -> dict[str, Any]:
    box = settings.get("box")
    if box is None:
        return {}
    if isinstance(box, str | Mapping) or not hasattr(box, "__len__") or len(box) != 2:
        raise ValueError(f"problem.box must be [low, high], each like theta or one number; {box} was given.")
    return {"box": tuple(parse_theta(end, "problem.box") for end in box)}


def _like(given, theta):
    """Return θ of a configuration in the structure of the study's θ."""
    leaves, structure = jax.tree.flatten(theta)
    found = jax.tree.leaves(given)
    if not trees.alike(given, theta) and not (len(found) == len(leaves) == 1 and found[0].shape == leaves[0].shape):
        raise ValueError(
            f"problem.theta must have the form of the study's theta, {jax.tree.map(lambda leaf: leaf.shape, theta)}; "
            f"{jax.tree.map(lambda leaf: leaf.shape, given)} was given (shapes of its arrays)."
        )
    return jax.tree.unflatten(structure, [one.astype(leaf.dtype) for one, leaf in zip(found, leaves)])
