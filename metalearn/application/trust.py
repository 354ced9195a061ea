"""What a configuration may call: the library, JAX, optax and Flax, the experiment itself, and what the user trusts."""

import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from metalearn.recording.values import plain

LIBRARIES = ("metalearn", "optax", "jax", "flax")
OF_LIBRARY = "metalearn.application.library"  # the functions of the group `problem`
REFUSED = (  # parts of the libraries that read, write or run files, or change the process
    *("metalearn.application", "metalearn.recording", "metalearn.experiments"),
    *("jax.numpy.load", "jax.numpy.save", "jax.numpy.savez", "jax.numpy.fromfile"),
    *("jax.profiler", "jax.distributed", "jax.debug", "jax.export", "jax.experimental", "jax.extend", "jax.tools"),
    *("flax.serialization", "flax.training", "flax.io", "flax.cli"),
)
_WORD = re.compile(r"\+{0,2}trusted=.*", re.DOTALL)
_ADDRESS = re.compile(r"\+{0,2}problem(?:\.study)?=(.+):[^:/]+", re.DOTALL)
_NAME = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*")


class Trust:
    """The packages and files that this process may call from a configuration.

    Attributes:
      names: names of modules, with all that is below them.
      files: name of a module -> its file.
      folder: the folder of the experiment's script, whose modules are its own.
    """

    def __init__(self, names: Iterable[str] = (), files: Mapping[str, Path] = {}, folder: Path | None = None):
        self.names, self.files, self.folder = set(names), dict(files), folder


_trust = Trust()  # of this process; the command line sets it


def read_trusted(words: Iterable[str]) -> list[str]:
    """Return the list trusted=[...] of a command line; other words are ignored.

    Raises:
      TypeError: it is not a list of names.
    """
    for word in reversed(list(words)):
        if _WORD.fullmatch(word):
            override = OverridesParser.create().parse_override(word.replace("\n", " "))
            value = None if override.is_sweep_override() else override.value()
            found = [] if value is None and word.endswith("=null") else value
            found = [found] if isinstance(found, str) else found
            if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
                raise TypeError(
                    f"trusted must be a list of packages and files, such as trusted=[my_package]; {word} was given."
                )
            return [str(one) for one in found]
    return []


def declare(words: Iterable[str], trusted: Iterable[str] = (), folder: Path | None = None) -> None:
    """Trust what a command line names: trusted=[...], and the file of problem=FILE:FUNCTION.

    Args:
      words: the command line.
      trusted: packages and files that are trusted besides.
      folder: the folder of the script.

    Raises:
      TypeError, ValueError: an entry of `trusted` is neither a package nor an existing file.
    """
    global _trust
    words, found = list(words), Trust(folder=folder)
    for one in [*trusted, *read_trusted(words)]:
        if one.endswith(".py") or "/" in one:
            if not Path(one).expanduser().is_file():
                raise ValueError(f"trusted names the file {one}, which does not exist; give a file or a package.")
            found.files |= _modules_of(one)
        elif _NAME.fullmatch(one):
            found.names.add(one)
        else:
            raise ValueError(f"trusted must name packages, such as my_package, or files; {one!r} was given.")
    for word in words:
        for part in re.split(r",(?=[^,]*:)", word):  # of a sweep
            if given := _ADDRESS.fullmatch(part if "=" in part else f"problem={part}"):
                file = given[1].strip("'\" ")
                found.files |= _modules_of(file)
                found.names |= {file} if _NAME.fullmatch(file) and not find_file(file) else set()
    _trust = found


def check_source(config: Any, words: Iterable[str]) -> None:
    """Check that `trusted` is from the command line: a file of the configuration must not extend it.

    Raises:
      ValueError: it is from a file.
    """
    found = plain(config.get("trusted")) or []
    if ([found] if isinstance(found, str) else found) not in ([], read_trusted(words)):
        raise ValueError(f"trusted can be given on the command line only; a configuration file has trusted: {found!r}.")


def allowed(name: str) -> bool:
    """Return whether an object of this full name may be called."""
    refused = any(is_below(name, one) for one in REFUSED) and not is_below(name, OF_LIBRARY)
    return not refused and declared(name)


def declared(name: str) -> bool:
    """Return whether a module, by its full name, belongs to a trusted package or file, or is a package with one."""
    if any(is_below(one, name) for one in (*_trust.names, *_trust.files)):
        return True
    if any(is_below(name, one) for one in (*LIBRARIES, *_trust.names)):
        return True
    if any(is_below(name, one) and _origin(one) == path for one, path in _trust.files.items()):
        return True
    origin = _origin(name.partition(".")[0])
    return origin is not None and _in_folder(origin)


def is_below(name: str, other: str) -> bool:
    """Return whether a full name is that of a module or of something in it."""
    return name == other or name.startswith(f"{other}.")


def _in_folder(path: Path) -> bool:
    """Return whether a file lies beside the script of the experiment, or in a package there."""
    folder = _trust.folder
    place = path.resolve().parent
    return folder is not None and (place == folder or (path.name == "__init__.py" and place.parent == folder))


def _origin(name: str) -> Path | None:
    """Return the file of a module, without importing it; that of its parents are imported."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return None
    return Path(spec.origin).resolve() if spec is not None and spec.has_location and spec.origin else None


def exists(name: str) -> bool:
    """Return whether a module can be found, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return True


def trusts_file(path: Path) -> bool:
    """Return whether a file may be run."""
    return path.resolve() in _trust.files.values() or _in_folder(path)


def find_file(file: str) -> Path | None:
    """Return the path of a file that is given with or without .py; None if there is none."""
    return next((path for path in (Path(file).expanduser(), Path(f"{file}.py").expanduser()) if path.is_file()), None)


def _modules_of(file: str) -> dict[str, Path]:
    """Return the names by which a file can be imported from the current folder."""
    path = find_file(file)
    if path is None:
        return {}
    dotted = ".".join(part for part in Path(file).with_suffix("").parts if part not in ("/", "."))
    return {name: path.resolve() for name in (path.stem, dotted, f"problem_file_{path.stem}")}
