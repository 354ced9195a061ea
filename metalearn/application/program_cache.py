"""Compiled programs kept on disk, so that a second process reads them instead of compiling them."""

import os
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

from metalearn.inner.checks import check_count
from metalearn.recording.run_folder import RunFolderError

LEAST_SECONDS = 0.2  # of compilation: quicker programs are not kept


def cache_programs(folder: str | Path | None = None, max_bytes: int = 2**30) -> Path:
    """Keep compiled programs in a folder, for this process and later ones: JAX's persistent compilation cache.

    Call it at the head of a script or a notebook. Experiments do. All programs are kept that take .2 seconds or more to
    compile, those of other JAX code too. When the folder outgrows its bound, the programs that were not used for
    longest are removed.

        import metalearn as ml
        ml.cache_programs()

    Args:
      folder: where; by default `metalearn/compiled` in the user's cache folder ($XDG_CACHE_HOME, or ~/.cache).
      max_bytes: the bound on the size of the folder.

    Returns:
      The folder.

    Raises:
      TypeError, ValueError: if `max_bytes` is not a whole number of at least 1, or `folder` not a path.
      RunFolderError: if the folder cannot be made or written.
    """
    check_count("max_bytes", max_bytes, high=2**63 - 1)
    if folder is not None and not (isinstance(folder, (str, Path)) and str(folder).strip()):
        raise TypeError(f"folder must be a path, or None for the user's cache folder; {folder!r} was given.")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = Path(folder).expanduser().resolve() if folder is not None else base / "metalearn" / "compiled"
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
    compilation_cache.reset_cache()  # JAX opens the folder once
    return place


def _date_entries(folder: Path) -> None:
    """Give entries that were written without a bound on the folder the date that JAX looks for where there is one."""
    for entry in folder.glob("*-cache"):
        date = entry.with_name(entry.name.removesuffix("-cache") + "-atime")
        if not date.exists():
            date.write_bytes(entry.stat().st_mtime_ns.to_bytes(8, "little"))
