"""What the library changes in Hydra: errors are raised, no files are written, and its own targets are checked."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from metalearn.application.targets import check_file, check_target, check_targets, find_targets
from metalearn.application.trust import check_source

COLLECT = {"_target_": "metalearn.application.collect.CollectSweep"}  # called at the end of a sweep
_PLUGINS = ("hydra.launcher", "hydra.sweeper")  # Hydra accepts installed plugins only
_LOGGING = ("logging.", "colorlog.", "hydra.")  # the classes that a configuration of logging may name


@contextlib.contextmanager
def errors_passed_on() -> Iterator[None]:
    """Make Hydra raise errors. Without this variable Hydra prints them and exits."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        del os.environ["HYDRA_FULL_ERROR"]
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before


@contextlib.contextmanager
def targets_checked(words: list[str]) -> Iterator[None]:
    """Check what a configuration names, callbacks and logging of Hydra too, as soon as Hydra has composed it."""
    load = ConfigLoaderImpl.load_configuration

    def checked(self: Any, *arguments: Any, **options: Any) -> Any:
        config = load(self, *arguments, **options)
        check_source(config, words)
        _check_own(OmegaConf.to_container(config.hydra, resolve=False))
        check_targets(OmegaConf.masked_copy(config, [str(name) for name in config if name != "hydra"]))
        if isinstance(study := OmegaConf.select(config, "problem.study"), str):
            check_file("problem", study)
        return config

    ConfigLoaderImpl.load_configuration = checked
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = load


def _check_own(settings: Any) -> None:
    for place, target in find_targets(settings, "hydra"):
        if not place.startswith(_PLUGINS) and target != COLLECT["_target_"]:
            check_target(place, target)
    for name in ("hydra_logging", "job_logging"):
        for place, target in _classes(settings.get(name), f"hydra.{name}"):
            if not str(target).startswith(_LOGGING):
                raise ValueError(f"{place} names {target}; only classes of logging are allowed there.")


def _classes(settings: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Yield the places and the names of the classes and functions that `logging.config.dictConfig` would call."""
    for name, value in settings.items() if isinstance(settings, Mapping) else ():
        if name in ("()", "class"):
            yield f"{place}.{name}", value
        yield from _classes(value, f"{place}.{name}")


def configure_hydra() -> None:
    """Replace Hydra's defaults, so that the YAML file of an experiment contains only the experiment."""
    store = ConfigStore.instance()
    runs = {
        "run": {"dir": "${oc.select:folder,runs}"},
        "sweep": {"dir": "${oc.select:folder,runs}/${now:%Y-%m-%d-%H%M%S}-sweep", "subdir": "."},
    }
    store.store(group="hydra/output", name="runs", package="hydra", node=runs, provider="metalearn")
    store.store(
        group="hydra/job_logging", name="warnings", package="hydra.job_logging", node=_logging([]), provider="metalearn"
    )
    store.store(
        group="hydra/hydra_logging",
        name="jobs",
        package="hydra.hydra_logging",
        node=_logging(["console"]),
        provider="metalearn",
    )
    ours = {"output": "runs", "job_logging": "warnings", "hydra_logging": "jobs"}
    defaults = [entry if (key := _only_key(entry)) not in ours else {key: ours[key]} for entry in HydraConf().defaults]
    settings = HydraConf(defaults=defaults, output_subdir=None, callbacks={"collect": COLLECT})
    store.store(group="hydra", name="config", node=settings, provider="metalearn")


def _logging(handlers: list[str]) -> dict:
    """Configure logging: Hydra prints which job of a sweep runs; all other loggers print warnings only, to stderr."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"simple": {"format": "%(message)s"}},
        "handlers": {
            "console": {"class": "logging.StreamHandler", "formatter": "simple", "stream": "ext://sys.stdout"}
        },
        "root": {"level": "WARNING", "handlers": []},
        "loggers": {"hydra": {"level": "INFO", "handlers": handlers, "propagate": False}} if handlers else {},
    }


def _only_key(entry: Any) -> str:
    return next(iter(entry)) if isinstance(entry, dict) else str(entry)
