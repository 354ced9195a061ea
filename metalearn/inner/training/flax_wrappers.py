"""Wrappers that turn Flax modules, Linen or NNX, into networks of two pure functions."""

import inspect
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from metalearn.inner.checks import check_count
from metalearn.inner.training.networks import Network
from metalearn.words import counted

if TYPE_CHECKING:
    from flax import linen as nn
    from flax import nnx


def from_linen(module: "nn.Module", inputs_shape: Sequence[int], *, examples_first: bool = False) -> Network:
    """Wrap a Flax Linen module.

    The network is in training mode if it is called with a key, and in evaluation mode without one. The mode sets the
    arguments `deterministic`, `train` and `training` of the module's call, as far as it has them. The key is the random
    stream "dropout".

    Args:
      module: the module. It must not have variables other than parameters.
      inputs_shape: the shape of the inputs with which the module is initialised, in the module's own layout, such as
        (64, 1).
      examples_first: whether the module has the layout `[examples, features]`, as Linen's own Dense. Inputs and outputs
        are then transposed.

    Raises:
      TypeError: `module` is not an instance of a Linen module, or `inputs_shape` is not a shape.
      ValueError: the module fails on inputs of this shape, or it has variables other than parameters, such as running
        averages, for which a training state has no place.
    """
    _check_linen(module)
    if isinstance(inputs_shape, int) or not hasattr(inputs_shape, "__iter__"):
        raise TypeError(f"inputs_shape must be the shape of an array, such as (64, 1); {inputs_shape!r} was given.")
    for side in inputs_shape:
        check_count("Every side of inputs_shape", side)
    arguments = inspect.signature(type(module).__call__).parameters

    def mode(key) -> dict[str, Any]:
        settings = {"deterministic": key is None, "train": key is not None, "training": key is not None}
        return {name: value for name, value in settings.items() if name in arguments}

    def variables(key) -> Any:
        return module.init(key, jnp.zeros(tuple(inputs_shape)), **mode(None))

    try:
        others = set(jax.eval_shape(variables, jax.eval_shape(lambda: jax.random.key(0)))) - {"params"}
    except Exception as error:
        raise ValueError(
            f"The module {type(module).__name__} cannot take inputs of shape {tuple(inputs_shape)}: {_reason(error)}"
        ) from error
    if others:
        raise ValueError(
            f"The module keeps the collections {', '.join(sorted(others))} besides its parameters; "
            "the training state holds parameters only. "
            "Use layers without running averages (LayerNorm or GroupNorm instead of BatchNorm)."
        )

    def apply(params, inputs, key=None):
        rngs = None if key is None else {"dropout": key}
        outputs: Any = module.apply({"params": params}, inputs.T if examples_first else inputs, rngs=rngs, **mode(key))
        return outputs.T if examples_first else outputs

    return Network(lambda key: variables(key)["params"], apply)


def from_nnx(module_factory: "Callable[[nnx.Rngs], nnx.Module]", *, examples_first: bool = False) -> Network:
    """Wrap a Flax NNX module.

    The parameters are the module's `nnx.Param` variables as a pure dictionary. Each forward pass builds the module
    again and replaces its parameters; the compiler removes the unused initialisation. With a key, the module is in
    training mode and draws from the key. Without one, it is in evaluation mode.

    Args:
      module_factory: `rngs -> module`, such as `lambda rngs: MyModule(64, 10, rngs=rngs)`.
      examples_first: whether the module has the layout `[examples, features]`, as nnx.Linear. Inputs and outputs are
        then transposed.

    Raises:
      TypeError: `module_factory` is not a function `rngs -> NNX module`, for instance because it is a module itself.
      ValueError: the module has variables other than parameters, such as running averages, for which a training state
        has no place.
    """

    from flax import nnx

    _check_nnx(module_factory)

    def split(module):
        return nnx.split(module, nnx.Param, nnx.RngState, ...)[1:]

    others = jax.tree.leaves(split(nnx.eval_shape(lambda: module_factory(nnx.Rngs(0))))[2])
    if others:
        raise ValueError(
            f"The module keeps {counted(len(others), 'array')} besides its parameters; "
            "the training state holds parameters only. "
            "Use layers without running averages (LayerNorm or GroupNorm instead of BatchNorm)."
        )

    def init(key):
        return nnx.to_pure_dict(split(module_factory(nnx.Rngs(key)))[0])

    def apply(params, inputs, key=None):
        module = module_factory(nnx.Rngs(jax.random.key(0) if key is None else key))
        module.eval() if key is None else module.train()
        state = nnx.state(module, nnx.Param)
        nnx.replace_by_pure_dict(state, params)
        nnx.update(module, state)
        outputs = module(inputs.T if examples_first else inputs)
        return outputs.T if examples_first else outputs

    return Network(init, apply)


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


def _check_nnx(factory) -> None:
    """Check that a value is a function `rngs -> NNX module`."""
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


def _reason(error) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
