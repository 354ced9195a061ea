"""Keep compiled programs on disk, so that later processes read them instead of compiling them again."""

import getpass
import os
import tempfile
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from metalearn.inner.checks import check_count
from metalearn.recording.files import RunFolderError

LEAST_SECONDS = 0.2  # seconds of compilation; programs that take less are not kept


def cache_programs(folder: str | Path | None = None, max_bytes: int = 2**30) -> Path:
    """Keep compiled programs in a folder, for this process and later ones, with JAX's persistent compilation cache.

    Call it at the beginning of a script or a notebook. Experiments call it themselves. All programs that take 0.2
    seconds or more to compile are kept, also those of other JAX code. When the folder exceeds `max_bytes`, the least
    recently used programs are removed.

        import metalearn as ml
        ml.cache_programs()

    Args:
      folder: the folder; by default `metalearn/compiled` in the user's cache folder ($XDG_CACHE_HOME, or ~/.cache).
      max_bytes: the largest size of the folder.

    Returns:
      The folder.

    Raises:
      TypeError: `max_bytes` is not a whole number, or `folder` is not a path.
      ValueError: `max_bytes` is below 1.
      RunFolderError: the folder cannot be created or written.
    """
    check_count("max_bytes", max_bytes, high=2**63 - 1)
    if folder is not None and not (isinstance(folder, (str, Path)) and str(folder).strip()):
        raise TypeError(f"folder must be a path, or None for the user's cache folder; {folder!r} was given.")
    place = Path(folder).expanduser().resolve() if folder is not None else cache_folder() / "compiled"
    try:
        place.mkdir(parents=True, exist_ok=True)
        _date_entries(place)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise RunFolderError(
            f"Compiled programs cannot be kept in {str(place)!r}: {reason}. Choose another folder."
        ) from error
    jax.config.update("jax_compilation_cache_dir", str(place))
    jax.config.update("jax_compilation_cache_max_size", int(max_bytes))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", LEAST_SECONDS)
    compilation_cache.reset_cache()  # JAX opens the folder only once
    return place


def cache_folder() -> Path:
    """Return the folder for files that can be recreated: `metalearn` in $XDG_CACHE_HOME, or in ~/.cache.

    For a user without a home it is in the system's folder for temporary files.
    """
    if given := os.environ.get("XDG_CACHE_HOME"):
        return Path(given) / "metalearn"
    try:
        return Path.home() / ".cache" / "metalearn"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"metalearn-{os.getuid() if hasattr(os, 'getuid') else getpass.getuser()}"


def _date_entries(folder: Path) -> None:
    """Add the access date that JAX needs, to entries that were written without a bound on the folder."""
    for entry in folder.glob("*-cache"):
        date = entry.with_name(entry.name.removesuffix("-cache") + "-atime")
        if not date.exists():
            date.write_bytes(entry.stat().st_mtime_ns.to_bytes(8, "little"))
