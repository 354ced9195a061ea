"""The command line of an experiment: Hydra's overrides, one line for a mistake, and the project's run folders.

    \"\"\"Compare gradient estimators on one problem.\"\"\"     # the first lines of `--help`
    def main(config): ...
    if __name__ == "__main__":
        application(main, "compare")

The exit codes are those of `metalearn.exit_codes`. With HYDRA_FULL_ERROR=1 the traceback of a mistake is shown as well.
"""

import functools
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hydra
import jax
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig

from metalearn.application.arguments import (
    check_options,
    check_read,
    offer_problem_files,
    put_options_last,
)
from metalearn.application.hydra_setup import configure_hydra, errors_passed_on, targets_checked
from metalearn.application.mistakes import sentence
from metalearn.application.program_cache import cache_programs
from metalearn.application.signals import stop_on_signals
from metalearn.application.targets import check_targets
from metalearn.application.trust import check_source, declare
from metalearn.application.value_types import check_kinds, own_values
from metalearn.compilation import compilation_effort
from metalearn.exit_codes import BUG, INTERRUPTED, MISTAKE
from metalearn.recording.files import RunFolderError
from metalearn.recording.folders import unwritable
from metalearn.recording.secrets import hide_in_file
from metalearn.usage import CONFIGS, check_line, choose_own_groups, help_text, read_groups

EFFORT_VARIABLE = "METALEARN_COMPILATION_EFFORT"  # of the environment


class _Stop(BaseException):
    """An exception that carries an error of the experiment past Hydra, which would print it in its own format."""


def application(
    main: Callable[[DictConfig], Any],
    config_name: str,
    config_path: str | Path | None = None,
    trusted: Iterable[str] = (),
) -> None:
    """Run an experiment from the command line, and exit the process with a non-zero code if it fails.

    The working directory is not changed, and `_target_` finds modules in it. Hydra writes no files of its own, except
    for the multirun.yaml of a sweep.

    Args:
      main: the experiment, a function of the composed configuration. The docstring of its file heads `--help`.
      config_name: the configuration's file name, without .yaml.
      config_path: the folder of configurations; by default `configs`, in the parent of the folder of the script.
      trusted: packages and files whose functions the configuration may name, besides those of `declare`.
    """
    script = Path(inspect.getfile(main)).resolve().parent
    folder = Path(config_path) if config_path else script.parent / "configs"
    show_all = os.environ.get("HYDRA_FULL_ERROR") == "1"
    failures: list[int] = []
    stop_on_signals()
    try:
        sys.argv[1:] = put_options_last(sys.argv[1:])
        check_options()
        said = sys.argv[1:]
        if {"--help", "-h"} & set(said):
            print(help_text(_header(main), folder, config_name, said))
            return
        if folder.resolve() == CONFIGS:
            check_line(said, CONFIGS, config_name)
        if (here := os.getcwd()) not in sys.path:
            sys.path.append(here)
        trust = functools.partial(declare, said, list(trusted), script)
        trust()
        sys.argv[1:] = offer_problem_files(choose_own_groups(said, folder, config_name))
        configure_hydra()
        if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
            _cache_programs()
        if EFFORT_VARIABLE in os.environ:
            compilation_effort(os.environ[EFFORT_VARIABLE])
        job = _job(main, failures, show_all, said, trust, config_name if folder.resolve() == CONFIGS else None)
        with errors_passed_on(), targets_checked(said):
            hydra.main(version_base="1.3", config_path=str(folder.resolve()), config_name=config_name)(job)()
    except _Stop as stop:
        failures.append(_report(stop.__cause__ or stop, show_all))
    except KeyboardInterrupt as error:
        by = str(error) or "Ctrl-C"
        print(f"interrupted: stopped by {by}; the results recorded so far are kept.", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Exception as error:
        failures.append(_report(_explained(error), show_all))
    if failures:
        sys.exit(min(failures))


def _cache_programs() -> None:
    """Keep compiled programs on disk; if this fails, print a message and continue."""
    try:
        cache_programs()
    except RunFolderError as error:
        print(f"{error} The run continues, and compiles its programs.", file=sys.stderr)


def output_folder() -> Path:
    """Return the folder of this job's run folders: `folder` of the configuration ("runs" by default).

    In a sweep it is a subfolder. Call this only inside an experiment that `application` started.
    """
    return Path(os.path.relpath(HydraConfig.get().runtime.output_dir))


def _job(
    main: Callable[[DictConfig], Any],
    failures: list[int],
    show_all: bool,
    said: list[str],
    trust: Callable[[], None],
    ours: str | None,
) -> Callable[[DictConfig], Any]:
    """Return the function that Hydra calls; `ours` is the name of the configuration if it belongs to the library."""

    @functools.wraps(main)
    def job(config: DictConfig) -> Any:
        settings = HydraConfig.get()
        sweep = settings.mode == RunMode.MULTIRUN
        if sweep:
            hide_in_file(Path(settings.sweep.dir) / "multirun.yaml")
        sys.argv[1:] = _words_of_job(config, settings) if sweep else said  # recorded as the command of this run
        try:
            trust()  # a launcher can run the job in another process
            check_source(config, said)
            check_targets(config)
            if ours is not None:
                check_read(config, CONFIGS, ours)
                check_kinds(config, own_values(ours, list(read_groups(CONFIGS, ours))))
            return main(config)
        except Exception as error:
            if not sweep:
                raise _Stop from error
            if not settings.launcher._target_.endswith("BasicLauncher"):
                raise  # another process runs this job: the launcher carries the error back
            print(f"job {settings.job.num} ({', '.join(settings.overrides.task)}) failed:", file=sys.stderr)
            failures.append(_report(error, show_all))
            return None  # the remaining jobs still run
        finally:
            sys.argv[1:] = said

    return job


def _words_of_job(config: DictConfig, settings: Any) -> list[str]:
    """Return the overrides of one job of a sweep, with FILE:FUNCTION as it was typed."""
    address = (config.get("problem") or {}).get("study")
    typed = lambda word: f"problem={address}" if address and word.startswith("problem=") else word
    return [typed(word) for word in settings.overrides.task]


def _report(error: BaseException, show_all: bool) -> int:
    """Print a mistake as one line, or a bug with its traceback from the experiment on; return the exit code."""
    line = sentence(error)
    if show_all:
        traceback.print_exception(error)
    elif line is None:
        if isinstance(error, InstantiationException) and error.__cause__:
            note = str(error).partition("\n")[0].rstrip(":").replace("Error in", "in the")
            error.__cause__.add_note(note)
            error = error.__cause__
        trace = error.__traceback__  # the first frame belongs to this file or to Hydra
        traceback.print_exception(type(error), error, trace.tb_next or trace if trace else None)
    if line is None:
        return BUG
    print(f"error: {line}", file=sys.stderr)
    return MISTAKE


def _explained(error: Exception) -> Exception:
    """Return the error to report. Outside the experiment the only files that Hydra writes are the run folders."""
    if isinstance(error, OSError) and error.filename:
        return unwritable(os.path.relpath(error.filename), error)
    return error


def _header(main: Callable) -> str:
    return inspect.getdoc(inspect.getmodule(main)) or inspect.getdoc(main) or ""
