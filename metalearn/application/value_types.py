"""Checks that a value has the same kind as the default: true or false, a finite number, or a mapping."""

import inspect
import math
from collections.abc import Iterator, Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from hydra.utils import get_method
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

_CAN_BE_LEFT_OUT = ("problem", "plane", "matrix")  # entries with entries that can be null
_OF_ANY_FORM = ("problem.theta",)  # another problem.build can need another structure; `parse_theta` checks it


def check_kinds(config: Any, own: Mapping[str, Any]) -> None:
    """Compare a composed configuration with its defaults, and with the signatures of the functions that it calls.

    Args:
      config: the composed configuration of a job of Hydra.
      own: what `own_values` returns.

    Raises:
      TypeError: a value is of another kind.
      ValueError: a number is not finite.
    """
    settings: Any = OmegaConf.to_container(config, resolve=False)
    for place, value, before in _changed(settings, own):
        _check(place, value, before)
    for place, value in _booleans(settings):
        _check(place, value, True)


def own_values(name: str, parts: list[str]) -> dict[str, Any]:
    """Compose the files of the job that runs without the values of the command line.

    Args:
      name: the name of the configuration.
      parts: its groups.
    """
    group = lambda word: word.lstrip("+").partition("=")[0].partition("@")[0] in parts and "={" not in word
    chosen = [word for word in HydraConfig.get().overrides.task if group(word)]
    try:
        loader = GlobalHydra.instance().config_loader()
        found = loader.load_configuration(config_name=name, overrides=chosen, run_mode=RunMode.RUN)
    except (HydraException, OmegaConfBaseException):
        return {}
    plain: Any = OmegaConf.to_container(found, resolve=False)
    return {key: value for key, value in plain.items() if key != "hydra"}


def _changed(config: Mapping, own: Mapping, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield the place, the value and the default of every entry that both configurations have."""
    for key, value in config.items():
        if key in own:
            if isinstance(own[key], Mapping) and isinstance(value, Mapping):
                yield from _changed(value, own[key], f"{place}{key}.")
            else:
                yield f"{place}{key}", value, own[key]


def _booleans(settings: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of every argument that its function declares as true or false."""
    if isinstance(settings, list):
        for index, entry in enumerate(settings):
            yield from _booleans(entry, f"{place}{index}.")
    if not isinstance(settings, Mapping):
        return
    for key, value in settings.items():
        yield from _booleans(value, f"{place}{key}.")
    try:
        parameters = inspect.signature(get_method(settings["_target_"])).parameters
    except Exception:  # a later call of the function raises the error
        return
    for key, value in settings.items():
        if key in parameters and parameters[key].annotation in (bool, "bool"):
            yield f"{place}{key}", value


def _check(place: str, value: Any, own: Any) -> None:
    needed = isinstance(own, Mapping) and own and "_target_" not in own  # a function checks its arguments
    if value is None and needed and place.rpartition(".")[2] not in _CAN_BE_LEFT_OUT:
        raise TypeError(f"{place} must have entries ({', '.join(map(str, own))}); null was given.")
    if value is None or place in _OF_ANY_FORM or (isinstance(value, str) and ("${" in value or value == "???")):
        return
    if ".build." in place and isinstance(value, Mapping) and "_target_" in value:
        return  # the argument is what this function returns
    if isinstance(own, bool):
        if not isinstance(value, bool):
            raise TypeError(f"{place} must be true or false; {value!r} was given.")
    elif isinstance(own, int | float):
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise TypeError(f"{place} must be a number, such as {own}; {value!r} was given.")
        if math.isfinite(own) and not math.isfinite(value):
            raise ValueError(f"{place} must be finite; {value} was given.")
    elif isinstance(own, Mapping) and not isinstance(value, Mapping):
        entries = f"entries ({', '.join(map(str, own))})" if own else "entries, NAME: VALUE"
        raise TypeError(f"{place} must have {entries}; {value!r} was given.")
