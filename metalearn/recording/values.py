"""Values as files have them: trees of arrays become words of JSON and YAML, or arrays of numpy."""

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
)  # paths that Hydra reads as they are
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def plain(value: Any) -> Any:
    """The value in words that JSON and YAML have: numbers, strings, lists and dictionaries.

    Tuples, sets (in order) and arrays become lists, members of an enumeration their names, functions, classes and all
    other objects their names or texts, without addresses, so that two runs write the same.

    Raises:
      ValueError: two names of a mapping are written alike, such as 1 and "1".
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
            raise ValueError(f"Two entries of a mapping are named {written!r}; give them names that differ as texts.")
        entries[written] = plain(entry)
    return entries


def same(one: Any, other: Any) -> bool:
    """Whether two plain values are the same: NaN is NaN, 1 is 1.0, and True is not 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return one == other or (one != one and other != other)


def shell_override(name: str, value: str) -> str:
    """`name=value` for Hydra, as it is pasted into a shell."""
    if not _BARE.fullmatch(value):
        escaped = re.sub(r'(\\*)"', r"\1\1\"", value.replace("${", "\\${"))
        trailing = len(escaped) - len(escaped.rstrip("\\"))
        value = f'"{escaped}' + "\\" * trailing + '"'
    return shlex.quote(f"{name}={value}")


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree as numbers and lists, by their paths: {"rate": {"w": array(1.0)}} becomes {"rate/w": 1.0}."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): to_numpy(leaf).tolist() for path, leaf in leaves}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one: {"es": {"loss": 1}} becomes {"es/loss": 1}."""
    flat = {}
    for name, value in tree.items():
        flat.update(flatten(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value})
    return flat


def columns(rows: list[dict]) -> list[str]:
    """All keys of all rows, in the order in which they appear."""
    return list(dict.fromkeys(key for row in rows for key in row))


def to_numpy(value: Any) -> np.ndarray:
    """A numpy array of anything array-like, in a dtype that every numpy reads; a typed key becomes its key data."""
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype.kind == "V" and array.dtype.names is None else array  # bfloat16


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write a compressed .npz. `np.savez` cannot: it refuses arrays of the names "file" and "allow_pickle"."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in flatten(arrays).items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, to_numpy(value), allow_pickle=False)


def finite(value: Any) -> Any:
    """The same with floats that JSON cannot hold as strings."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def restore(value: Any) -> Any:
    """The inverse of `finite`."""
    if isinstance(value, dict):
        return {name: restore(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [restore(entry) for entry in value]
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
