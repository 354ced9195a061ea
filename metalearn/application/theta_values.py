"""Read θ from a configuration, in the structure of the θ of a study."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metalearn.recording.values import plain
from metalearn.types import Theta
from metalearn.words import suggestion


def read_like(values: Any, theta: Theta, place: str = "problem.theta") -> Theta:
    """Return the numbers of a configuration as a tree like θ, in its dtypes.

    A mapping has the names of a dictionary, a named tuple or a module, and a list the entries of a list or a tuple. If
    θ has a single leaf, its numbers can be given without the structure around them.

    Args:
      values: numbers, lists and mappings.
      theta: the tree whose structure, shapes and dtypes the result has.
      place: the name of the setting; messages begin with it.

    Raises:
      ValueError: a name is missing or unknown, a shape differs, or a value is not a finite number of its dtype.
    """
    leaves, structure = jax.tree.flatten(theta)
    if len(leaves) == 1 and not isinstance(values, Mapping):
        try:
            return jax.tree.unflatten(structure, [_read_leaf(values, leaves[0], place, theta)])
        except ValueError:
            pass  # the structure can still be given
    return _read(values, theta, place, theta)


def _read(values, node, place, whole):
    if not jax.tree.leaves(node):
        return node
    pairs, structure = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda one: one is not node)
    if jax.tree_util.treedef_is_leaf(structure):
        return _read_leaf(values, node, place, whole)
    children = {jax.tree_util.keystr(path, simple=True): child for path, child in pairs}
    if all(isinstance(path[0], jax.tree_util.SequenceKey) for path, _ in pairs):
        if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != len(children):
            raise ValueError(f"{place} must be a list of {len(children)}. {_form(whole, values)}")
        values = dict(zip(children, values))
    if not isinstance(values, Mapping):
        raise ValueError(f"{place} must be a mapping of {', '.join(children)}. {_form(whole, values)}")
    for name in values:
        if str(name) not in children:
            raise ValueError(
                f"{place} has no entry {name}{suggestion(str(name), children)}; it has: {', '.join(children)}."
            )
    given = {str(name): value for name, value in values.items()}
    if missing := [name for name, child in children.items() if name not in given and jax.tree.leaves(child)]:
        raise ValueError(f"{place} must have all entries of the study's theta; {missing[0]} is missing.")
    found = [_read(given.get(name), child, f"{place}.{name}", whole) for name, child in children.items()]
    return jax.tree.unflatten(structure, found)


def _read_leaf(values, leaf, place, whole):
    try:
        if any(not isinstance(one, int | float) or isinstance(one, bool) for one in _numbers(plain(values))):
            raise TypeError
        array = np.array(plain(values), np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{place} must be a number, or a list of numbers; {values} was given.") from None
    if array.shape != jnp.shape(leaf):
        raise ValueError(f"{place} must have the shape {jnp.shape(leaf)}. {_form(whole, values)}")
    with np.errstate(over="ignore"):
        found = jnp.asarray(array, jnp.result_type(leaf))
    if not bool(jnp.all(jnp.isfinite(found))):
        raise ValueError(f"{place} must be finite in {found.dtype}; {values} was given.")
    return found


def _numbers(value):
    return [one for entry in value for one in _numbers(entry)] if isinstance(value, list) else [value]


def _form(theta, values) -> str:
    return f"The study's theta has the form {jax.tree.map(jnp.shape, theta)} (shapes); {values} was given."
