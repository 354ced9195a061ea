"""Check what a configuration calls: the library, JAX, optax and Flax, the experiment itself, and what the user trusts.

    python experiments/compare.py --config-dir my_configs problem=mine trusted=[my_package]

A configuration can name functions, by `_target_` and by FILE:FUNCTION. A function of another package or file is refused
unless the command line names that package or file.
"""

import functools
import importlib
import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

import hydra.utils
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from metalearn.application.trust import LIBRARIES, allowed, declared, exists, find_file, is_below, trusts_file
from metalearn.recording.values import plain


def check_targets(config: Any, place: str = "") -> None:
    """Check every `_target_` of a configuration, also inside of lists and arguments, before anything is called.

    Raises:
      ValueError: a target is not trusted.
    """
    for where, target in find_targets(_resolved(config), place):
        check_target(where, target)


def check_target(place: str, target: Any) -> None:
    """Check that a target belongs to a trusted package. One that does not exist is left to Hydra.

    Raises:
      ValueError: it is not trusted.
    """
    if not isinstance(target, str):
        return
    parts = target.split(".")
    if not all(parts) or not exists(parts[0]):
        return
    if any(part.startswith("_") for part in parts) or not declared(target):
        raise _refusal(place, target)
    try:
        names = _names_on_the_way(parts)
    except Exception:  # Hydra imports it again, and raises the error
        return
    wrong = [name for name in names if not allowed(name)]
    if wrong:
        raise _refusal(place, target, wrong[0])


def check_file(place: str, address: str) -> None:
    """Check that the file or module of FILE:FUNCTION is trusted. An address of another form is not called.

    Raises:
      ValueError: it is not trusted.
    """
    file, _, function = str(address).rpartition(":")
    if not file or not function:
        return
    found = find_file(file)
    known = trusts_file(found) if found is not None else allowed(file) or not exists(file.partition(".")[0])
    if not known:
        raise _refusal(place, address, add=file)


def instantiate(settings: Any, **options: Any) -> Any:
    """Call `hydra.utils.instantiate`, if every target in the settings is trusted."""
    check_targets(settings)
    return hydra.utils.instantiate(settings, **options)


def _resolved(config: Any) -> Any:
    if not OmegaConf.is_config(config):
        return plain(config) if isinstance(config, Mapping | list) else config
    try:
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException:
        return OmegaConf.to_container(config, resolve=False)


def find_targets(settings: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the place and the value of every `_target_` in nested dictionaries and lists."""
    below = lambda name: f"{place}.{name}" if place else str(name)
    if isinstance(settings, Mapping):
        for name, value in settings.items():
            if name == "_target_":
                yield below(name), value
            yield from find_targets(value, below(name))
    elif isinstance(settings, list | tuple):
        for index, value in enumerate(settings):
            yield from find_targets(value, below(index))


def _names_on_the_way(parts: list[str]) -> list[str]:
    """Return the full names of all modules and classes on the way to an object, and of the modules that define it.

    The way ends at the first one that may not be called. One through another object has the name "".
    """
    found: Any = importlib.import_module(parts[0])
    names = [parts[0]]
    for part in parts[1:]:
        if not isinstance(found, ModuleType | type):
            return [*names, ""]
        if isinstance(found, ModuleType) and not hasattr(found, part):
            importlib.import_module(f"{found.__name__}.{part}")
        found = getattr(found, part)
        names.append(found.__name__ if isinstance(found, ModuleType) else f"{names[-1]}.{part}")
        if not allowed(names[-1]):
            return names
    return [*names, *_owners(found)]


def _owners(found: Any) -> list[str]:
    """Return the names of the modules that define an object; those of a partial are of its function."""
    if isinstance(found, ModuleType):
        return [found.__name__]
    if isinstance(found, functools.partial):
        return _owners(found.func)
    owner = getattr(found, "__module__", None) or type(found).__module__
    inner = inspect.unwrap(found) if callable(found) else found
    return [owner, getattr(inner, "__module__", None) or owner]


def _refusal(place: str, target: str, own: str = "", add: str = "") -> ValueError:
    whose = f", which is {own}" if own and not is_below(target, own) and own != target else ""
    first = add or target.partition(".")[0]
    if first in LIBRARIES:
        advice = f"Of {first}, name public functions that neither read nor write files"
    else:
        advice = f"If you trust it, add trusted=[{first}] to the command line"
    if place == "problem._target_":
        advice = f"There is no setting {place} in the experiments of metalearn; give problem=FILE:FUNCTION. {advice}"
    return ValueError(
        f"{place} names {target}{whose}. A configuration can call functions of {', '.join(LIBRARIES[:-1])} and "
        f"{LIBRARIES[-1]}, of the experiment, and of packages and files that you trust. {advice}."
    )
