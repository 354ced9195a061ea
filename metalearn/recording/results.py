"""Save the result of any function to one file and load it again, without pickle.

The file is an .npz: the arrays, and a description in JSON of how they are put together. Classes of metalearn and optax
are restored. A function, such as that of a plane, is not saved; `NotSaved` replaces it.
"""

import dataclasses
import importlib
import json
import math
from collections import namedtuple
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.recording.files import replacing
from metalearn.recording.values import finite, restore, save_arrays

FORMAT, CONTENT = 1, "content"
RESTORED = ("metalearn.", "optax.")  # the packages whose classes are restored


@dataclasses.dataclass(frozen=True)
class NotSaved:
    """A placeholder for a value that cannot be saved, such as a function.

    Attributes:
      what: the name of the original value.
    """

    what: str

    def __call__(self, *arguments: Any) -> Any:
        """Raise an error with the name of the missing function.

        Raises:
          ValueError: always.
        """
        raise ValueError(
            f"{self.what} is a function, which is not saved with a result; build the problem or plane again."
        )


def save_result(path: str | Path, result: Any) -> Path:
    """Save a result, such as a `Comparison`, a `History` or a `Landscape`, to one file.

    Args:
      path: the file, which is replaced if it exists.
      result: the result of any function of metalearn.

    Returns:
      The path.

    Raises:
      FileNotFoundError: the folder does not exist.
      OSError: the file cannot be written.
    """
    path, arrays = Path(path), {}
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} of {path.name} does not exist; create it first.")
    content = {"format": FORMAT, "result": _packed(result, arrays)}
    text = json.dumps(content, ensure_ascii=False, allow_nan=False)
    with replacing(path) as file:
        save_arrays(file, arrays | {CONTENT: np.frombuffer(text.encode(), np.uint8)})
    return path


def load(path: str | Path) -> Any:
    """Load a result from a file that `save(path)` wrote: the same class, with the same numbers.

    Raises:
      FileNotFoundError: the file does not exist.
      ValueError: the file is damaged, was not written by `save`, or is of another version of metalearn.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            content = json.loads(file[CONTENT].tobytes().decode())
            if content["format"] == FORMAT:
                return _unpacked(content["result"], lambda name: file[name])
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} was not written by save, or is damaged ({type(error).__name__}).") from None
    raise ValueError(f"{path} has format {content['format']}, and this version of metalearn reads {FORMAT}.")


def _packed(value: Any, arrays: dict[str, Any]) -> Any:
    """Return a value as JSON; its arrays are added to `arrays`."""
    pack = lambda one: _packed(one, arrays)
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": finite(value)}
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _packed_array(value, arrays)
    if isinstance(value, Mapping):
        return {"dict": [[pack(key), pack(entry)] for key, entry in value.items()]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: pack(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init}
        return {"class": _address(value), "fields": fields}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {"class": _address(value), "fields": dict(zip(value._fields, map(pack, value)))}  # type: ignore[attr-defined]
    if isinstance(value, list | tuple):
        return {type(value).__name__ if type(value) is list else "tuple": [pack(entry) for entry in value]}
    return {"not saved": getattr(value, "__qualname__", type(value).__qualname__)}


def _packed_array(value: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    name, form = str(len(arrays)), {}
    if trees.is_key(value):
        form, value = {"key": str(jax.random.key_impl(value))}, jax.random.key_data(value)
    array = np.asarray(value)
    if array.dtype.kind == "V":  # bfloat16, which NumPy's files cannot hold
        form |= {"dtype": array.dtype.name}
        array = array.view(f"u{array.dtype.itemsize}")
    arrays[name] = array
    kind = "jax" if isinstance(value, jax.Array) else "scalar" if isinstance(value, np.generic) else "numpy"
    return {"array": name, "kind": kind} | form


def _address(value: Any) -> list[str]:
    return [type(value).__module__, type(value).__qualname__]


def _unpacked(value: Any, array: Callable[[str], np.ndarray]) -> Any:
    unpack = lambda one: _unpacked(one, array)
    match value:
        case {"float": text}:
            return restore(text)
        case {"array": _}:
            return _unpacked_array(value, array)
        case {"dict": entries}:
            return {unpack(key): unpack(entry) for key, entry in entries}
        case {"list": entries}:
            return [unpack(entry) for entry in entries]
        case {"tuple": entries}:
            return tuple(map(unpack, entries))
        case {"class": [module, name], "fields": fields}:
            return _made(module, name, {field: unpack(entry) for field, entry in fields.items()})
        case {"not saved": what}:
            return NotSaved(what)
    return value


def _unpacked_array(form: Mapping[str, Any], array: Callable[[str], np.ndarray]) -> Any:
    found = array(form["array"])
    if "dtype" in form:
        found = found.view(jnp.dtype(form["dtype"]))
    if "key" in form:
        return jax.random.wrap_key_data(jnp.asarray(found), impl=form["key"])
    if form["kind"] == "scalar":
        return found[()]
    exact = form["kind"] == "jax" and jax.dtypes.canonicalize_dtype(found.dtype) == found.dtype
    return jnp.asarray(found) if exact else found


def _made(module: str, name: str, fields: dict[str, Any]) -> Any:
    """Return an instance of a class of metalearn or optax; of another package a named tuple with the same fields."""
    if not f"{module}.".startswith(RESTORED):
        return namedtuple(name.rpartition(".")[2], fields)(**fields)
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    if not (hasattr(found, "__dataclass_fields__") or hasattr(found, "_fields")):
        raise ValueError(f"{name} is not a dataclass or a named tuple.")
    return found(**fields)
