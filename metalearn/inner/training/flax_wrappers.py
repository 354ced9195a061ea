"""Networks written as Flax modules, Linen or NNX, as pure functions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from metalearn import trees
from metalearn.inner.checks import check_count
from metalearn.inner.training.examples import to_shapes
from metalearn.inner.training.module_flags import Flags, call_parameters, find_flags
from metalearn.inner.training.networks import Network

if TYPE_CHECKING:
    from flax import linen as nn
    from flax import nnx


def from_linen(
    module: "nn.Module", inputs_shape: Any, *, examples_first: bool = False, flags: Flags | None = None
) -> Network:
    """Wrap a Flax Linen module.

    If the module's call has an argument `deterministic`, `train`, `training` or `use_running_average`, its value
    depends on whether a key is given. The key itself is the stream "dropout".

    Collections other than the parameters, such as the "batch_stats" of BatchNorm, are the state of the network: a
    forward pass in training changes them, and one in evaluation only reads them.

    Args:
      module: the module.
      inputs_shape: the shape of an array with which to initialise the module, in the module's own layout, such as (1,
        64); or example inputs, an array or a pytree of arrays, if the inputs are not one array of floating-point
        numbers.
      examples_first: True for the usual layout `[examples, features]`, which Linen's Dense expects; inputs and outputs
        are then transposed.
      flags: name -> (value in training, value in evaluation), of other arguments of the call or of fields of the
        module, such as `{"is_training": (True, False)}`.

    Raises:
      TypeError: the module is not an instance of a Linen module, `inputs_shape` is not a shape, or `flags` is not a
        dictionary of pairs.
      ValueError: the module cannot take such inputs, reads a variable that it does not create, has no such flag, or has
        an argument that no flag sets.
    """
    _check_linen(module)
    example = example_inputs(inputs_shape)
    fields = set(module.__dataclass_fields__) - {"parent", "name"}
    modes = find_flags(type(module).__name__, call_parameters(type(module)), lambda name: name in fields, flags)

    def at(key):
        arguments, attributes = modes[key is None]
        return (module.clone(**attributes) if attributes else module), arguments

    def variables(key) -> Any:
        set_up, arguments = at(None)
        return set_up.init(key, trees.zeros_from_shapes(example_inputs(inputs_shape)), **arguments)

    try:
        collections = sorted(set(jax.eval_shape(variables, jax.eval_shape(lambda: jax.random.key(0)))) - {"params"})
    except Exception as error:
        raise ValueError(_unfit(module, example, error)) from error

    def run(params, inputs, key, state):
        set_up, arguments = at(key)
        rngs = None if key is None else {"dropout": key}
        found: Any = set_up.apply(
            {"params": params, **state}, inputs, rngs=rngs, mutable=collections or False, **arguments
        )
        return found if collections else (found, state)

    def init_state(key):
        drawn = variables(key)
        return {name: drawn[name] for name in collections}

    return module_network(
        lambda key: variables(key)["params"], run, init_state if collections else None, examples_first
    )


def from_nnx(
    module_factory: "Callable[[nnx.Rngs], nnx.Module]", *, examples_first: bool = False, flags: Flags | None = None
) -> Network:
    """Wrap a Flax NNX module.

    The parameters are the pure dictionary of the module's `nnx.Param` variables. A forward pass builds a new module
    around them: in training mode with random streams from the key if a key is given, else in evaluation mode. The
    initial values that it draws are not used, and the compiler removes them. Arguments of the call are set as by
    `from_linen`.

    All other variables, such as `nnx.BatchStat`, are the state of the network: a forward pass in training changes them,
    and one in evaluation only reads them. `nnx.RngState` and `nnx.Intermediate` are not kept: every pass starts new
    random streams and counters from its key.

    Args:
      module_factory: `rngs -> module`, such as `lambda rngs: MyModule(64, 10, rngs=rngs)`.
      examples_first: True for the usual layout `[examples, features]`, which nnx.Linear expects; inputs and outputs are
        then transposed.
      flags: name -> (value in training, value in evaluation), of other arguments of the call or of attributes of the
        module and its submodules, such as `{"is_training": (True, False)}`.

    Raises:
      TypeError: `module_factory` is not a function `rngs -> NNX module` (for instance because it is a module itself),
        or `flags` is not a dictionary of pairs.
      ValueError: the module has no such flag, or an argument that no flag sets.
    """

    from flax import nnx

    made = _check_nnx(module_factory)
    others = nnx.Not(nnx.Any(nnx.Param, nnx.RngState, nnx.Intermediate))
    has_attribute = lambda name: any(hasattr(one, name) for _, one in nnx.iter_modules(made))
    modes = find_flags(type(made).__name__, call_parameters(type(made)), has_attribute, flags)
    values = lambda module, kind: nnx.to_pure_dict(nnx.state(module, kind))

    def fill(module, kind, values):
        state = nnx.state(module, kind)
        nnx.replace_by_pure_dict(state, values)
        nnx.update(module, state)

    def run(params, inputs, key, state):
        module = module_factory(nnx.Rngs(jax.random.key(0) if key is None else key))
        arguments, attributes = modes[key is None]
        module.eval() if key is None else module.train()
        module.set_attributes(**attributes)
        fill(module, nnx.Param, params)
        fill(module, others, state)
        outputs = module(inputs, **arguments)
        return outputs, values(module, others)

    draw = lambda kind: lambda key: values(module_factory(nnx.Rngs(key)), kind)
    keeps = bool(jax.tree.leaves(nnx.state(made, others)))
    return module_network(draw(nnx.Param), run, draw(others) if keeps else None, examples_first)


def example_inputs(given: Any) -> Any:
    """Return the shapes and dtypes of the inputs of a module, from a shape or from inputs.

    Raises:
      TypeError: the argument is neither.
      ValueError: a side of a shape is below 1.
    """
    leaves = jax.tree.leaves(given)
    if leaves and all(hasattr(leaf, "shape") and hasattr(leaf, "dtype") for leaf in leaves):
        return to_shapes(given)
    if isinstance(given, int) or not hasattr(given, "__iter__"):
        raise TypeError(f"inputs_shape must be the shape of an array, such as (1, 64), or inputs; {given!r} was given.")
    for side in given:
        check_count("Every side of inputs_shape", side)
    return jax.ShapeDtypeStruct(tuple(given), jnp.result_type(float))


def describe_shapes(tree: Any) -> str:
    return ", ".join(str(leaf.shape) for leaf in jax.tree.leaves(tree))


def module_network(init, run, init_state, examples_first) -> Network:
    """Return the network of `run(params, inputs, key, state) -> (outputs, state)`, in either layout."""

    def apply_rows(params, inputs, key, state):
        outputs, moved = run(params, inputs, key, state)
        return outputs, state if key is None else moved

    def apply(params, inputs, key, state):
        outputs, state = apply_rows(params, inputs.T, key, state)
        return outputs.T, state

    chosen = apply if examples_first else apply_rows
    if init_state is not None:
        return Network(init, chosen, init_state, apply_rows)
    plain = lambda function: lambda params, inputs, key=None: function(params, inputs, key, {})[0]
    return Network(init, plain(chosen), None, plain(apply_rows))


def _check_linen(module) -> None:
    """Check that a value is an instance of a Linen module."""
    from flax import linen as nn
    from flax import nnx

    if isinstance(module, type):
        raise TypeError(
            f"module must be an instance of a Linen module; the class {module.__name__} was given. Call it with its "
            "arguments."
        )
    if isinstance(module, nnx.Module):
        raise TypeError(
            f"module must be a Linen module; the NNX module {type(module).__name__} was given. Use from_nnx."
        )
    if not isinstance(module, nn.Module):
        raise TypeError(f"module must be an instance of a Linen module; a {type(module).__name__} was given.")


def _check_nnx(factory) -> Any:
    """Check that a value is a function `rngs -> NNX module`, and return the form of a module."""
    from flax import linen as nn
    from flax import nnx

    if isinstance(factory, nnx.Module):
        name = type(factory).__name__
        raise TypeError(
            f"module_factory must be a function of rngs; an instance of {name} was given. Write "
            f"lambda rngs: {name}(..., rngs=rngs)."
        )
    if isinstance(factory, nn.Module) or (isinstance(factory, type) and issubclass(factory, nn.Module)):
        raise TypeError("module_factory must make an NNX module; a Linen module was given. Use from_linen.")
    if not callable(factory):
        raise TypeError(f"module_factory must be a function rngs -> module; a {type(factory).__name__} was given.")
    try:
        made = nnx.eval_shape(lambda: factory(nnx.Rngs(0)))
    except Exception as error:
        raise TypeError(
            "module_factory must be a function of rngs alone, such as lambda rngs: MyModule(64, 10, rngs=rngs); "
            f"calling it failed: {_reason(error)}"
        ) from error
    if not isinstance(made, nnx.Module):
        raise TypeError(f"module_factory must return an NNX module; it returned a {type(made).__name__}.")
    return made


def _unfit(module, example, error) -> str:
    """Return the reason why a Linen module cannot be initialised."""
    from flax import errors

    name = type(module).__name__
    if isinstance(error, errors.ScopeCollectionNotFound | errors.ScopeVariableNotFoundError):
        return (
            f"The module {name} reads a variable that it does not create: {_reason(error)} Give it an initial value, "
            "self.variable(collection, name, init_function)."
        )
    return f"The module {name} cannot take inputs of shape {describe_shapes(example)}: {_reason(error)}"


def _reason(error) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
