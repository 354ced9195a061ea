"""Load FILE:FUNCTION, a user's function that returns a `Study`, with one sentence for each kind of mistake."""

import dataclasses
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from metalearn.inner.problem import InnerProblem
from metalearn.outer import Study
from metalearn.words import suggestion

EXAMPLE = "as in my_file.py:my_problem"
_imported: dict[Path, bytes] = {}


def call_study(address: str, arguments: Mapping[str, Any] = {}) -> Study:
    """Return the study that a function of a file returns; a study without a name gets that of the function.

    Args:
      address: FILE:FUNCTION, where FILE is a path, with or without .py, or a module that can be imported.
      arguments: the arguments of the function, by name.

    Raises:
      ValueError: there is no such file or function, it cannot be imported, it has other arguments, raises an error or
        does not return a `Study`.
    """
    function, file, name, place = load_function(address, "problem")
    _check_arguments(f"{file}:{name}", function, arguments)
    try:
        found = function(**arguments)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} of {file} raised {_described(error, place)}") from error
    if not isinstance(found, Study):
        raise ValueError(f"{name} of {file} must return an ml.Study; " + _other(found))
    return found if found.name else dataclasses.replace(found, name=name)


def find_file(address: str) -> Path | None:
    """Return the loaded file of FILE:FUNCTION; None for a study of the library."""
    file = address.rpartition(":")[0]
    path = next(iter(_files(file)), None) or Path(sys.modules[file].__file__ or "")
    own = Path(__file__).resolve().parent.parent
    return path if path.is_file() and own not in path.resolve().parents else None


def imported_bytes(path: Path) -> bytes:
    """Return the content of a file when it was imported, which the file may no longer have."""
    return _imported.get(path.resolve()) or path.read_bytes()


def _files(file: str) -> list[Path]:
    return [path for path in (Path(file).expanduser(), Path(f"{file}.py").expanduser()) if path.is_file()]


def load_function(address: str, setting: str) -> tuple[Any, str, str, str]:
    """Return a function of a file, the name of the file as given, the name of the function, and the path.

    Args:
      address: FILE:FUNCTION, as in `call_study`.
      setting: the setting that has this value, for messages.

    Raises:
      ValueError: there is no such file or function, or the file cannot be imported.
    """
    file, _, name = str(address).rpartition(":")
    if not file or not name.isidentifier():
        raise ValueError(f"{setting} must be FILE:FUNCTION, {EXAMPLE}; {address!r} was given.")
    if "," in file and not _files(file):
        raise ValueError(f"{setting} must be one FILE:FUNCTION; {address!r} was given. Several are a sweep: add -m.")
    module, place = _load(file)
    function = getattr(module, name, None)
    if not inspect.isroutine(function) and not callable(function):
        known = [one for one, value in vars(module).items() if _is_own(value, module)]
        raise ValueError(
            f"{file} has no function {name!r}{suggestion(name, known)}; it has: {', '.join(known) or 'no functions'}."
        )
    return function, file, name, place


def _load(file: str) -> tuple[ModuleType, str]:
    """Import a module by file or by name, and return it with the path of its file."""
    here = _files(file)
    if not here:
        return _import(file)
    path = here[0].resolve()
    if path.suffix != ".py":
        raise ValueError(f"{file} is not a Python file; problem is FILE:FUNCTION, {EXAMPLE}.")
    name = f"problem_file_{path.stem}"
    spec: Any = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if sys.path[:1] != [str(path.parent)]:
        sys.path.insert(0, str(path.parent))  # its neighbours come first, as for a script
    try:
        _imported[path] = path.read_bytes()
        exec(
            compile(_imported[path], str(path), "exec", dont_inherit=True), module.__dict__
        )  # the file can change at any moment
    except (Exception, SystemExit) as error:
        raise ValueError(f"{file} cannot be imported: {_described(error, str(path))}") from error
    return module, str(path)


def _import(name: str) -> tuple[ModuleType, str]:
    path = Path(name).expanduser()
    spec = None
    if path.suffix != ".py" and len(path.parts) == 1:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            spec = None
    if spec is None:
        near = sorted(one.name for one in path.parent.glob("*.py")) if path.parent.is_dir() else []
        raise ValueError(
            f"There is no file {name}{suggestion(path.name, near)}, and no module of that name; problem is FILE:FUNCTION, "
            f"{EXAMPLE}, where FILE is a path from the current folder."
        )
    try:
        if name not in sys.modules and spec.has_location:
            _imported[Path(str(spec.origin)).resolve()] = Path(str(spec.origin)).read_bytes()
        return importlib.import_module(name), str(spec.origin)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{name} cannot be imported: {_described(error, str(spec.origin))}") from error


def _is_own(value: Any, module: ModuleType) -> bool:
    """Return whether a module itself defines a public function."""
    return inspect.isfunction(value) and value.__module__ == module.__name__ and not value.__name__.startswith("_")


def _check_arguments(address: str, function: Any, arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
        signature.bind(**arguments)
    except (TypeError, ValueError) as error:
        known = [] if isinstance(error, ValueError) else list(signature.parameters)
        wrong = next((name for name in arguments if name not in known), "")
        raise ValueError(
            f"{address} has other arguments: {error}{suggestion(wrong, known)}. They are given as "
            f"problem.arguments.NAME=VALUE; "
            f"it takes: {', '.join(known) or 'none'}."
        ) from None


def _described(error: BaseException, place: str) -> str:
    """Return the type and the first line of an error, and the line of the file that raised it."""
    words = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    line = next(
        (one.lineno for one in reversed(traceback.extract_tb(error.__traceback__)) if one.filename == place), None
    )
    if isinstance(error, SyntaxError) and error.filename == place:
        words, line = error.msg, error.lineno
    where = f" (line {line})" if line else ""
    return f"{type(error).__name__}: {words}{where}. HYDRA_FULL_ERROR=1 shows the traceback."


def _other(found: Any) -> str:
    if isinstance(found, InnerProblem):
        return (
            "it returned an InnerProblem, without theta and horizon. Return ml.Study(problem, theta=..., "
            "horizon=...) with the initial theta and the number of inner steps of an episode."
        )
    return (
        f"it returned {'nothing' if found is None else f'a {type(found).__name__}'}. Is a `return` missing, or a field?"
    )
