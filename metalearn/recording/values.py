"""Values as files have them: trees of arrays become words of JSON and YAML, or arrays of numpy."""

import dataclasses
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def plain(value: Any) -> Any:
    """The value in words that JSON and YAML have: numbers, strings, lists and dictionaries."""
    if value is None or isinstance(value, bool | str | int):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return plain(dict(zip(value._fields, value)))  # type: ignore[attr-defined]
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if hasattr(value, "__array__"):
        return plain(to_numpy(value).tolist())
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else str(value)


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
