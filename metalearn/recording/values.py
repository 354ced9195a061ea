"""Convert values for files: pytrees become JSON and YAML values, or NumPy arrays."""

import dataclasses
import enum
import math
import re
import shlex
import zipfile
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import jax
import numpy as np

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_BARE = re.compile(
    r"[A-Za-z_./][\w.+-]*/[\w/.+-]+|\d+-[\w-]*[A-Za-z][\w-]*", re.ASCII
)  # paths that Hydra reads without quotes
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def plain(value: Any) -> Any:
    """Convert a value to the types of JSON and YAML: numbers, strings, lists and dictionaries.

    Tuples, sets (sorted) and arrays become lists, and members of an enumeration their names. Functions, classes and all
    other objects become their names or texts without memory addresses, so that two runs write the same values.

    Raises:
      ValueError: two keys of a mapping have the same text, such as 1 and "1".
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return value.name or str(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return _mapping(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return plain(dict(zip(value._fields, value)))  # type: ignore[attr-defined]
    if isinstance(value, Set):
        return sorted(map(plain, value), key=lambda entry: (str(type(entry)), str(entry)))
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [plain(entry) for entry in value]
    if hasattr(value, "__array__") and not isinstance(value, type):
        return plain(to_numpy(value).tolist())
    name = getattr(value, "__qualname__", None)
    return f"{value.__module__}.{name}" if name else _ADDRESS.sub("", str(value))


def _mapping(value):
    entries = {}
    for name, entry in value.items():
        written = str(plain(name))
        if written in entries:
            raise ValueError(f"Two keys of a mapping are written as {written!r}; use keys that differ as strings.")
        entries[written] = plain(entry)
    return entries


def same(one: Any, other: Any) -> bool:
    """Return whether two plain values are equal: NaN equals NaN, 1 equals 1.0, and True differs from 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other or (one != one and other != other)


def shell_override(name: str, value: str) -> str:
    """Return `name=value` for Hydra, quoted for a shell."""
    if not _BARE.fullmatch(value):
        escaped = re.sub(r'(\\*)"', r"\1\1\"", value.replace("${", "\\${"))
        trailing = len(escaped) - len(escaped.rstrip("\\"))
        value = f'"{escaped}' + "\\" * trailing + '"'
    return shlex.quote(f"{name}={value}")


def by_path(tree: Any) -> dict[str, Any]:
    """Return the leaves by path, as numbers and lists: {"rate": {"w": array(1.0)}} becomes {"rate/w": 1.0}.

    Args:
      tree: any pytree of arrays and numbers.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): to_numpy(leaf).tolist() for path, leaf in leaves}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested dictionaries: {"es": {"loss": 1}} becomes {"es/loss": 1}."""
    flat = {}
    for name, value in tree.items():
        flat.update(flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return flat


def columns(rows: list[dict]) -> list[str]:
    """Return all keys of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def to_numpy(value: Any) -> np.ndarray:
    """Convert an array-like to a NumPy array with a dtype of NumPy; a typed key becomes its key data."""
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "V" and array.dtype.names is None else array  # bfloat16


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed .npz. `np.savez` is not used because it rejects the names "file" and "allow_pickle"."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in flatten(arrays).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, to_numpy(value), allow_pickle=False)


def finite(value: Any) -> Any:
    """Replace floats that JSON cannot represent by strings."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def restore(value: Any) -> Any:
    """Invert `finite`."""
    if isinstance(value, dict):
        return {name: restore(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [restore(entry) for entry in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
