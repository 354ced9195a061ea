"""Save and load learned optimisers and the snapshots of meta-training."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from metalearn import trees
from metalearn.inner import learned
from metalearn.outer.history import Snapshot
from metalearn.outer.meta_train_checks import read_maker
from metalearn.recording.files import replacing
from metalearn.recording.values import plain, same
from metalearn.types import Theta
from metalearn.words import counted

FORMAT = 2  # with a checksum; files of format 1 have none and are read without


class DamagedFileError(ValueError):
    """A file of a run was changed or is incomplete. The message is one sentence for the user."""


def save_optimizer(path: Path | str, optimizer: learned.LearnedOptimizer, theta: Theta) -> Path:
    """Save a learned optimiser, with its architecture and its weights, to one file; return its path.

    Args:
      path: the file, which is replaced if it exists.
      optimizer: the learned optimiser.
      theta: its weights.

    Raises:
      TypeError: `optimizer` is not a `LearnedOptimizer`.
      ValueError: θ does not have the structure and shapes of the optimiser's weights, or is not finite.
      OSError: the file cannot be written.
    """
    _check_optimizer(optimizer)
    optimizer.check(theta, "theta")
    _check_finite(theta, "theta")
    content: dict[str, Any] = {
        "format": FORMAT,
        "architecture": json.dumps(plain(optimizer.architecture)),
        "theta": jax.tree.map(np.asarray, theta),
    }
    content["sha256"] = _checksum(content)
    with replacing(Path(path)) as file:
        file.write_bytes(bytes(flax.serialization.msgpack_serialize(content)))
    return Path(path)


def load_optimizer(
    path: Path | str, expected: learned.LearnedOptimizer | None = None
) -> tuple[learned.LearnedOptimizer, Theta]:
    """Load a learned optimiser: `(optimizer, theta)`, where `optimizer(theta)` is an optax transformation.

    Args:
      path: a file that `save_optimizer` wrote.
      expected: an optimiser whose architecture the file must have; by default any architecture is accepted.

    Raises:
      FileNotFoundError: the file does not exist.
      TypeError: `expected` is not a `LearnedOptimizer`.
      ValueError: the file does not contain a learned optimiser or was changed, its weights are not finite, or its
        architecture is not the expected one.
    """
    if expected is not None:
        _check_optimizer(expected, "expected")
    try:
        content: Any = flax.serialization.msgpack_restore(Path(path).read_bytes())
        architecture, version = json.loads(content["architecture"]), content["format"]
        if architecture["name"] not in learned.__all__ or version not in (1, FORMAT):
            raise ValueError(f"{architecture['name']!r} of format {version} is not known to this version of metalearn")
        settings = {name: value for name, value in architecture.items() if name != "name"}
        found = getattr(learned, architecture["name"])(**settings)
        theta = jax.tree.map(jnp.asarray, content["theta"])
        if set(content) != {"format", "architecture", "theta", *["sha256"] * (version == FORMAT)}:
            raise ValueError("it has other entries")
        if version == FORMAT and content["sha256"] != _checksum(content):
            raise ValueError("its content does not match its checksum, so it was changed or is incomplete")
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path} is not a file of a learned optimiser: {type(error).__name__}: {error}") from None
    if expected is not None and not same(plain(expected.architecture), architecture):
        raise ValueError(
            f"{path} contains the architecture {architecture}, but {expected.architecture} was expected. Build the expected "
            "optimiser with the same arguments, or load the file without `expected`."
        )
    found.check(theta, str(path))
    _check_finite(theta, str(path))
    return found, theta


def save_snapshot(path: Path | str, snapshot: Any) -> Path:
    """Save a snapshot, or any pytree of arrays and keys, to the `.npz` file `path`, and return the path.

    Raises:
      OSError: the file cannot be written.
    """
    _write(Path(path), {f"leaf_{index}": _raw(leaf) for index, leaf in enumerate(jax.tree.leaves(snapshot))})
    return Path(path)


def extend_evaluations(path: Path | str, evaluations: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Append the evaluations of a history to those of the same run in an `.npz` file, and return all of them.

    The result is the curve of a meta-training that was interrupted. Entries of the file at the same or later outer
    steps are replaced.

    Args:
      path: the file; it is created if it does not exist.
      evaluations: "step", and other arrays of the same length, such as `history.evaluations`.

    Raises:
      OSError: the file cannot be read or written.
      DamagedFileError: the file was not written by `extend_evaluations`, or is incomplete; a `ValueError`.
    """
    added = {name: np.asarray(values) for name, values in evaluations.items()}
    if Path(path).exists():
        before = load_evaluations(path)
        kept = before["step"] < min(added["step"], default=np.inf)
        added = {name: np.concatenate([before[name][kept], values]) for name, values in added.items()}
    _write(Path(path), added)
    return added


def load_evaluations(path: Path | str) -> dict[str, np.ndarray]:
    """Load a file that `extend_evaluations` wrote.

    Raises:
      OSError: the file cannot be read.
      DamagedFileError: the file was not written by `extend_evaluations`, or is incomplete; a `ValueError`.
    """
    try:
        with open(path, "rb") as stream, np.load(stream) as file:
            found = {name: file[name] for name in file.files}
        if len({len(found[name]) for name in {"step", "loss", *found}}) == 1:
            return found
        reason = "its arrays have several lengths"
    except OSError:
        raise
    except Exception as error:
        reason = type(error).__name__
    raise DamagedFileError(
        f"{path} was not written by extend_evaluations, or is damaged ({reason}); move it to another folder."
    )


def load_snapshot(path: Path | str, like: Any) -> Any:
    """Load a snapshot.

    Args:
      path: a file that `save_snapshot` wrote.
      like: a snapshot of the same run, such as `ml.outer.first_snapshot(...)` returns. The file must have its shapes
        and dtypes, and a snapshot must be of the same estimator and windows. Settings without an array, such as sigma,
        are not compared.

    Raises:
      FileNotFoundError: the file does not exist.
      DamagedFileError: the file is not a snapshot, or is incomplete; a `ValueError`.
      ValueError: its arrays do not have the shapes and dtypes of `like`.
    """
    wanted, structure = jax.tree.flatten(like)
    try:
        with open(path, "rb") as stream, np.load(stream) as file:
            leaves = [file[f"leaf_{index}"] for index in range(len(file.files))]
    except OSError:
        raise
    except Exception as error:
        raise DamagedFileError(
            f"{path} was not written by save_snapshot, or is incomplete ({type(error).__name__})."
        ) from None
    difference = _difference(leaves, like)
    if difference:
        raise ValueError(
            f"{path} is the snapshot of another run: {difference}. Resume with the settings it was written with."
        )
    return jax.tree.unflatten(structure, [_restored(leaf, one) for leaf, one in zip(leaves, wanted)])


def _difference(leaves, like) -> str:
    """Describe the first difference between the arrays of a file and a tree; empty if there is none."""
    wanted = jax.tree_util.tree_leaves_with_path(like)
    if len(leaves) != len(wanted):
        return f"it has {counted(len(leaves), 'array')}, but this estimator, optimiser and theta need {len(wanted)}"
    for leaf, (path, one) in zip(leaves, wanted):
        raw = _raw(one)
        if (leaf.shape, leaf.dtype) != (raw.shape, raw.dtype):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            return f"its {name or 'array'} is {leaf.dtype}{list(leaf.shape)}, but here it must be {raw.dtype}{list(raw.shape)}"
    if isinstance(like, Snapshot) and like.made_by is not None:
        place = next(index for index, (_, one) in enumerate(wanted) if one is like.made_by)
        before, now = read_maker(leaves[place]), read_maker(like.made_by)
        return f"it was made by {before}, and here {now} continues it" if before != now else ""
    return ""


def _write(path: Path, arrays: dict[str, Any]) -> None:
    with replacing(path) as file, open(file, "wb") as stream:
        np.savez(stream, **arrays)


def _raw(leaf) -> np.ndarray:
    array = np.asarray(jax.random.key_data(leaf) if trees.is_key(leaf) else leaf)
    return array.view(_stored(array.dtype))


def _stored(dtype):
    """Return an integer dtype for the dtypes that JAX adds, such as bfloat16, which NumPy's files cannot store."""
    return np.dtype(f"u{np.dtype(dtype).itemsize}") if np.dtype(dtype).kind == "V" else np.dtype(dtype)


def _restored(leaf, like):
    if trees.is_key(like):
        return jax.random.wrap_key_data(jnp.asarray(leaf), impl=jax.random.key_impl(like))
    found = leaf.view(np.dtype(like.dtype))
    narrowed = jax.dtypes.canonicalize_dtype(found.dtype) != found.dtype  # JAX would truncate a count to 32 bits
    return found[()] if narrowed else jnp.asarray(found)


def _checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the content: format, architecture, and paths, dtypes, shapes and bytes of the weights."""
    found = hashlib.sha256(f"{content['format']} {content['architecture']}".encode())
    leaves, _ = jax.tree_util.tree_flatten_with_path(content["theta"])
    for path, leaf in leaves:
        array = np.ascontiguousarray(leaf)
        found.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape} ".encode() + array.tobytes())
    return found.hexdigest()


def _check_finite(theta: Theta, name: str) -> None:
    if not trees.all_finite(theta):
        raise ValueError(
            f"The weights in {name} must be finite; they contain NaN or infinity. Save the best theta of the "
            f"meta-training, history.snapshot.best.theta, or an earlier one."
        )


def _check_optimizer(optimizer, name: str = "optimizer") -> None:
    if not isinstance(optimizer, learned.LearnedOptimizer):
        raise TypeError(
            f"{name} must be a learned optimiser such as ml.learned.nominal_optimizer(); {optimizer!r} was given."
        )
