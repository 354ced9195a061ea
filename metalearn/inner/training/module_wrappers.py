"""Networks written with Equinox and Haiku, as pure functions."""

import inspect
from collections.abc import Callable
from typing import Any

import jax

from metalearn import trees
from metalearn.inner.checks import summarize_error
from metalearn.inner.training.flax_wrappers import describe_shapes, example_inputs, module_network
from metalearn.inner.training.module_flags import KNOWN, Flags, call_parameters, find_flags
from metalearn.inner.training.networks import Network
from metalearn.types import Key


def from_equinox(make: Callable[[Key], Any], *, flags: Flags | None = None, axis_name: str = "batch") -> Network:
    """Wrap an Equinox module, which maps one example.

    A forward pass maps the module over the examples, in either layout of the data, and puts it into inference mode if
    no key is given. If the module's call has an argument `key`, each example gets its own key in training, and None in
    evaluation. The parameters are the floating-point arrays of the module, in a dictionary with their paths as keys,
    such as "layers/0/weight". All other parts, such as arrays of integers, are those of `make(jax.random.key(0))`.

    If `make` returns `(module, state)`, as a function made by `equinox.nn.make_with_state` does, the call is `module(x,
    state, ...)`, and the state is that of the network: a forward pass in training changes it, and one in evaluation
    only reads it.

        network = ml.from_equinox(lambda key: equinox.nn.MLP(64, 10, 32, depth=1, key=key))

    Args:
      make: `key -> module`, or `key -> (module, state)`.
      flags: name -> (value in training, value in evaluation), of other arguments of the call.
      axis_name: the name of the axis of examples, for layers such as `equinox.nn.BatchNorm`.

    Raises:
      ImportError: Equinox is not installed.
      TypeError: `make` is not such a function, or `flags` is not a dictionary of pairs.
      ValueError: the call has no such argument, or has an argument that no flag sets.
    """
    equinox = _library("equinox", "from_equinox", "equinox")
    stateful, kind = _check_equinox(equinox, make)
    rest = call_parameters(kind)
    takes_key = any(one.name == "key" for one in rest)
    others = [one for one in rest[:1] + rest[2 if stateful else 1 :] if one.name != "key"]
    modes = find_flags(kind.__name__, others, lambda name: False, flags)

    def build(key):
        module, state = make(key) if stateful else (make(key), None)
        pairs, structure = jax.tree_util.tree_flatten_with_path(module)
        named = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in pairs}
        return named, structure, *jax.tree.flatten(state)

    def init(key):
        return {name: leaf for name, leaf in build(key)[0].items() if equinox.is_inexact_array(leaf)}

    def run(params, inputs, key, state):
        named, structure, _, state_structure = build(jax.random.key(0))
        module = jax.tree.unflatten(structure, [params.get(name, leaf) for name, leaf in named.items()])
        module = equinox.nn.inference_mode(module, value=key is None)
        arguments = modes[key is None][0]
        count = jax.tree.leaves(inputs)[0].shape[0]
        keys = jax.random.split(key, count) if takes_key and key is not None else None

        def one(inputs, key, *state):
            return module(inputs, *state, **({"key": key} if takes_key else {}), **arguments)

        if not stateful:
            return jax.vmap(one, axis_name=axis_name)(inputs, keys), state
        before = jax.tree.unflatten(state_structure, state)
        outputs, after = jax.vmap(one, (0, 0, None), (0, None), axis_name=axis_name)(inputs, keys, before)
        return outputs, jax.tree.leaves(after)

    return module_network(init, run, (lambda key: build(key)[2]) if stateful else None, examples_first=True)


def from_haiku(
    function: Any, inputs_shape: Any, *, examples_first: bool = False, flags: Flags | None = None
) -> Network:
    """Wrap a function that calls Haiku modules, or the result of `haiku.transform` or `haiku.transform_with_state`.

    If the function has an argument `is_training`, `deterministic`, `train`, `training` or `use_running_average`, its
    value depends on whether a key is given. The key itself is Haiku's random stream. Haiku's state, such as the
    averages of BatchNorm, is the state of the network: a forward pass in training changes it, and one in evaluation
    only reads it.

        network = ml.from_haiku(lambda x: haiku.nets.MLP([32, 10])(x), (1, 64), examples_first=True)

    Args:
      function: `(inputs, ...) -> outputs`, or the result of one of Haiku's transforms.
      inputs_shape: the shape of an array with which to initialise the function, in the function's own layout, such as
        (1, 64); or example inputs, an array or a pytree of arrays, if the inputs are not one array of floating-point
        numbers.
      examples_first: True for the usual layout `[examples, features]`, which haiku.Linear expects; inputs and outputs
        of `ml.data.Data` are then transposed.
      flags: name -> (value in training, value in evaluation), of other arguments of the function. If the function is
        already transformed, flags must set all its arguments.

    Raises:
      ImportError: Haiku is not installed.
      TypeError: `function` is not a function, `inputs_shape` is neither a shape nor inputs, or `flags` is not a
        dictionary of pairs.
      ValueError: the function cannot take such inputs, has no such argument, or has an argument that no flag sets.
    """
    haiku = _library("haiku", "from_haiku", "dm-haiku")
    made, parameters = _transformed(haiku, function)
    name = getattr(function, "__name__", "function")
    known = {**KNOWN, "is_training": (True, False)}
    modes = find_flags(name, parameters, lambda name: False, flags, known)
    example = example_inputs(inputs_shape)

    def draw(key):
        # Haiku's BatchNorm makes its averages in training only.
        return made.init(key, trees.zeros_from_shapes(example_inputs(inputs_shape)), **modes[0][0])

    try:
        state = jax.eval_shape(draw, jax.eval_shape(lambda: jax.random.key(0)))[1]
    except Exception as error:
        raise ValueError(
            f"The Haiku function {name} cannot be initialised with inputs of shape {describe_shapes(example)} "
            f"({type(error).__name__}: {summarize_error(error)})."
        ) from error

    def run(params, inputs, key, state):
        return made.apply(params, state, key, inputs, **modes[key is None][0])

    keeps = bool(jax.tree.leaves(state))
    return module_network(lambda key: draw(key)[0], run, (lambda key: draw(key)[1]) if keeps else None, examples_first)


def _library(module: str, wrapper: str, package: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise ImportError(f"{wrapper} needs the library {package}; install it: pip install {package}.") from error


def _check_equinox(equinox, make) -> tuple[bool, type]:
    """Check a function `key -> module`; return whether it also makes a state, and the class of the module."""
    if isinstance(make, equinox.Module) or not callable(make):
        raise TypeError(
            f"make must be a function key -> module; a {type(make).__name__} was given. Write lambda key: "
            "MyModule(..., key=key)."
        )
    try:
        made = equinox.filter_eval_shape(make, jax.random.key(0))
    except Exception as error:
        raise TypeError(
            f"make must be a function of one key, such as lambda key: MyModule(64, 10, key=key); calling it failed: "
            f"{type(error).__name__}: {summarize_error(error)}"
        ) from error
    stateful = isinstance(made, tuple) and len(made) == 2 and isinstance(made[1], equinox.nn.State)
    module = made[0] if stateful else made
    if not isinstance(module, equinox.Module):
        raise TypeError(
            f"make must return an Equinox module, or (module, state); it returned a {type(module).__name__}."
        )
    return stateful, type(module)


def _transformed(haiku, function) -> tuple[Any, list[inspect.Parameter]]:
    """Return a function transformed by `haiku.transform_with_state`, and the parameters of the function."""
    anything = inspect.Parameter("arguments", inspect.Parameter.VAR_KEYWORD)
    if isinstance(function, haiku.TransformedWithState):
        return function, [anything]
    if isinstance(function, haiku.Transformed):
        return haiku.with_empty_state(function), [anything]
    if isinstance(function, type) or not callable(function):
        raise TypeError(
            f"function must be a function of the inputs that calls Haiku modules, such as lambda x: haiku.nets.MLP([32, "
            f"10])(x); {function!r} was given."
        )
    return haiku.transform_with_state(function), list(inspect.signature(function).parameters.values())
