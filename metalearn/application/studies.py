"""Convert the `problem` part of a configuration, a YAML file or a function in a user's file, to a `Study`."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from omegaconf import DictConfig, OmegaConf, open_dict

from metalearn import trees
from metalearn.application.build import build_plane, parse_theta
from metalearn.application.problem_files import call_study
from metalearn.application.targets import check_file, instantiate
from metalearn.application.theta_values import read_like
from metalearn.inner.checks import check_count, check_number
from metalearn.landscape import Plane
from metalearn.outer import Study
from metalearn.recording.values import plain
from metalearn.usage import CONFIGS
from metalearn.words import suggestion

NUMBERS = ("name", "horizon", "length", "sigma", "repeat_randomness", "stagger", "shared_minibatches", "plane_sigma")
OF_YAML = ("name", "build", "theta", "plane", "box", "labels", "outer", *NUMBERS[1:])
OF_FILE = ("study", "arguments", "theta", "plane", "starts", "box", "outer", *NUMBERS)
OF_PLANE = ("x", "y", "directions", "starts", "sigma")
_WITHOUT_PLANE = (
    "Give the study a plane: ml.landscape.Plane(x, y, place) for two numbers of theta, or "
    "ml.landscape.plane_through(theta, x, y, *ml.landscape.random_directions(theta, key)) for a large theta."
)
OF_OUTER = ("learning_rate", "num_steps")
MOST_WRITTEN = 256  # the most numbers of θ that a configuration contains


def as_the_study_says(address: str) -> dict[str, Any]:
    """Return the `problem` part for FILE:FUNCTION, whose fields can be overridden; null keeps the function's value."""
    fields = dict.fromkeys(OF_FILE)
    return fields | {"study": address, "arguments": {}, "outer": {}}


def read_study(config: Any) -> Study:
    """Return the study that `problem` describes, and fill in the numbers that `problem` leaves open.

    Args:
      config: a configuration with the part `problem`.

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
    _check_outer(settings.get("outer"), config.get("estimators"))
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

    Args:
      study: the study.
      experiment: the name of the experiment, for the error message.

    Raises:
      ValueError: the study has no plane.
    """
    if study.plane is None:
        one = trees.size(study.theta) == 1
        raise ValueError(
            f"problem {study.name} has no plane, and {experiment} needs one. "
            + ("Its theta is one number, so it cannot have one; use compare and meta_train." if one else _WITHOUT_PLANE)
        )
    return study.plane


def check_keys(place: str, settings: Mapping, known: Any) -> None:
    """Check that all keys are known.

    Args:
      place: the name of the part, for the error message.
      settings: the part of the configuration.
      known: the known keys.

    Raises:
      ValueError: a key is unknown.
    """
    for name in settings:
        if name not in known:
            raise ValueError(
                f"There is no setting {place}.{name}{suggestion(str(name), known)}; {place} can have: "
                f"{', '.join(known)}. " + ("Your own problem is problem=FILE:FUNCTION." if place == "problem" else "")
            )


def _check_outer(outer: Any, estimators: Any) -> None:
    """Check the settings of outer trajectories, problem.outer.ESTIMATOR.learning_rate and num_steps."""
    known = sorted({path.stem for path in (CONFIGS / "estimator").glob("*.yaml")} | set(estimators or ()))
    check_keys("problem.outer", outer or {}, known)
    for name, entry in (outer or {}).items():
        place = f"problem.outer.{name}"
        if not isinstance(entry, Mapping):
            raise ValueError(f"{place} must have entries, {', '.join(OF_OUTER)}; {entry!r} was given.")
        check_keys(place, entry, OF_OUTER)
        if "learning_rate" in entry:
            check_number(f"{place}.learning_rate", entry["learning_rate"], 0, open_low=True)
        if "num_steps" in entry:
            check_count(f"{place}.num_steps", entry["num_steps"])


def _from_yaml(settings) -> Study:
    for name in ("build", "theta", "horizon"):
        if settings.get(name) is None:
            raise ValueError(
                f"problem has no {name}; a problem in YAML needs build, theta and horizon, and your own file is "
                f"used as problem=FILE:FUNCTION."
            )
    theta = parse_theta(settings["theta"])
    given = {name: settings[name] for name in NUMBERS if settings.get(name) is not None}
    given |= _plane(settings, theta) | _box(settings, theta)
    if settings.get("labels") is not None:
        given["labels"] = OmegaConf.to_container(settings["labels"], resolve=True)
    return Study(instantiate(settings["build"], _convert_="all"), theta, **given)


def _from_file(settings) -> Study:
    arguments: Any = OmegaConf.to_container(settings.get("arguments") or OmegaConf.create({}), resolve=True)
    check_file("problem", settings["study"])
    study = call_study(settings["study"], arguments)
    given = {name: settings[name] for name in NUMBERS if settings.get(name) is not None}
    given |= _box(settings, study.theta)
    theta = study.theta
    if settings.get("theta") is not None:
        given["theta"] = theta = read_like(settings["theta"], theta)
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


def _box(settings, theta) -> dict[str, Any]:
    box = settings.get("box")
    if box is None:
        return {}
    if isinstance(box, str | Mapping) or not hasattr(box, "__len__") or len(box) != 2:
        raise ValueError(f"problem.box must be [low, high], each like theta or one number; {box} was given.")
    alone = lambda end: not isinstance(end, Mapping | Sequence) or isinstance(end, str)
    read = lambda end: parse_theta(end, "problem.box") if alone(end) else read_like(end, theta, "problem.box")
    return {"box": tuple(map(read, box))}
